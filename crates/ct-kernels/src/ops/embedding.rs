//! Rows of a table.

use candle_core::Tensor;

use super::{Place, place};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "embedding";

/// Row `ids[b]` of a table for each sample.
///
/// # Shapes
/// `table`: [K, D]; `ids`: B numbers below K; result: [B, D].
///
/// # Errors
/// When the table has not two dimensions, or an id is out of range.
pub fn embedding(table: &Value, ids: &[u32]) -> Result<Value> {
    apply(Embedding { ids: ids.to_vec() }, &[table])
}

struct Embedding {
    ids: Vec<u32>,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(NAME, inputs)? {
            Place::CpuF32 => self.gather::<f32>(inputs[0]),
            Place::CpuF64 => self.gather::<f64>(inputs[0]),
            Place::Composed => self.gather_composed(inputs[0]),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(match place(NAME, &[grad])? {
            Place::CpuF32 => self.scatter::<f32>(grad, ctx.input_dims(0)),
            Place::CpuF64 => self.scatter::<f64>(grad, ctx.input_dims(0)),
            Place::Composed => self.scatter_composed(grad, ctx.input_dims(0)),
        }?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangents = tangents.iter().map(|tangent| tangent.cloned()).collect();
        Ok(self.forward(&[&super::sum_of(NAME, tangents)?])?.0)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

impl Embedding {
    fn gather<T: Real>(&self, table: &Tensor) -> Result<Tensor> {
        let d = self.check(table)?;
        let contiguous = table.contiguous()?;
        let rows = cpu::read::<T>(&contiguous)?;
        let mut out = Vec::with_capacity(self.ids.len() * d);
        for &id in &self.ids {
            out.extend_from_slice(&rows[id as usize * d..][..d]);
        }
        cpu::tensor(out, &[self.ids.len(), d])
    }

    /// The columns of a table that has all of the rows.
    fn check(&self, table: &Tensor) -> Result<usize> {
        let Ok((k, d)) = table.dims2() else {
            return Err(Error::shape(NAME, "table", "[K, D]", table.dims()));
        };
        match self.ids.iter().find(|&&id| id as usize >= k) {
            Some(id) => Err(Error::setting(NAME, format!("id {id} in a table of {k} rows"))),
            None => Ok(d),
        }
    }

    fn gather_composed(&self, table: &Tensor) -> Result<Tensor> {
        self.check(table)?;
        Ok(table.contiguous()?.index_select(&Tensor::new(&*self.ids, table.device())?, 0)?)
    }

    fn scatter_composed(&self, grad: &Tensor, dims: &[usize]) -> Result<Tensor> {
        let ids = Tensor::new(&*self.ids, grad.device())?;
        Ok(Tensor::zeros(dims, grad.dtype(), grad.device())?.index_add(&ids, &grad.contiguous()?, 0)?)
    }

    fn scatter<T: Real>(&self, grad: &Tensor, dims: &[usize]) -> Result<Tensor> {
        let d = dims.last().copied().unwrap_or(0);
        let contiguous = grad.contiguous()?;
        let grad = cpu::read::<T>(&contiguous)?;
        let mut table = vec![T::ZERO; dims.iter().product()];
        for (&id, grad) in self.ids.iter().zip(grad.chunks_exact(d.max(1))) {
            for (sum, &grad) in table[id as usize * d..][..d].iter_mut().zip(grad) {
                *sum += grad;
            }
        }
        cpu::tensor(table, dims)
    }
}
