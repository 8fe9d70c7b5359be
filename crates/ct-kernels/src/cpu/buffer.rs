//! Results of kernels that write all of their output.

use candle_core::Tensor;

use super::{Real, tensor};
use crate::Result;

/// A vector of `len` elements that `f` overwrites, handed over without clearing it first.
///
/// Clearing would be a pass over memory by one thread, up to a fifth of a convolution's time.
/// Debug builds fill it with NaN, so that a test sees an element that was forgotten.
///
/// # Safety
/// `f` writes every element, and reads none before it has.
#[expect(unsafe_code, reason = "the caller answers for what `f` does")]
pub(crate) unsafe fn overwritten<T: Real>(len: usize, f: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut elements: Vec<T> = Vec::with_capacity(len);
    let spare = &mut elements.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        for element in &mut *spare {
            element.write(T::from_f64(f64::NAN));
        }
    }
    // SAFETY: no bits are invalid as a number, none is read before it is written, as the caller promises,
    // and after `f` all are written.
    unsafe {
        f(spare.assume_init_mut());
        elements.set_len(len);
    }
    elements
}

/// Up to three tensors of the shapes `dims`, those that are needed, which `f` overwrites.
///
/// # Safety
/// As for [`overwritten`], for each slice that is there.
#[expect(unsafe_code, reason = "the caller answers for what `f` does")]
pub(crate) unsafe fn overwritten_if_needed(
    dims: [&[usize]; 3],
    needs: [bool; 3],
    f: impl FnOnce([Option<&mut [f32]>; 3]),
) -> Result<[Option<Tensor>; 3]> {
    let len = |idx: usize| if needs[idx] { dims[idx].iter().product() } else { 0 };
    let (mut b, mut c) = (Vec::new(), Vec::new());
    // SAFETY: passed on to the caller, who promises it for all three.
    let a = unsafe {
        overwritten(len(0), |a| {
            b = overwritten(len(1), |b| {
                c = overwritten(len(2), |c| {
                    let slices = [(0, a), (1, b), (2, c)];
                    f(slices.map(|(idx, slice)| needs[idx].then_some(slice)));
                });
            });
        })
    };
    let finish = |idx: usize, elements| needs[idx].then(|| tensor(elements, dims[idx])).transpose();
    Ok([finish(0, a)?, finish(1, b)?, finish(2, c)?])
}
