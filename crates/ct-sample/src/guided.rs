//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598):
//!
//! ```text
//! D = D(x | no class) + scale (D(x | class) - D(x | no class))
//! ```
//!
//! For a model that was trained with hidden labels. A scale of 1 is the model itself, 0 its unconditional estimate.

use candle_core::{Device, Tensor};
use ct_model::{Denoiser, NoiseRange};

use crate::error::{Error, Result};

/// A model whose estimates are led further towards the class that was asked for.
#[expect(missing_debug_implementations, reason = "a denoiser need not have one")]
pub struct Guided<'a> {
    model: &'a dyn Denoiser,
    scale: f64,
    null_label: u32,
}

impl<'a> Guided<'a> {
    /// Guides `model` by `scale`.
    ///
    /// # Errors
    /// [`Error::NoNullLabel`] for a model that was not trained to do without labels,
    /// [`Error::GuidanceScale`] for a scale that is negative or not finite.
    pub fn new(model: &'a dyn Denoiser, scale: f64) -> Result<Self> {
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::GuidanceScale { scale });
        }
        let null_label = model.null_label().ok_or(Error::NoNullLabel)?;
        Ok(Self { model, scale, null_label })
    }
}

impl Denoiser for Guided<'_> {
    /// Both estimates come from one batch of twice the size.
    fn denoise(&self, x: &Tensor, sigma: f64, class_labels: Option<&[u32]>) -> candle_core::Result<Tensor> {
        let batch = x.dim(0)?;
        let null = vec![self.null_label; batch];
        let Some(labels) = class_labels else { return self.model.denoise(x, sigma, Some(&null)) };
        let both = self.model.denoise(&Tensor::cat(&[x, x], 0)?, sigma, Some(&[labels, &null].concat()))?;
        let (conditional, null) = (both.narrow(0, 0, batch)?, both.narrow(0, batch, batch)?);
        &null + ((conditional - &null)? * self.scale)?
    }

    fn sample_shape(&self) -> &[usize] {
        self.model.sample_shape()
    }

    fn noise_range(&self) -> NoiseRange {
        self.model.noise_range()
    }

    fn num_classes(&self) -> Option<usize> {
        self.model.num_classes()
    }

    fn null_label(&self) -> Option<u32> {
        Some(self.null_label)
    }

    fn device(&self) -> &Device {
        self.model.device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Estimates its label, whatever comes in.
    struct Label(Device);

    impl Denoiser for Label {
        fn denoise(&self, x: &Tensor, _: f64, labels: Option<&[u32]>) -> candle_core::Result<Tensor> {
            let labels: Vec<f64> = labels.unwrap_or(&[]).iter().copied().map(f64::from).collect();
            Tensor::new(labels, &self.0)?.to_dtype(x.dtype())?.reshape((x.dim(0)?, 1))
        }

        fn sample_shape(&self) -> &[usize] {
            &[1]
        }

        fn noise_range(&self) -> NoiseRange {
            NoiseRange::default()
        }

        fn num_classes(&self) -> Option<usize> {
            Some(10)
        }

        fn null_label(&self) -> Option<u32> {
            Some(10)
        }

        fn device(&self) -> &Device {
            &self.0
        }
    }

    #[test]
    fn estimates_are_led_away_from_the_unconditional_one() {
        let model = Label(Device::Cpu);
        let x = Tensor::new(&[[0f32], [0.0]], &Device::Cpu).unwrap();
        for (scale, expected) in [(1.0, [3.0, 7.0]), (0.0, [10.0, 10.0]), (2.0, [-4.0, 4.0])] {
            let guided = Guided::new(&model, scale).unwrap();
            let got: Vec<f32> =
                guided.denoise(&x, 1.0, Some(&[3, 7])).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(got, expected, "scale {scale}");
        }
        assert!(matches!(Guided::new(&model, f64::NAN), Err(Error::GuidanceScale { .. })));
    }
}
