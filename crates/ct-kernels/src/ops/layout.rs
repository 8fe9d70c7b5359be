//! Shapes and orders of dimensions.

use candle_core::Tensor;

use super::{Place, image_dims, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply};

/// The same elements in another shape.
///
/// # Errors
/// When the number of elements differs.
pub fn reshape(x: &Value, dims: &[usize]) -> Result<Value> {
    apply(Reshape(dims.to_vec()), &[x])
}

/// From the layout of samples to that of activations.
///
/// # Shapes
/// `x`: [B, C, H, W]; result: [B, H, W, C].
///
/// # Errors
/// When `x` has not four dimensions.
pub fn to_channels_last(x: &Value) -> Result<Value> {
    apply(Permute::ToChannelsLast, &[x])
}

/// From the layout of activations to that of samples.
///
/// # Shapes
/// `x`: [B, H, W, C]; result: [B, C, H, W].
///
/// # Errors
/// When `x` has not four dimensions.
pub fn to_channels_first(x: &Value) -> Result<Value> {
    apply(Permute::ToChannelsFirst, &[x])
}

struct Reshape(Vec<usize>);

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((inputs[0].reshape(self.0.as_slice())?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.reshape(ctx.input_dims(0))?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of("reshape", tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        Ok(tangent.reshape(self.0.as_slice())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

#[derive(Clone, Copy)]
enum Permute {
    ToChannelsLast,
    ToChannelsFirst,
}

impl Permute {
    fn inverse(self) -> Self {
        match self {
            Self::ToChannelsLast => Self::ToChannelsFirst,
            Self::ToChannelsFirst => Self::ToChannelsLast,
        }
    }

    fn run(self, x: &Tensor) -> Result<Tensor> {
        let place = place(self.name(), &[x])?;
        let (rows, columns, dims) = match self {
            Self::ToChannelsLast => {
                let (b, c, h, w) = image_dims(self.name(), "x", x, "[B, C, H, W]")?;
                (c, h * w, [b, h, w, c])
            }
            Self::ToChannelsFirst => {
                let (b, h, w, c) = image_dims(self.name(), "x", x, "[B, H, W, C]")?;
                (h * w, c, [b, c, h, w])
            }
        };
        let x = x.contiguous()?;
        match place {
            Place::CpuF32 => transpose::<f32>(&x, rows, columns, &dims),
            Place::CpuF64 => transpose::<f64>(&x, rows, columns, &dims),
            Place::Composed => match self {
                Self::ToChannelsLast => Ok(x.permute((0, 2, 3, 1))?.contiguous()?),
                Self::ToChannelsFirst => Ok(x.permute((0, 3, 1, 2))?.contiguous()?),
            },
        }
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        match self {
            Self::ToChannelsLast => "to_channels_last",
            Self::ToChannelsFirst => "to_channels_first",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.run(inputs[0])?, Vec::new()))
    }

    fn backward(&self, _: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.inverse().run(grad)?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        self.run(&sum_of(self.name(), tangents.iter().map(|tangent| tangent.cloned()).collect())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// Transposes each sample, a matrix of `rows` times `columns`.
fn transpose<T: Real>(x: &Tensor, rows: usize, columns: usize, dims: &[usize]) -> Result<Tensor> {
    let elements = cpu::read::<T>(x)?;
    let elements: &[T] = &elements;
    let out = cpu::build(
        elements.len(),
        rows * columns,
        #[inline(always)]
        |b, out| {
            let x = &elements[b * rows * columns..][..rows * columns];
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                for (out, &x) in out.iter_mut().zip(x[column..].iter().step_by(columns)) {
                    *out = x;
                }
            }
        },
    );
    cpu::tensor(out, dims)
}
