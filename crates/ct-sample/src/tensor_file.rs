//! Samples as numbers, for other programs.

use std::path::Path;

use candle_core::Tensor;
use ct_model::folder::write_tensors;

use crate::error::Result;

/// Writes `samples` and `sigmas` into a safetensors file that is either whole or absent.
///
/// # Shapes
/// `samples`: `[N, C, H, W]` or `[N, D]`; `sigmas` is written as `[steps]` f64.
///
/// # Errors
/// [`Error::File`](crate::Error::File) when the file cannot be written.
pub fn save_tensors(path: &Path, samples: &Tensor, sigmas: &[f64]) -> Result<()> {
    let samples = samples.contiguous()?;
    let sigmas = Tensor::new(sigmas, samples.device())?;
    let tensors = [("samples", &samples), ("sigmas", &sigmas)];
    Ok(write_tensors(path, tensors.into_iter())?)
}
