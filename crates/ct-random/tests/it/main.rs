//! Statistics of the streams. Seeds are fixed, so these tests cannot fail by chance from run to run.

use ct_random::{Purpose, Stream};

const N: usize = 200_000;
/// Standard errors that a statistic may be away from its expectation.
const SIGMAS: f64 = 4.0;

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    values.sum::<f64>() / N as f64
}

/// Asserts that the mean of `N` draws with this standard deviation is where it should be.
fn assert_mean(what: &str, got: f64, expected: f64, standard_deviation: f64) {
    let tolerance = SIGMAS * standard_deviation / (N as f64).sqrt();
    assert!((got - expected).abs() < tolerance, "{what}: got {got}, expected {expected} within {tolerance}");
}

#[test]
fn moments_of_uniforms() {
    let mut s = Stream::new(0, Purpose::Eval, 0, 0);
    let u: Vec<f64> = (0..N).map(|_| s.uniform()).collect();
    assert_mean("mean", mean(u.iter().copied()), 0.5, (1.0_f64 / 12.0).sqrt());
    assert_mean("variance", mean(u.iter().map(|u| (u - 0.5).powi(2))), 1.0 / 12.0, (1.0_f64 / 180.0).sqrt());
}

#[test]
fn moments_of_normals() {
    let mut s = Stream::new(0, Purpose::Eval, 1, 0);
    let z: Vec<f64> = (0..N).map(|_| s.normal()).collect();
    // The variances of z, z^2, z^3, z^4 are 1, 2, 15, 96.
    for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0_f64)] {
        assert_mean("moment", mean(z.iter().map(|z| z.powi(power))), expected, variance.sqrt());
    }
    let neighbours = mean(z.windows(2).map(|w| w[0] * w[1]));
    assert_mean("correlation of neighbours", neighbours, 0.0, 1.0);
}

#[test]
fn normals_follow_the_normal_distribution() {
    // Kolmogorov-Smirnov: the distance exceeds 1.95 / sqrt(n) with probability 0.001.
    let tolerance = 1.95 / (N as f64).sqrt();
    let mut s = Stream::new(0, Purpose::Eval, 2, 0);
    let mut z: Vec<f64> = (0..N).map(|_| s.normal()).collect();
    z.sort_unstable_by(f64::total_cmp);
    let distance = z
        .iter()
        .enumerate()
        .map(|(i, z)| (0.5 * libm::erfc(-z / 2.0_f64.sqrt()) - i as f64 / N as f64).abs())
        .fold(0.0, f64::max);
    assert!(distance < tolerance, "distance {distance}, tolerance {tolerance}");
}

#[test]
fn streams_with_neighbouring_names_are_uncorrelated() {
    let name = (9, Purpose::Noise, 100, 7);
    let (seed, purpose, step, index) = name;
    let neighbours = [
        (seed + 1, purpose, step, index),
        (seed, Purpose::Sigma, step, index),
        (seed, purpose, step + 1, index),
        (seed, purpose, step, index + 1),
    ];
    for (seed_b, purpose_b, step_b, index_b) in neighbours {
        let mut a = Stream::new(seed, purpose, step, index);
        let mut b = Stream::new(seed_b, purpose_b, step_b, index_b);
        assert_mean("correlation", mean((0..N).map(|_| a.normal() * b.normal())), 0.0, 1.0);
    }
}

#[test]
fn below_is_uniform() {
    const SIDES: u32 = 6;
    let mut s = Stream::new(0, Purpose::Eval, 3, 0);
    let mut counts = [0.0; SIDES as usize];
    for _ in 0..N {
        counts[s.below(SIDES) as usize] += 1.0;
    }
    let p = 1.0 / f64::from(SIDES);
    for count in counts {
        assert_mean("frequency", count / N as f64, p, (p * (1.0 - p)).sqrt());
    }
}
