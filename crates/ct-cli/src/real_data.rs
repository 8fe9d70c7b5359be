//! The data that samples are compared with.

use anyhow::{Context as _, Result};
use ct_data::{Dataset, LoadOptions, Source, Split};

use crate::mistake::mistake;

/// Precision and recall look at the third neighbour, so a set needs one sample more.
pub(crate) const LEAST: usize = 4;

/// The data, in two parts.
#[derive(Debug)]
pub(crate) struct RealData {
    pub(crate) train: Dataset,
    pub(crate) held_out: Option<Dataset>,
}

/// The data that was named, or else what the model says that it has learned from.
pub(crate) fn spec(named: Option<&str>, of_model: Option<&str>) -> Result<String> {
    named.or(of_model).map(str::to_owned).ok_or_else(|| {
        mistake("the model does not say what it has learned from: name it with --data, as in --data digits")
    })
}

/// Reads the data that `spec` names, as samples of this shape.
pub(crate) fn load(spec: &str, sample_shape: &[usize], seed: u64) -> Result<RealData> {
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
    if train.len() < LEAST {
        return Err(mistake(format!("`{spec}` holds {} samples, too few to compare with", train.len())));
    }
    let held_out = held_out.filter(|data| data.len() >= LEAST);
    Ok(RealData { train, held_out })
}
