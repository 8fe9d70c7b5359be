//! Unit normal noise as tensors, from counter-based streams.

use candle_core::{Device, Result, Tensor};
use ct_random::{Purpose, Stream};

/// Unit normal noise in which sample `i` depends on `(seed, purpose, step, first_index + i)` alone,
/// not on the batch that it is drawn in.
///
/// # Shapes
/// `sample_shape: [C, H, W]` or `[D]`; the result is `[batch, ..sample_shape]`, f32.
///
/// # Errors
/// The device is out of memory.
pub fn normal(
    seed: u64,
    purpose: Purpose,
    step: u64,
    first_index: u64,
    batch: usize,
    sample_shape: &[usize],
    device: &Device,
) -> Result<Tensor> {
    let size: usize = sample_shape.iter().product();
    let mut values = vec![0f32; batch * size];
    for (sample, index) in values.chunks_exact_mut(size.max(1)).zip(first_index..) {
        Stream::new(seed, purpose, step, index).fill_normal(sample);
    }
    let shape: Vec<usize> = std::iter::once(batch).chain(sample_shape.iter().copied()).collect();
    Tensor::from_vec(values, shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_does_not_depend_on_its_batch() -> Result<()> {
        let device = Device::Cpu;
        let all = normal(7, Purpose::Noise, 3, 10, 4, &[1, 3, 3], &device)?;
        let one = normal(7, Purpose::Noise, 3, 12, 1, &[1, 3, 3], &device)?;
        let (all, one) = (all.get(2)?.flatten_all()?.to_vec1::<f32>()?, one.flatten_all()?.to_vec1::<f32>()?);
        assert_eq!(all, one);
        Ok(())
    }
}
