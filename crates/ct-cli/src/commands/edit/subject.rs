//! What is known of pictures: a measurement of all alike or a mask for each, and what was observed.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use candle_core::Tensor;
use ct_model::folder;
use ct_sample::{Known, Mask, Measurement};

use super::inputs::{self, Inputs};
use super::request::{Editor, Pictures, rows_for};
use crate::mistake::mistake;

/// What is known of the pictures, and what they are if that was said too.
pub(super) struct Subject {
    pub(super) measurement: Measured,
    /// What was observed, `[N, ..]`.
    pub(super) observed: Tensor,
    /// What is known as a picture, `[N, C, H, W]`.
    pub(super) picture: Tensor,
    /// The whole pictures, `[N, C, H, W]`.
    pub(super) clean: Option<Tensor>,
}

/// How pictures were measured.
pub(super) enum Measured {
    /// All in the same way.
    Alike(Arc<dyn Measurement>),
    /// Each by its own mask, `[N, 1 or C, H, W]`.
    Masks(Tensor),
}

impl Measured {
    /// The measurement of the inputs behind consecutive results.
    pub(super) fn of(
        &self,
        samples: Range<usize>,
        per_input: usize,
        shape: &[usize],
    ) -> ct_sample::Result<Arc<dyn Measurement>> {
        match self {
            Self::Alike(measurement) => Ok(Arc::clone(measurement)),
            Self::Masks(masks) => Ok(Arc::new(Mask::new(&rows_for(masks, samples, per_input)?, shape)?)),
        }
    }
}

impl Subject {
    /// Pictures of which a measurement that is the same for all is known.
    pub(super) fn alike(
        measurement: Arc<dyn Measurement>,
        inputs: Inputs,
        is_clean: bool,
        show: Show,
    ) -> Result<Self> {
        let (observed, clean) =
            if is_clean { (measurement.observe(&inputs.x)?, Some(inputs.x)) } else { (inputs.x, None) };
        let picture = show.picture(&*measurement, &observed)?;
        Ok(Self { measurement: Measured::Alike(measurement), observed, picture, clean })
    }

    /// Pictures with a mask for each, `[1 or N, 1 or C, H, W]`.
    pub(super) fn masked(masks: &Tensor, inputs: Inputs, shape: &[usize], is_clean: bool) -> Result<Self> {
        let num = inputs.len();
        let all = match masks.dims() {
            [1, rest @ ..] => masks.broadcast_as([&[num], rest].concat())?.contiguous()?,
            [found, ..] if *found != num => {
                return Err(mistake(format!(
                    "{found} masks for {num} pictures: expected one, or one for each"
                )));
            }
            _ => masks.clone(),
        };
        let observed = Mask::new(&all, shape)?.observe(&inputs.x)?;
        let picture = observed.clone();
        Ok(Self { measurement: Measured::Masks(all), observed, picture, clean: is_clean.then_some(inputs.x) })
    }
}

/// How what is known is shown.
#[derive(Clone, Copy)]
pub(super) enum Show {
    /// The observation is a picture, of the model's size or a smaller one, in colour or gray.
    Observation([usize; 3]),
    /// The observation is numbers: the least picture that agrees with them.
    Least,
}

impl Show {
    pub(super) fn picture(self, measurement: &dyn Measurement, observed: &Tensor) -> Result<Tensor> {
        match self {
            Self::Least => Ok(Known::observed(measurement, observed)?.least()?),
            Self::Observation([channels, height, width]) => {
                let num = observed.dims()[0];
                let large = observed.upsample_nearest2d(height, width)?;
                Ok(large.broadcast_as((num, channels, height, width))?.contiguous()?)
            }
        }
    }
}

/// What is known is numbers: those of a file, or those of whole pictures.
pub(super) fn numbers(
    editor: &Editor,
    pictures: &Pictures,
    measures: bool,
    measurement: Arc<dyn Measurement>,
    shape: &[usize],
) -> Result<Subject> {
    if let Some(path) = pictures.tensor_file()
        && !measures
    {
        let mut tensors = folder::read_tensors(path, editor.device())?;
        let observed = inputs::take(&mut tensors, path, "measured", shape)?;
        let picture = Show::Least.picture(&*measurement, &observed)?;
        return Ok(Subject { measurement: Measured::Alike(measurement), observed, picture, clean: None });
    }
    Subject::alike(measurement, editor.read(pictures)?, true, Show::Least)
}
