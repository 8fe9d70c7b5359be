//! Samples of Gaussians with chosen moments.

use ct_eval::Samples;
use ct_random::{Purpose, Stream};

/// `num` samples of N(mean, diag(std^2)), from a stream of its own.
pub(crate) fn gaussian(mean: &[f64], std: &[f64], num: usize, stream: u64) -> Samples {
    let mut normals = Stream::new(11, Purpose::Data, 0, stream);
    let mut values = Vec::with_capacity(num * mean.len());
    for _ in 0..num {
        for (m, s) in mean.iter().zip(std) {
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            values.push((m + s * normals.normal()) as f32);
        }
    }
    Samples::new(values, mean.len()).unwrap()
}
