//! Another element type.

use candle_core::{DType, Tensor};

use super::sum_of;
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "cast";

/// The same numbers as elements of type `dtype`, rounded where it is narrower; gradients come back in the type of `x`.
///
/// So a network computes in bf16 from weights of f32, whose gradients are f32 again.
/// A value that has the type already is handed through, and nothing is recorded.
///
/// # Errors
/// When one of the types is not of floating-point numbers.
pub fn cast(x: &Value, dtype: DType) -> Result<Value> {
    let from = x.tensor().dtype();
    for dtype in [from, dtype] {
        if !matches!(dtype, DType::F32 | DType::F64 | DType::BF16 | DType::F16) {
            return Err(Error::DType { op: NAME, expected: "f32, f64, bf16 or f16", got: dtype });
        }
    }
    if from == dtype { Ok(x.clone()) } else { apply(Cast { from, to: dtype }, &[x]) }
}

struct Cast {
    from: DType,
    to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((inputs[0].to_dtype(self.to)?.contiguous()?, Vec::new()))
    }

    fn backward(&self, _: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.to_dtype(self.from)?.contiguous()?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangents = tangents.iter().map(|tangent| tangent.cloned()).collect();
        Ok(sum_of(NAME, tangents)?.to_dtype(self.to)?.contiguous()?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}
