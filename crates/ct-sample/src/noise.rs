//! Where the unit normal noise of a sampler comes from.

use std::ops::Range;

use candle_core::{Device, Tensor};
use ct_random::{Purpose, Stream};

use crate::error::Result;

/// Unit normal noise for each evaluation of each sample.
pub trait NoiseSource {
    /// The noise of evaluation `step` (0 is the start) for the given samples.
    ///
    /// # Shapes
    /// `shape` is that of one sample, `[C, H, W]` or `[D]`; the result is `[samples, ..shape]` f32 on `device`.
    ///
    /// # Errors
    /// When the source does not hold that step, those samples or that shape.
    fn noise(&self, step: usize, samples: Range<usize>, shape: &[usize], device: &Device) -> Result<Tensor>;
}

/// Noise made from a seed: sample i of evaluation j is the stream (seed, `Purpose::Sample`, j, first + i).
///
/// ```
/// use candle_core::Device;
/// use ct_sample::{NoiseSource, SeededNoise};
///
/// let noise = SeededNoise { seed: 1, first_index: 0 };
/// let all = noise.noise(0, 0..4, &[2, 3], &Device::Cpu)?;
/// let third = noise.noise(0, 2..3, &[2, 3], &Device::Cpu)?;
/// assert_eq!(all.get(2)?.to_vec2::<f32>()?, third.get(0)?.to_vec2::<f32>()?);
/// # Ok::<(), ct_sample::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeededNoise {
    /// Key of all streams.
    pub seed: u64,
    /// Index of the stream that sample 0 draws from.
    pub first_index: u64,
}

impl NoiseSource for SeededNoise {
    fn noise(&self, step: usize, samples: Range<usize>, shape: &[usize], device: &Device) -> Result<Tensor> {
        let per_sample: usize = shape.iter().product();
        let num_samples = samples.len();
        let mut values = vec![0f32; num_samples * per_sample];
        for (sample, row) in samples.zip(values.chunks_exact_mut(per_sample.max(1))) {
            let index = self.first_index.wrapping_add(sample as u64);
            Stream::new(self.seed, Purpose::Sample, step as u64, index).fill_normal(row);
        }
        let batch_shape = [&[num_samples], shape].concat();
        Ok(Tensor::from_vec(values, batch_shape, device)?)
    }
}
