//! Sums, products and copies in place.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::adamw::narrow;
use super::check_distinct;
use crate::composed::update::{assign, check};
use crate::cpu::simd::vectorized;
use crate::cpu::{self, BLOCK, Real};
use crate::ops::{check_dims, is_composed};
use crate::{Error, Result, composed};

/// Types that sums and copies in place take where they are composed.
const ANY: &[DType] = &[DType::F32, DType::F64, DType::BF16, DType::F16];

/// The sum of the squares of all elements of all tensors, in f64, in a fixed order.
///
/// On a GPU it is waited for once, after all tensors.
///
/// # Shapes
/// Contiguous f32 tensors of any shape.
///
/// # Errors
/// When a tensor is not contiguous, or not f32.
pub fn sum_of_squares<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    const LANES: usize = 8;
    let mut total = 0.0;
    let mut elsewhere: Option<Tensor> = None;
    for tensor in tensors {
        if is_composed(tensor) {
            check("sum_of_squares", "a tensor", tensor, &[DType::F32])?;
            let squares = composed::update::sum_of_squares(tensor)?;
            elsewhere = Some(match elsewhere {
                Some(sum) => (sum + squares)?,
                None => squares,
            });
            continue;
        }
        let elements = cpu::read::<f32>(tensor).map_err(|error| error.during("sum_of_squares"))?;
        let elements: &[f32] = &elements;
        total += cpu::sum_blocks(
            elements.len(),
            #[inline(always)]
            |range| {
                let mut sums = [0.0; LANES];
                let chunks = elements[range].chunks_exact(LANES);
                let rest: f64 = chunks.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                for chunk in chunks {
                    for (sum, &x) in sums.iter_mut().zip(chunk) {
                        *sum += f64::from(x) * f64::from(x);
                    }
                }
                sums.iter().sum::<f64>() + rest
            },
        );
    }
    match elsewhere {
        Some(sum) => Ok(total + sum.to_scalar::<f64>()?),
        None => Ok(total),
    }
}

/// x <- factor x.
///
/// # Errors
/// When the tensor is not contiguous, or not f32.
pub fn scale_in_place(x: &Tensor, factor: f64) -> Result<()> {
    let factor = narrow(factor);
    if is_composed(x) {
        check("scale_in_place", "x", x, &[DType::F32])?;
        return assign(x, &(x * f64::from(factor))?);
    }
    cpu::write::<f32, _>("scale_in_place", "x", x, |x| {
        x.par_chunks_mut(BLOCK).for_each(|x| {
            vectorized(
                #[inline(always)]
                || x.iter_mut().for_each(|x| *x *= factor),
            );
        });
        Ok(())
    })
}

/// x <- x + y; any floating-point type.
///
/// # Errors
/// When shapes, element types or layouts do not fit, or the tensors share memory.
pub fn add_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
    if is_composed(x) {
        check_pair("add_in_place", x, y)?;
        return assign(x, &(x + y)?);
    }
    match x.dtype() {
        DType::F64 => zip_in_place::<f64>(
            "add_in_place",
            x,
            y,
            #[inline(always)]
            |x, y| *x += y,
        ),
        _ => zip_in_place::<f32>(
            "add_in_place",
            x,
            y,
            #[inline(always)]
            |x, y| *x += y,
        ),
    }
}

/// x <- y; any floating-point type.
///
/// # Errors
/// When shapes, element types or layouts do not fit, or the tensors share memory.
pub fn copy_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
    if is_composed(x) {
        check_pair("copy_in_place", x, y)?;
        return assign(x, y);
    }
    match x.dtype() {
        DType::F64 => zip_in_place::<f64>(
            "copy_in_place",
            x,
            y,
            #[inline(always)]
            |x, y| *x = y,
        ),
        _ => zip_in_place::<f32>(
            "copy_in_place",
            x,
            y,
            #[inline(always)]
            |x, y| *x = y,
        ),
    }
}

/// Fails unless y suits x: the same shape and type, memory of its own.
fn check_pair(op: &'static str, x: &Tensor, y: &Tensor) -> Result<()> {
    check_dims(op, "y", y, x.dims())?;
    check_distinct(op, &[x], &[y])?;
    check(op, "x", x, ANY)?;
    check(op, "y", y, ANY)?;
    if y.dtype() == x.dtype() {
        Ok(())
    } else {
        Err(Error::DType { op, expected: x.dtype().as_str(), got: y.dtype() })
    }
}

fn zip_in_place<T: Real>(
    op: &'static str,
    x: &Tensor,
    y: &Tensor,
    f: impl Fn(&mut T, T) + Sync,
) -> Result<()> {
    check_dims(op, "y", y, x.dims())?;
    check_distinct(op, &[x], &[y])?;
    if !y.is_contiguous() {
        return Err(Error::NotContiguous { op, argument: "y" });
    }
    let y = cpu::read::<T>(y).map_err(|error| error.during(op))?;
    let y: &[T] = &y;
    cpu::write::<T, _>(op, "x", x, |x| {
        x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| {
            vectorized(
                #[inline(always)]
                || {
                    for (x, &y) in x.iter_mut().zip(y) {
                        f(x, y);
                    }
                },
            );
        });
        Ok(())
    })
}
