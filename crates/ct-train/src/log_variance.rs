//! Learned weights of the noise levels.
//!
//! ```text
//! loss = mean over samples of  w d exp(-u(sigma)) + u(sigma)
//! ```
//!
//! At its minimum exp(u) is the expected w d at that noise level, so that all levels pull alike
//! (Karras et al. 2024, section 2.1 and appendix B.1; the adaptive weighting of Lu & Song 2024 with w = -u).
//! u is linear in fixed random cosines of ln sigma, and begins at 0; it is trained beside the network and left out of models.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{AdamWStep, adamw_step};
use ct_random::{Purpose, Stream, hash_name};

use crate::Result;

const NUM_FEATURES: usize = 64;
/// Adam's step. The features have a norm of 1, so that this is about how far u moves.
const LR: f64 = 1e-2;
const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

/// u(sigma), its optimizer, and nothing of the network.
#[derive(Debug)]
pub struct LogVariance {
    /// Frequency and phase of each cosine.
    waves: Vec<(f64, f64)>,
    weights: Tensor,
    mean: Tensor,
    mean_square: Tensor,
}

impl LogVariance {
    /// u = 0, with waves that follow from the seed.
    ///
    /// # Errors
    /// None on the CPU.
    pub fn new(seed: u64) -> Result<Self> {
        let key = hash_name("log_variance");
        let mut stream = Stream::new(seed, Purpose::Init, key >> 32, key & 0xffff_ffff);
        let waves = (0..NUM_FEATURES).map(|_| (stream.normal(), std::f64::consts::TAU * stream.uniform()));
        let zeros = || Tensor::zeros(NUM_FEATURES, DType::F32, &Device::Cpu);
        Ok(Self { waves: waves.collect(), weights: zeros()?, mean: zeros()?, mean_square: zeros()? })
    }

    /// u of each noise level.
    ///
    /// # Errors
    /// None on the CPU.
    pub fn at(&self, sigma: &[f64]) -> Result<Vec<f64>> {
        let weights: Vec<f32> = self.weights.to_vec1()?;
        let u = |&sigma: &f64| {
            self.features(sigma).zip(&weights).map(|(wave, &weight)| wave * f64::from(weight)).sum()
        };
        Ok(sigma.iter().map(u).collect())
    }

    /// The gradient of the loss by the weights of u, given w d of each sample as its share of the batch's mean,
    /// and that share.
    ///
    /// # Errors
    /// None on the CPU.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    pub fn gradient(&self, sigma: &[f64], losses: &[f64], share: f64) -> Result<Tensor> {
        let mut gradient = vec![0.0; NUM_FEATURES];
        for ((&sigma, loss), u) in sigma.iter().zip(losses).zip(self.at(sigma)?) {
            let slope = share - loss * (-u).exp();
            for (sum, wave) in gradient.iter_mut().zip(self.features(sigma)) {
                *sum += slope * wave;
            }
        }
        let gradient: Vec<f32> = gradient.into_iter().map(|value| value as f32).collect();
        Ok(Tensor::new(gradient, &Device::Cpu)?)
    }

    /// Moves u along `gradient`. `step` counts from 1.
    ///
    /// # Errors
    /// None on the CPU.
    pub fn step(&self, gradient: &Tensor, step: u64) -> Result<()> {
        let (beta1, beta2) = BETAS;
        let rule = AdamWStep { lr: LR, beta1, beta2, eps: EPS, weight_decay: 0.0, step };
        Ok(adamw_step(&self.weights, &self.mean, &self.mean_square, gradient, &rule)?)
    }

    /// Names and tensors of the state.
    pub(crate) fn state(&self) -> [(&'static str, &Tensor); 3] {
        [("weights", &self.weights), ("mean", &self.mean), ("mean_square", &self.mean_square)]
    }

    /// Takes the place of another run's state, given the tensors in the order of [`state`](Self::state).
    pub(crate) fn set_state(&mut self, [weights, mean, mean_square]: [Tensor; 3]) {
        (self.weights, self.mean, self.mean_square) = (weights, mean, mean_square);
    }

    fn features(&self, sigma: f64) -> impl Iterator<Item = f64> {
        let (at, scale) = (sigma.ln(), (2.0 / NUM_FEATURES as f64).sqrt());
        self.waves.iter().map(move |(frequency, phase)| scale * (frequency * at + phase).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss whose size depends on the noise level.
    fn size_at(sigma: f64) -> f64 {
        3.0 * sigma / (1.0 + sigma)
    }

    #[test]
    fn it_learns_the_logarithm_of_the_expected_loss() {
        let mut learned = LogVariance::new(1).unwrap();
        let mut stream = Stream::new(5, Purpose::Eval, 0, 0);
        for step in 1..=2000 {
            let sigma: Vec<f64> = (0..64).map(|_| (stream.normal() - 0.5).exp()).collect();
            let losses: Vec<f64> =
                sigma.iter().map(|&sigma| size_at(sigma) * stream.normal().powi(2) / 64.0).collect();
            let gradient = learned.gradient(&sigma, &losses, 1.0 / 64.0).unwrap();
            learned.step(&gradient, step).unwrap();
        }
        for sigma in [0.2, 0.5, 1.0, 2.0] {
            let (got, expected) = (learned.at(&[sigma]).unwrap()[0], size_at(sigma).ln());
            // Adam with a constant step keeps wandering by a few percent.
            assert!((got - expected).abs() < 0.25, "at {sigma}: {got} for {expected}");
        }
        let state = learned.state().map(|(_, tensor)| tensor.clone());
        let before = learned.at(&[0.7]).unwrap();
        let mut other = LogVariance::new(1).unwrap();
        other.set_state(state);
        assert_eq!(other.at(&[0.7]).unwrap()[0].to_bits(), before[0].to_bits());
        learned.set_state(LogVariance::new(1).unwrap().state().map(|(_, tensor)| tensor.clone()));
        assert_eq!(learned.at(&[0.7]).unwrap()[0].to_bits(), 0f64.to_bits());
    }
}
