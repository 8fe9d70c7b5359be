//! Sums, products and copies in place.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::adamw::narrow;
use super::check_distinct;
use crate::cpu::simd::vectorized;
use crate::cpu::{self, BLOCK, Real};
use crate::ops::check_dims;
use crate::{Error, Result};

/// The sum of the squares of all elements of all tensors, in f64, in a fixed order.
///
/// # Shapes
/// Contiguous f32 tensors of any shape.
///
/// # Errors
/// When a tensor is not contiguous, or not f32 on the CPU.
pub fn sum_of_squares<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    const LANES: usize = 8;
    let mut total = 0.0;
    for tensor in tensors {
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
    Ok(total)
}

/// x <- factor x.
///
/// # Errors
/// When the tensor is not contiguous, or not f32 on the CPU.
pub fn scale_in_place(x: &Tensor, factor: f64) -> Result<()> {
    let factor = narrow(factor);
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

/// x <- x + y; f64 as well as f32.
///
/// # Errors
/// When shapes, element types or layouts do not fit, or the tensors share memory.
pub fn add_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
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

/// x <- y; f64 as well as f32.
///
/// # Errors
/// When shapes, element types or layouts do not fit, or the tensors share memory.
pub fn copy_in_place(x: &Tensor, y: &Tensor) -> Result<()> {
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
