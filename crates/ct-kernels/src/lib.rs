//! Differentiable tensor operations: forward, backward and forward-mode derivative of each.
//!
//! Storage is candle's [`Tensor`](candle_core::Tensor); candle's autograd is not used.
//! A [`Value`] is a tensor that may be on a [`Tape`] and may carry a tangent, and every function
//! here takes and returns values.
//! Networks are written once and serve three ways: on constants they compute, on leaves of a tape
//! they are recorded for [`Tape::backward`], on dual numbers ([`Value::dual`]) they compute an exact
//! directional derivative along the way.
//!
//! Activations are channels last, [B, H, W, C]; weights are laid out as PyTorch's.
//! Results have the same bits for any number of threads.
//! f32 is fast, f64 serves to check gradients.
//! Kernels of ours are for the CPU; on a GPU, and for bf16 and f16, operations are composed of candle's own.

mod checkpoint;
mod composed;
mod cpu;
mod error;
mod op;
mod ops;
mod pending;
mod reference;
mod tape;
mod update;
mod value;

pub use checkpoint::checkpoint;
pub use error::{Error, Result};
pub use op::{Context, Keeps, Op, apply};
pub use ops::{
    Activation, Conv2d, FourierEmbedding, GroupNorm, Metric, Padding, PositionalEmbedding, add, add_channels,
    attention, avg_pool2x, cast, concat_channels, conv2d, conv2d_residual, distance, distances, dropout,
    embedding, fir_down2x, fir_up2x, fourier_embedding, gelu, group_norm, group_norm_added,
    group_norm_modulated, linear, linear_residual, max_pool2d, mean_all, mish, mul, narrow_channels,
    normalize_channels, overflow_penalty, pixel_norm, positional_embedding, relu, reshape, scale,
    scale_samples, silu, sum_all, to_channels_first, to_channels_last, upsample_nearest2x,
};
pub use tape::{Gradients, Tape};
pub use update::{
    AdamWStep, RAdamStep, adamw_step, add_in_place, copy_in_place, ema_update, radam_step, scale_in_place,
    sum_of_squares,
};
pub use value::Value;

/// Whether the environment's choice of CPU kernels is followed.
///
/// `CT_KERNELS=portable|avx2|avx512` forces instructions, `CT_KERNELS=composed` the operations that a GPU would run,
/// `CT_KERNELS_STRICT=1` forbids the Winograd convolution.
/// A choice that cannot be followed does not stop the work: the best kernels that the CPU has run.
///
/// # Errors
/// A choice that cannot be followed, and why.
pub fn check_kernels() -> Result<()> {
    cpu::simd::dispatch::check_choice().map_err(|error| Error::setting("environment", error.to_string()))
}
