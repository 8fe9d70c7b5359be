//! Updates of parameters in place: optimizers, averages, clipping.
//!
//! All tensors are contiguous f32; anything else is an error, but where more is said.
//! On the CPU they are changed where they are; on a GPU results are computed beside and copied over them.
//! Tensors are cut into fixed blocks, so results have the same bits for any number of threads.

mod adamw;
mod basic;
mod ema;
mod radam;

pub use adamw::{AdamWStep, adamw_step};
pub use basic::{add_in_place, copy_in_place, scale_in_place, sum_of_squares};
pub use ema::ema_update;
pub use radam::{RAdamStep, radam_step};

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::cpu::simd::vectorized;
use crate::cpu::{self, BLOCK};
use crate::ops::{check_dims, is_composed};
use crate::{Error, Result, composed};

/// Parameters, both moments and gradients, of one block.
struct Moments<'a> {
    param: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    grad: &'a [f32],
}

/// Whether an optimizer's step is composed, after checking that parameter, moments and gradient suit each other.
fn check_moments(op: &'static str, [param, m, v]: [&Tensor; 3], grad: &Tensor) -> Result<bool> {
    check_dims(op, "m", m, param.dims())?;
    check_dims(op, "v", v, param.dims())?;
    check_dims(op, "grad", grad, param.dims())?;
    check_distinct(op, &[param, m, v], &[grad])?;
    let is_composed = is_composed(param);
    if is_composed {
        for (argument, tensor) in [("param", param), ("m", m), ("v", v), ("grad", grad)] {
            composed::update::check(op, argument, tensor, &[DType::F32])?;
        }
    }
    Ok(is_composed)
}

/// Calls `f` with each block of four tensors of one shape, of which it may change the first three.
fn for_each_moment(
    op: &'static str,
    [param, m, v]: [&Tensor; 3],
    grad: &Tensor,
    f: impl Fn(Moments<'_>) + Sync,
) -> Result<()> {
    let grad = cpu::read::<f32>(grad)?;
    let grad: &[f32] = &grad;
    cpu::write::<f32, _>(op, "param", param, |param| {
        cpu::write::<f32, _>(op, "m", m, |m| {
            cpu::write::<f32, _>(op, "v", v, |v| {
                let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
                let blocks = param.par_chunks_mut(BLOCK).zip(moments).zip(grad.par_chunks(BLOCK));
                blocks.for_each(|((param, (m, v)), grad)| {
                    vectorized(
                        #[inline(always)]
                        || f(Moments { param, m, v, grad }),
                    );
                });
                Ok(())
            })
        })
    })
}

/// Fails if memory that is written is shared with any other argument: taking two locks of one
/// tensor would wait forever.
fn check_distinct(op: &'static str, written: &[&Tensor], only_read: &[&Tensor]) -> Result<()> {
    let all: Vec<_> = written.iter().chain(only_read).map(|tensor| span(tensor)).collect();
    for (idx, a) in all.iter().enumerate().take(written.len()) {
        if all[idx + 1..].iter().any(|b| a.0 < b.1 && b.0 < a.1) {
            return Err(Error::Aliased { op });
        }
    }
    Ok(())
}

/// Addresses of the first byte of a tensor's storage and of the byte after its last; of a storage that is elsewhere, or
/// whose elements no kernel of ours changes, those of the storage itself, which also tell it from others.
fn span(tensor: &Tensor) -> (usize, usize) {
    use candle_core::{CpuStorage, Storage};
    fn addresses<T>(elements: &[T]) -> (usize, usize) {
        let range = elements.as_ptr_range();
        (range.start.addr(), range.end.addr())
    }
    let (storage, _) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(elements)) => addresses(elements),
        Storage::Cpu(CpuStorage::F64(elements)) => addresses(elements),
        other => {
            let address = std::ptr::from_ref(other).addr();
            (address, address + 1)
        }
    }
}
