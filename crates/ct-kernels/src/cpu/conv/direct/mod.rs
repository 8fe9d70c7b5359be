//! Convolution of any shape, and dense layers, as matrix products over patches.
//!
//! A row of the left matrix holds what one output pixel sees: its taps, and of each the input channels, in the order
//! `[ky][kx][c_in]`, which NHWC keeps together along `kx`.
//! The rows are gathered for a few dozen pixels at a time ([`patches`]), so they never leave the cache.
//!
//! - [`forward`]: `y = patches(x) W`.
//! - [`backward`]: `dW = patches(x)^T dy`; `dx` as the forward pass of the mirrored convolution where the stride is 1,
//!   and as `dy W^T` scattered back where it is not.
//! - [`dense`]: both gradients at once, where patches are single pixels.
//!
//! A dense layer is the convolution of one pixel per row.

mod backward;
mod dense;
mod forward;
mod patches;
mod weights;

pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use weights::View;

use super::ConvShape;

/// The convolution that maps `dy` to `dx`, if there is one: stride 1, and not more padding than the kernel covers.
fn mirrored(s: &ConvShape) -> Option<ConvShape> {
    let [top, bottom, left, right] = s.padding;
    let [height, width] = s.kernel;
    let fits = s.stride == 1 && top.max(bottom) < height && left.max(right) < width;
    fits.then(|| ConvShape {
        batch: s.batch,
        height: s.out_height(),
        width: s.out_width(),
        c_in: s.c_out,
        c_out: s.c_in,
        kernel: s.kernel,
        stride: 1,
        padding: [height - 1 - top, height - 1 - bottom, width - 1 - left, width - 1 - right],
    })
}
