//! What `ct eval` compares: samples of a model or of a file, and data of the same shape.

use std::path::Path;

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use ct_data::{Dataset, LoadOptions, Source, Split};
use ct_model::folder;

use crate::mistake::mistake;

/// The largest value that samples of images can have by right, with room for estimates that are not clipped.
const LARGEST: f32 = 2.0;

/// The data, in two parts.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) train: Dataset,
    pub(crate) held_out: Option<Dataset>,
}

/// Reads the data that `spec` names, as samples of this shape.
pub(crate) fn data(spec: &str, sample_shape: &[usize], seed: u64) -> Result<Data> {
    let source: Source = spec.parse()?;
    let (size, channels) = match *sample_shape {
        [c, h, w] => (Some([h, w]), Some(c)),
        _ => (None, None),
    };
    let load = |split| source.load(&LoadOptions { size, channels, split, seed });
    let train = load(Split::Train).with_context(|| format!("cannot load the data `{spec}`"))?;
    if train.sample_shape() != sample_shape {
        return Err(mistake(format!(
            "the samples have shape {sample_shape:?}, but `{spec}` holds {:?}: name the data that they are to be like with --data",
            train.sample_shape()
        )));
    }
    // Not every source has held-out data.
    let held_out = match load(Split::Test) {
        Err(ct_data::Error::NoSplit { .. }) => None,
        found => Some(found.with_context(|| format!("cannot load the held-out part of `{spec}`"))?),
    };
    Ok(Data { train, held_out })
}

/// The tensor `samples` of a file.
///
/// # Shapes
/// Returns `[N, C, H, W]` or `[N, D]` f32, at most `most` of them.
pub(crate) fn recorded(path: &Path, most: Option<usize>) -> Result<Tensor> {
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
