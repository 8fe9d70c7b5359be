//! What to draw: how many samples, which ones, of which class.

use std::ops::Range;

use candle_core::Tensor;
use ct_model::Denoiser;

use crate::error::{Error, Result};

/// What to draw from a model: which samples, of which classes, clipped or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw<'a> {
    /// Which samples of the noise source, `0..n` for the first n.
    pub samples: Range<usize>,
    /// One class per sample of the range, for a model with classes.
    pub class_labels: Option<&'a [u32]>,
    /// Whether every estimate is clipped to [-1, 1], diffusers' `clip_denoised`.
    pub clip: bool,
}

impl<'a> Draw<'a> {
    /// The first `n` samples without labels, clipped if they are images (`[C, H, W]`) and not if they are vectors.
    pub fn new(model: &dyn Denoiser, n: usize) -> Self {
        Self { samples: 0..n, class_labels: None, clip: model.sample_shape().len() == 3 }
    }

    /// The same draw with one class per sample.
    #[must_use]
    pub fn with_class_labels(mut self, class_labels: &'a [u32]) -> Self {
        self.class_labels = Some(class_labels);
        self
    }

    /// The same draw with every estimate left as the model gives it.
    #[must_use]
    pub fn without_clipping(mut self) -> Self {
        self.clip = false;
        self
    }

    /// Number of samples.
    pub fn num_samples(&self) -> usize {
        self.samples.len()
    }

    /// The same draw in consecutive parts of at most `batch_size` samples, each with its own labels.
    ///
    /// Labels beyond the end are left to [`Draw::check`], which every sampler calls.
    pub fn batches(&self, batch_size: usize) -> impl Iterator<Item = Self> + use<'_, 'a> {
        let start = self.samples.start;
        self.samples.clone().step_by(batch_size.max(1)).map(move |first| {
            let samples = first..self.samples.end.min(first + batch_size.max(1));
            let class_labels = self
                .class_labels
                .map(|labels| labels.get(samples.start - start..samples.end - start).unwrap_or_default());
            Self { samples, class_labels, clip: self.clip }
        })
    }

    /// Whether the labels fit the samples and the model.
    ///
    /// # Errors
    /// [`Error::NoClasses`], [`Error::LabelCount`] or [`Error::ClassLabel`].
    pub fn check(&self, model: &dyn Denoiser) -> Result<()> {
        let Some(labels) = self.class_labels else { return Ok(()) };
        let num_classes = model.num_classes().ok_or(Error::NoClasses)?;
        if labels.len() != self.num_samples() {
            return Err(Error::LabelCount { labels: labels.len(), samples: self.num_samples() });
        }
        match labels.iter().position(|&label| label as usize >= num_classes) {
            Some(sample) => Err(Error::ClassLabel { sample, label: labels[sample], num_classes }),
            None => Ok(()),
        }
    }

    /// The estimate of the clean samples, clipped if the draw says so.
    pub(crate) fn denoise(&self, model: &dyn Denoiser, x: &Tensor, sigma: f64) -> Result<Tensor> {
        self.finish(model.denoise(x, sigma, self.class_labels)?)
    }

    /// Clips if the draw says so.
    pub(crate) fn finish(&self, x: Tensor) -> Result<Tensor> {
        Ok(if self.clip { x.clamp(-1f32, 1f32)? } else { x })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Gaussian, GaussianConsistency};

    #[test]
    fn batches_cover_the_draw_with_their_labels() {
        let labels = [0, 1, 2, 3, 4];
        let draw = Draw { samples: 10..15, class_labels: Some(&labels), clip: true };
        let parts: Vec<_> =
            draw.batches(2).map(|part| (part.samples, part.class_labels.unwrap().to_vec())).collect();
        assert_eq!(parts, [(10..12, vec![0, 1]), (12..14, vec![2, 3]), (14..15, vec![4])]);
    }

    #[test]
    fn labels_are_checked() {
        let model = GaussianConsistency::new(Gaussian::isotropic(&[2], 0.0, 1.0).unwrap());
        let draw = Draw::new(&model, 2);
        assert!(draw.check(&model).is_ok());
        assert!(matches!(draw.clone().with_class_labels(&[0, 1]).check(&model), Err(Error::NoClasses)));
        let model = model.with_num_classes(2);
        assert!(draw.clone().with_class_labels(&[0, 1]).check(&model).is_ok());
        assert!(matches!(
            draw.clone().with_class_labels(&[0]).check(&model),
            Err(Error::LabelCount { labels: 1, samples: 2 })
        ));
        assert!(matches!(
            draw.with_class_labels(&[0, 2]).check(&model),
            Err(Error::ClassLabel { sample: 1, label: 2, num_classes: 2 })
        ));
    }
}
