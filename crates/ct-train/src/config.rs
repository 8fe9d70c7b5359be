//! Everything that decides what a run computes, apart from the network and the data.

use ct_model::Activations;
use ct_schedule::Weighting;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Consistency training with an EMA teacher and adaptive schedules (Song et al. 2023).
    Ct,
    /// Improved consistency training (Song & Dhariwal 2023).
    Ict,
    /// Easy consistency tuning: continuous noise levels, a step that shrinks (Geng et al. 2024).
    #[default]
    Ect,
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ct => "ct",
            Self::Ict => "ict",
            Self::Ect => "ect",
        })
    }
}

/// How the difference between two predictions is measured, over a whole sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Sum of squares.
    L2,
    /// Sum of absolute values.
    L1,
    /// sqrt(sum of squares + c^2) - c.
    #[default]
    PseudoHuber,
}

/// Which optimizer moves the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Rectified Adam (Liu et al. 2020).
    #[default]
    Radam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
}

/// How the learning rate changes after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// It stays.
    Constant,
    /// It falls to zero along half a cosine.
    #[default]
    Cosine,
    /// It falls with the square root of the step, counted in warm-ups.
    InverseSqrt,
}

/// Everything that decides what a run computes, apart from the network and the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// How the model is trained.
    pub recipe: Recipe,
    /// Optimizer steps of the whole run: the end, and what every schedule is stretched over.
    pub steps: u64,
    /// Images in one optimizer step.
    pub batch_size: usize,
    /// Images that are in memory at once; the gradients of several such parts are added up. The whole batch if absent.
    pub micro_batch_size: Option<usize>,
    /// Whether the backward pass computes the activations inside the network's layers again, in place of keeping them:
    /// less memory, more time, the same results bit for bit. It may change when a run is resumed.
    pub checkpoint_activations: bool,
    /// How the difference between two predictions is measured.
    pub loss: LossKind,
    /// The constant c of the pseudo-Huber loss; 0.00054 sqrt(D) if absent.
    pub huber_c: Option<f64>,
    /// Which optimizer moves the weights.
    pub optimizer: OptimizerKind,
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// How the learning rate changes after its warm-up.
    pub lr_schedule: LrSchedule,
    /// Steps in which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Gradients with a larger norm are scaled down to this one. No limit if absent.
    pub max_grad_norm: Option<f64>,
    /// Decay of each average of the weights that is kept; the first is the one that is sampled and shown.
    pub ema: Vec<f64>,
    /// Whether averages follow the weights closely in the first steps: decay min(beta, (1 + k) / (10 + k)).
    pub ema_warmup: bool,
    /// Averages with a power-function profile, each given by its relative width (Karras et al. 2024).
    pub ema_power: Vec<f64>,
    /// Steps between two snapshots of these, from which `ct ema` makes averages of other widths. No snapshots if absent.
    pub snapshot_steps: Option<u64>,
    /// Settings of consistency training.
    pub ct: CtConfig,
    /// Settings of improved consistency training.
    pub ict: IctConfig,
    /// Settings of easy consistency tuning.
    pub ect: EctConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            recipe: Recipe::default(),
            steps: 10_000,
            batch_size: 128,
            micro_batch_size: None,
            checkpoint_activations: false,
            loss: LossKind::default(),
            huber_c: None,
            optimizer: OptimizerKind::default(),
            lr: 1e-3,
            lr_schedule: LrSchedule::default(),
            warmup_steps: 100,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: None,
            ema: vec![0.999],
            ema_warmup: true,
            ema_power: Vec::new(),
            snapshot_steps: None,
            ct: CtConfig::default(),
            ict: IctConfig::default(),
            ect: EctConfig::default(),
        }
    }
}

/// Settings of consistency training (Song et al. 2023, table 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CtConfig {
    /// Noise levels at the start.
    pub s0: usize,
    /// Noise levels at the end, less one.
    pub s1: usize,
    /// Decay of the teacher at the start.
    pub mu0: f64,
    /// Whether the teacher's decay follows the reference code, which divides by N - 1 in place of N.
    pub openai_compat: bool,
}

impl Default for CtConfig {
    fn default() -> Self {
        Self { s0: 2, s1: 150, mu0: 0.9, openai_compat: false }
    }
}

