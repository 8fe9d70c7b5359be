//! Noise read from a file, so that two programs can be compared number by number.

use std::{ops::Range, path::Path};

use candle_core::{DType, Device, Tensor};
use ct_model::folder::read_tensors;

use crate::{
    error::{Error, Result},
    noise::NoiseSource,
};

/// Noise that was recorded: `noise.0` for the start, `noise.1`, ... for the later evaluations.
#[derive(Debug, Clone)]
pub struct RecordedNoise {
    steps: Vec<Tensor>,
    class_labels: Option<Vec<u32>>,
}

impl RecordedNoise {
    /// Noise from tensors, one per evaluation.
    ///
    /// # Shapes
    /// Each of `steps`: `[N, C, H, W]` or `[N, D]`, all the same, any float type; `class_labels`: N of them.
    ///
    /// # Errors
    /// [`Error::NoSigmas`] without a step, [`Error::Shape`] when the shapes differ,
    /// [`Error::LabelCount`] when there is not one label per sample.
    pub fn new(steps: &[Tensor], class_labels: Option<Vec<u32>>) -> Result<Self> {
        let shape = steps.first().ok_or(Error::NoSigmas)?.dims().to_vec();
        for (index, step) in steps.iter().enumerate() {
            if step.dims() != shape || shape.len() < 2 {
                return Err(Error::Shape {
                    what: format!("noise.{index}"),
                    expected: format!("{shape:?} with at least two dimensions"),
                    got: step.dims().to_vec(),
                });
            }
        }
        if let Some(labels) = &class_labels
            && labels.len() != shape[0]
        {
            return Err(Error::LabelCount { labels: labels.len(), samples: shape[0] });
        }
        let steps = steps.iter().map(|step| step.to_dtype(DType::F32)).collect::<candle_core::Result<_>>()?;
        Ok(Self { steps, class_labels })
    }

    /// Reads `noise.0`, `noise.1`, ... and, if there, `class_labels` of a safetensors file; other names are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, holds no `noise.0`, or its tensors do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let tensors = read_tensors(path, &Device::Cpu)?;
        let steps: Vec<_> = (0..).map_while(|step| tensors.get(&format!("noise.{step}")).cloned()).collect();
        if steps.is_empty() {
            return Err(Error::TensorMissing { path: path.to_path_buf(), name: "noise.0".into() });
        }
        let class_labels = match tensors.get("class_labels") {
            Some(labels) => Some(labels.flatten_all()?.to_dtype(DType::U32)?.to_vec1()?),
            None => None,
        };
        Self::new(&steps, class_labels)
    }

    /// Number of samples.
    pub fn num_samples(&self) -> usize {
        self.steps[0].dims()[0]
    }

    /// Number of evaluations that there is noise for.
    pub fn num_steps(&self) -> usize {
        self.steps.len()
    }

    /// The recorded classes, one per sample.
    pub fn class_labels(&self) -> Option<&[u32]> {
        self.class_labels.as_deref()
    }
}

impl NoiseSource for RecordedNoise {
    fn noise(&self, step: usize, samples: Range<usize>, shape: &[usize], device: &Device) -> Result<Tensor> {
        let noise =
            self.steps.get(step).ok_or(Error::NoiseStepMissing { step, available: self.num_steps() })?;
        if &noise.dims()[1..] != shape {
            return Err(Error::Shape {
                what: format!("noise.{step}"),
                expected: format!("[N, ..{shape:?}], as the model's samples"),
                got: noise.dims().to_vec(),
            });
        }
        if samples.end > self.num_samples() {
            return Err(Error::NoiseSamplesMissing {
                needed: samples.end.saturating_sub(1),
                available: self.num_samples(),
            });
        }
        Ok(noise.narrow(0, samples.start, samples.len())?.contiguous()?.to_device(device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn zeros(shape: &[usize], dtype: DType) -> Tensor {
        Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let noise = RecordedNoise::new(&[zeros(&[2, 3], DType::F64)], None).unwrap();
        let device = &Device::Cpu;
        assert_eq!(noise.noise(0, 0..2, &[3], device).unwrap().dtype(), DType::F32);
        assert!(matches!(noise.noise(0, 0..2, &[4], device), Err(Error::Shape { .. })));
        assert!(matches!(
            noise.noise(1, 0..2, &[3], device),
            Err(Error::NoiseStepMissing { step: 1, available: 1 })
        ));
        assert!(matches!(
            noise.noise(0, 1..3, &[3], device),
            Err(Error::NoiseSamplesMissing { needed: 2, available: 2 })
        ));
        let different = [zeros(&[2, 3], DType::F32), zeros(&[2, 4], DType::F32)];
        assert!(matches!(RecordedNoise::new(&different, None), Err(Error::Shape { .. })));
        let label_missing = RecordedNoise::new(&[zeros(&[2, 3], DType::F32)], Some(vec![1]));
        assert!(matches!(label_missing, Err(Error::LabelCount { labels: 1, samples: 2 })));
    }

    #[test]
    fn a_file_of_another_program_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.safetensors");
        let tensors = HashMap::from([
            ("noise.0".to_owned(), zeros(&[2, 1, 4, 4], DType::F32)),
            ("noise.1".to_owned(), zeros(&[2, 1, 4, 4], DType::F16)),
            ("class_labels".to_owned(), Tensor::new(&[3i64, 4], &Device::Cpu).unwrap()),
            ("something else".to_owned(), zeros(&[1], DType::F32)),
        ]);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let noise = RecordedNoise::load(&path).unwrap();
        assert_eq!((noise.num_samples(), noise.num_steps()), (2, 2));
        assert_eq!(noise.class_labels(), Some(&[3, 4][..]));
        assert!(matches!(RecordedNoise::load(&folder.path().join("none")), Err(Error::File(_))));
    }
}
