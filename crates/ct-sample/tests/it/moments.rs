//! Means and covariances of samples.

use candle_core::Tensor;

/// Mean and covariance of points [N, 2], in f64.
pub(crate) fn moments(points: &Tensor) -> ([f64; 2], [[f64; 2]; 2]) {
    let rows = points.to_vec2::<f32>().unwrap();
    let count = rows.len() as f64;
    let mean = [0, 1].map(|i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / count);
    let product = |i: usize, j: usize| {
        rows.iter().map(|row| (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j])).sum::<f64>()
            / count
    };
    (mean, [0, 1].map(|i| [0, 1].map(|j| product(i, j))))
}

/// Whether 20000 points are those of N((1, -2), diag(0.25, 4)) plus noise of the given scale.
pub(crate) fn assert_moments(points: &Tensor, sigma: f64) {
    let (mean, covariance) = moments(points);
    // Four standard errors: std / sqrt(N) for a mean, sqrt(2 / N) of a variance.
    let root = (points.dims()[0] as f64).sqrt();
    let variance = [0.25, 4.0].map(|v| v + sigma * sigma);
    for i in [0, 1] {
        let expected = [1.0, -2.0][i];
        assert!((mean[i] - expected).abs() < 4.0 * variance[i].sqrt() / root, "mean {mean:?}");
        let ratio = covariance[i][i] / variance[i];
        assert!((ratio - 1.0).abs() < 4.0 * 2f64.sqrt() / root, "covariance {covariance:?}");
    }
    let correlation = covariance[0][1] / (variance[0] * variance[1]).sqrt();
    assert!(correlation.abs() < 4.0 / root, "covariance {covariance:?}");
}

/// The largest difference between two tensors.
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
    f64::from(difference.to_scalar::<f32>().unwrap())
}
