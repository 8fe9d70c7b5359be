//! Peak signal-to-noise ratio.

use anyhow::Result;
use candle_core::Tensor;

/// A perfect picture would have an infinite ratio, and counts as this one.
const PERFECT: f64 = 100.0;

/// 10 log10(4 / mean square error) of pictures in [-1, 1], a range of 2: the mean over all, in decibels.
///
/// # Shapes
/// `x`: `[N k, C, H, W]`, k for each of `clean`, one after the other; `clean`: `[N, C, H, W]`.
pub(crate) fn psnr(x: &Tensor, clean: &Tensor) -> Result<f64> {
    let (num, num_clean) = (x.dims()[0], clean.dims()[0]);
    let per_input = num / num_clean;
    let each = [&[num_clean, 1], &clean.dims()[1..]].concat();
    let all = [&[num_clean, per_input], &clean.dims()[1..]].concat();
    let clean = clean.reshape(each)?.broadcast_as(all)?.contiguous()?.reshape(x.dims())?;
    let errors = (x.clamp(-1.0, 1.0)? - clean)?.sqr()?.flatten_from(1)?.mean(1)?.to_vec1::<f32>()?;
    let decibels = errors.iter().map(|&mse| (10.0 * (4.0 / f64::from(mse)).log10()).min(PERFECT));
    Ok(decibels.sum::<f64>() / num as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn errors_count_beside_the_range_of_pixels() {
        let image = |value: f32| Tensor::full(value, (1, 1, 2, 2), &Device::Cpu).unwrap();
        let clean = image(0.5);
        assert!((psnr(&image(0.3), &clean).unwrap() - 20.0).abs() < 1e-5);
        assert!((psnr(&clean, &clean).unwrap() - 100.0).abs() < 1e-12);
        // The mean over pictures of their ratios, what lies outside cut off.
        let both = Tensor::cat(&[image(0.3), image(9.0)], 0).unwrap();
        let expected = f64::midpoint(20.0, 10.0 * 16f64.log10());
        assert!((psnr(&both, &clean).unwrap() - expected).abs() < 1e-5);
    }
}
