//! Everything that decides what a run computes, apart from the network and the data.

use std::path::PathBuf;

use ct_data::AugmentConfig;
use ct_model::{Activations, Precision};
use serde::{Deserialize, Serialize};

use crate::loss::no_lpips;
use crate::recipe::{
    CdConfig, CtConfig, DiffusionConfig, EctConfig, IctConfig, Recipe, ScmConfig, TcmConfig,
};
use crate::{Error, Result};

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
    /// By the features of a network that sees as people do (Zhang et al. 2018); for images.
    Lpips,
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
    /// What the layers of the network compute in; everything around them, and the weights, stay f32.
    /// It may change when a run is resumed.
    pub precision: Precision,
    /// How the difference between two predictions is measured; denoisers and sCM have squares, whatever is set here.
    pub loss: LossKind,
    /// The constant c of the pseudo-Huber loss; 0.00054 sqrt(D) if absent.
    pub huber_c: Option<f64>,
    /// The weights of the network behind the loss `lpips`: a safetensors file, `AlexNet` or VGG16.
    pub lpips_weights: Option<PathBuf>,
    /// Weight of a penalty on values out of [-1, 1], which nothing else holds back under the loss `lpips`.
    pub overflow_penalty: f64,
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
    /// Whether the weight of a noise level is learned: the loss of each is divided by its own expected size
    /// (Karras et al. 2024, section 2.1 and appendix B.1; the adaptive weighting of Lu & Song 2024).
    pub learned_weighting: bool,
    /// Probability that the label of a sample is hidden, so that samples can be guided; for models with classes.
    pub label_dropout: f64,
    /// How often images are augmented; the network is told how.
    pub augment: AugmentConfig,
    /// Settings of the denoiser.
    pub diffusion: DiffusionConfig,
    /// Settings of consistency training.
    pub ct: CtConfig,
    /// Settings of improved consistency training.
    pub ict: IctConfig,
    /// Settings of easy consistency tuning.
    pub ect: EctConfig,
    /// Settings of consistency distillation.
    pub cd: CdConfig,
    /// Settings of continuous-time consistency models, sCT and sCD.
    pub scm: ScmConfig,
    /// Settings of the second stage of truncated consistency models.
    pub tcm: TcmConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            recipe: Recipe::default(),
            steps: 10_000,
            batch_size: 128,
            micro_batch_size: None,
            checkpoint_activations: false,
            precision: Precision::default(),
            loss: LossKind::default(),
            huber_c: None,
            lpips_weights: None,
            overflow_penalty: 0.0,
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
            learned_weighting: false,
            label_dropout: 0.0,
            augment: AugmentConfig::default(),
            diffusion: DiffusionConfig::default(),
            ct: CtConfig::default(),
            ict: IctConfig::default(),
            ect: EctConfig::default(),
            cd: CdConfig::default(),
            scm: ScmConfig::default(),
            tcm: TcmConfig::default(),
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
        let losses = [Some(self.loss), self.ect.pretrain_loss];
        if losses.contains(&Some(LossKind::Lpips)) && self.lpips_weights.is_none() {
            return Err(no_lpips());
        }
        let dropout = self.label_dropout;
        check((0.0..1.0).contains(&dropout), "train.label_dropout", dropout.to_string(), "in [0, 1)")?;
        for (key, share) in [
            ("train.ect.pretrain", self.ect.pretrain),
            ("train.scm.pretrain", self.scm.pretrain),
            ("train.tcm.boundary_share", self.tcm.boundary_share),
            ("train.cd.mu", self.cd.mu),
        ] {
            check((0.0..=1.0).contains(&share), key, share.to_string(), "in [0, 1]")?;
        }
        for (key, value) in [
            ("train.overflow_penalty", self.overflow_penalty),
            ("train.scm.tangent_c", self.scm.tangent_c),
            ("train.tcm.boundary_weight", self.tcm.boundary_weight),
            ("train.cd.guidance", self.cd.guidance),
            ("train.scm.guidance", self.scm.guidance),
        ] {
            check(value >= 0.0 && value.is_finite(), key, value.to_string(), "finite, at least 0")?;
        }
        if let Some(steps) = self.snapshot_steps {
            let fits = steps > 0 && !self.ema_power.is_empty();
            let range = "at least 1, with at least one width in train.ema_power";
            check(fits, "train.snapshot_steps", steps.to_string(), range)?;
        }
        let averages = self.ema.len() + self.ema_power.len();
        check(averages > 0, "train.ema", "[]".to_owned(), "at least one average, here or in train.ema_power")
    }
}