/// Settings of improved consistency training (Song & Dhariwal 2023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IctConfig {
    /// Steps between noise levels at the start.
    pub s0: usize,
    /// Steps between noise levels at the end; `s0` times a power of two is sensible.
    pub s1: usize,
    /// Mean of ln(sigma).
    pub p_mean: f64,
    /// Standard deviation of ln(sigma).
    pub p_std: f64,
}

impl Default for IctConfig {
    fn default() -> Self {
        Self { s0: 10, s1: 1280, p_mean: -1.1, p_std: 2.0 }
    }
}

/// Settings of easy consistency tuning (Geng et al. 2024), from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EctConfig {
    /// Mean of ln(sigma).
    pub p_mean: f64,
    /// Standard deviation of ln(sigma).
    pub p_std: f64,
    /// Share of the run that trains a denoiser only, as a diffusion model is.
    pub pretrain: f64,
    /// The step between the two noise levels shrinks by this factor with each stage.
    pub q: f64,
    /// Number of stages after the denoiser, of equal length.
    pub stages: u32,
    /// Height of the sigmoid in the mapping from the larger to the smaller noise level.
    pub k: f64,
    /// Steepness of that sigmoid.
    pub b: f64,
    /// Weight of the difference while only a denoiser is trained.
    pub pretrain_weighting: Weighting,
    /// Weight of the difference in the stages.
    pub weighting: Weighting,
}

impl Default for EctConfig {
    fn default() -> Self {
        Self {
            p_mean: -1.1,
            p_std: 2.0,
            pretrain: 0.0,
            q: 2.0,
            stages: 8,
            k: 8.0,
            b: 1.0,
            pretrain_weighting: Weighting::InverseDelta,
            weighting: Weighting::InverseDelta,
        }
    }
}

impl TrainConfig {
    /// What becomes of the student's activations.
    pub(crate) fn activations(&self) -> Activations {
        if self.checkpoint_activations { Activations::Recomputed } else { Activations::Kept }
    }

    /// Checks what can be checked before the first step; the schedules check their own arguments when they are built.
    ///
    /// # Errors
    /// The first key that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let check = |holds: bool, key: &'static str, value: String, range: &'static str| {
            if holds { Ok(()) } else { Err(Error::Config { key, value, range }) }
        };
        check(self.steps > 0, "train.steps", self.steps.to_string(), "at least 1")?;
        check(self.batch_size > 0, "train.batch_size", self.batch_size.to_string(), "at least 1")?;
        if let Some(size) = self.micro_batch_size {
            let fits = size > 0 && self.batch_size.is_multiple_of(size);
            check(fits, "train.micro_batch_size", size.to_string(), "a divisor of train.batch_size")?;
        }
        if let Some(c) = self.huber_c {
            check(c >= 0.0 && c.is_finite(), "train.huber_c", c.to_string(), "finite, at least 0")?;
        }
        if let Some(norm) = self.max_grad_norm {
            check(norm > 0.0, "train.max_grad_norm", norm.to_string(), "above 0")?;
        }
        check(self.lr > 0.0 && self.lr.is_finite(), "train.lr", self.lr.to_string(), "finite, above 0")?;
        check((0.0..1.0).contains(&self.beta1), "train.beta1", self.beta1.to_string(), "in [0, 1)")?;
        check((0.0..1.0).contains(&self.beta2), "train.beta2", self.beta2.to_string(), "in [0, 1)")?;
        check(self.eps > 0.0 && self.eps.is_finite(), "train.eps", self.eps.to_string(), "finite, above 0")?;
        let decay = self.weight_decay;
        check(
            decay >= 0.0 && decay.is_finite(),
            "train.weight_decay",
            decay.to_string(),
            "finite, at least 0",
        )?;
        for &beta in &self.ema {
            check((0.0..1.0).contains(&beta), "train.ema", beta.to_string(), "in [0, 1)")?;
        }
        let pretrain = self.ect.pretrain;
        check((0.0..=1.0).contains(&pretrain), "train.ect.pretrain", pretrain.to_string(), "in [0, 1]")?;
        if let Some(steps) = self.snapshot_steps {
            let fits = steps > 0 && !self.ema_power.is_empty();
            let range = "at least 1, with at least one width in train.ema_power";
            check(fits, "train.snapshot_steps", steps.to_string(), range)?;
        }
        let averages = self.ema.len() + self.ema_power.len();
        check(averages > 0, "train.ema", "[]".to_owned(), "at least one average, here or in train.ema_power")
    }
}
