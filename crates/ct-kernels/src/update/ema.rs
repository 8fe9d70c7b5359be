//! The exponential moving average of parameters.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::adamw::narrow;
use super::check_distinct;
use crate::cpu::simd::vectorized;
use crate::cpu::{self, BLOCK};
use crate::ops::{check_dims, is_composed};
use crate::{Result, composed};

const NAME: &str = "ema_update";

/// avg <- beta avg + (1 - beta) param, in place.
///
/// Written as a step from the nearer of the two towards the other: so beta = 0 gives exactly
/// `param`, beta = 1 exactly `avg`, and a constant `param` is approached without a bias from the
/// rounding of beta.
///
/// # Shapes
/// `avg`, `param`: contiguous f32 tensors of one shape.
///
/// # Errors
/// When shapes, element types or layouts do not fit, or the tensors share memory.
pub fn ema_update(avg: &Tensor, param: &Tensor, beta: f64) -> Result<()> {
    check_dims(NAME, "param", param, avg.dims())?;
    check_distinct(NAME, &[avg], &[param])?;
    if is_composed(avg) {
        composed::update::check(NAME, "avg", avg, &[DType::F32])?;
        composed::update::check(NAME, "param", param, &[DType::F32])?;
        return composed::update::ema(avg, param, beta).map_err(|error| error.during(NAME));
    }
    let param = cpu::read::<f32>(param)?;
    let param: &[f32] = &param;
    let (keep, step) = (narrow(beta), narrow(1.0 - beta));
    cpu::write::<f32, _>(NAME, "avg", avg, |avg| {
        avg.par_chunks_mut(BLOCK).zip(param.par_chunks(BLOCK)).for_each(|(avg, param)| {
            vectorized(
                #[inline(always)]
                || {
                    if beta < 0.5 {
                        for (avg, &param) in avg.iter_mut().zip(param) {
                            *avg = param + keep * (*avg - param);
                        }
                    } else {
                        for (avg, &param) in avg.iter_mut().zip(param) {
                            *avg += step * (param - *avg);
                        }
                    }
                },
            );
        });
        Ok(())
    })
}
