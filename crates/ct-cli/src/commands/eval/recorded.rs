//! Samples that another program, or `ct sample`, has written.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ct_model::folder;

use crate::mistake::mistake;

/// The largest value that samples of images can have by right, with room for estimates that are not clipped.
const LARGEST: f32 = 2.0;

/// The tensor `samples` of a file.
///
/// # Shapes
/// Returns `[N, C, H, W]` or `[N, D]` f32, at most `most` of them.
pub(crate) fn samples(path: &Path, most: Option<usize>) -> Result<Tensor> {
    let tensors = folder::read_tensors(path, &Device::Cpu)?;
    let wrong = |what: String| mistake(format!("{}: {what}", path.display()));
    let samples = tensors.get("samples").ok_or_else(|| {
        wrong("it has no tensor `samples`, which `ct sample --save-tensors` writes".to_owned())
    })?;
    if !matches!(samples.dims(), [_, _, _, _] | [_, _]) || samples.elem_count() == 0 {
        let dims = samples.dims();
        return Err(wrong(format!("`samples` has shape {dims:?}, expected [N, C, H, W] or [N, D]")));
    }
    let num = samples.dims()[0];
    let samples = samples.narrow(0, 0, most.map_or(num, |most| most.min(num)))?.to_dtype(DType::F32)?;
    let values = samples.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(wrong("`samples` holds numbers that are not finite".to_owned()));
    }
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if samples.rank() == 4 && largest > LARGEST {
        return Err(wrong(format!("`samples` reaches to {largest}, expected images in [-1, 1]")));
    }
    Ok(samples)
}
