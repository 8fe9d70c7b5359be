//! The recipes of the family, and the settings of each.

use ct_model::Parameterization;
use ct_schedule::Weighting;
use serde::{Deserialize, Serialize};

use crate::LossKind;

/// How a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// A denoiser (Karras et al. 2022): a teacher, a start for the others, and a reference to sample with many steps.
    Diffusion,
    /// Consistency training with an EMA teacher and adaptive schedules (Song et al. 2023).
    Ct,
    /// Improved consistency training (Song & Dhariwal 2023).
    Ict,
    /// Easy consistency tuning: continuous noise levels, a step that shrinks (Geng et al. 2024).
    #[default]
    Ect,
    /// Consistency distillation of a denoiser (Song et al. 2023).
    Cd,
    /// Continuous-time consistency training (Lu & Song 2024).
    Sct,
    /// Continuous-time consistency distillation of a `TrigFlow` denoiser (Lu & Song 2024).
    Scd,
    /// The second stage of truncated consistency models, over a consistency model (Lee et al. 2024).
    Tcm,
}

impl Recipe {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Diffusion, Self::Ct, Self::Ict, Self::Ect, Self::Cd, Self::Sct, Self::Scd, Self::Tcm];

    /// The name, as settings give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diffusion => "diffusion",
            Self::Ct => "ct",
            Self::Ict => "ict",
            Self::Ect => "ect",
            Self::Cd => "cd",
            Self::Sct => "sct",
            Self::Scd => "scd",
            Self::Tcm => "tcm",
        }
    }

    /// The section of the settings that are its own.
    pub fn section(self) -> &'static str {
        match self {
            Self::Sct | Self::Scd => "scm",
            other => other.name(),
        }
    }

    /// How its network's output becomes an estimate, where nobody says otherwise.
    pub fn parameterization(self) -> Parameterization {
        match self {
            Self::Diffusion => Parameterization::Edm,
            Self::Sct | Self::Scd => Parameterization::Trigflow,
            Self::Ct | Self::Ict | Self::Ect | Self::Cd | Self::Tcm => Parameterization::Consistency,
        }
    }

    /// Whether it can train a model of this parameterization.
    pub fn takes(self, parameterization: Parameterization) -> bool {
        self == Self::Diffusion || parameterization == self.parameterization()
    }

    /// Whether it learns from a model that is there already.
    pub fn needs_teacher(self) -> bool {
        matches!(self, Self::Cd | Self::Scd | Self::Tcm)
    }

    /// Whether what it makes is a denoiser, which takes many steps to sample.
    pub fn makes_denoiser(self) -> bool {
        self == Self::Diffusion
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of a denoiser (Karras et al. 2022, table 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Mean of ln(sigma).
    pub p_mean: f64,
    /// Standard deviation of ln(sigma).
    pub p_std: f64,
    /// Weight of the squared error.
    pub weighting: Weighting,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        Self { p_mean: -1.2, p_std: 1.2, weighting: Weighting::Karras }
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
    /// How the difference is measured while only a denoiser is trained; as in the stages if absent.
    pub pretrain_loss: Option<LossKind>,
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
            pretrain_loss: None,
            pretrain_weighting: Weighting::InverseDelta,
            weighting: Weighting::InverseDelta,
        }
    }
}

/// How the teacher of a distillation is followed from one noise level to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Of order 1: one evaluation.
    Euler,
    /// Of order 2: two evaluations.
    #[default]
    Heun,
    /// The teacher's own solution, where it has one in closed form.
    Exact,
}

/// Settings of consistency distillation (Song et al. 2023, algorithm 2 and table 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdConfig {
    /// Noise levels.
    pub num_sigmas: usize,
    /// How the teacher is followed.
    pub solver: Solver,
    /// Decay of the average that gives the target; 0 for the student itself.
    pub mu: f64,
    /// Weight of the difference.
    pub weighting: Weighting,
    /// Mean of ln(sigma) of the drawn levels; all levels alike if absent.
    pub p_mean: Option<f64>,
    /// Standard deviation of ln(sigma) of the drawn levels, where they have a mean.
    pub p_std: f64,
    /// How far the teacher is led away from its unconditional estimate; 1 is not at all.
    pub guidance: f64,
}

impl Default for CdConfig {
    fn default() -> Self {
        Self {
            num_sigmas: 18,
            solver: Solver::Heun,
            mu: 0.0,
            weighting: Weighting::Uniform,
            p_mean: None,
            p_std: 2.0,
            guidance: 1.0,
        }
    }
}

/// How the tangent of a continuous-time consistency model is brought to size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TangentNorm {
    /// g / (|g| + c) with the Euclidean norm, as in the paper.
    #[default]
    L2,
    /// g / (rms(g) + c): the root of the mean square in the place of the norm, sqrt(D) times as long a step.
    Rms,
    /// Each value is clipped to [-1, 1].
    Clip,
}

/// Settings of continuous-time consistency models (Lu & Song 2024, section 4 and appendix).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScmConfig {
    /// Mean of ln(sigma).
    pub p_mean: f64,
    /// Standard deviation of ln(sigma).
    pub p_std: f64,
    /// Share of the run that trains a denoiser only; sCD has none.
    pub pretrain: f64,
    /// Steps over which the part of the tangent that passes through the network is let in.
    pub tangent_warmup_steps: u64,
    /// How the tangent is brought to size.
    pub tangent_norm: TangentNorm,
    /// The constant c of the normalization.
    pub tangent_c: f64,
    /// How far the teacher of sCD is led away from its unconditional estimate; 1 is not at all.
    pub guidance: f64,
}

impl Default for ScmConfig {
    fn default() -> Self {
        Self {
            p_mean: -1.0,
            p_std: 1.4,
            pretrain: 0.0,
            tangent_warmup_steps: 10_000,
            tangent_norm: TangentNorm::L2,
            tangent_c: 0.1,
            guidance: 1.0,
        }
    }
}

/// Settings of the second stage of truncated consistency models (Lee et al. 2024, section 4).
/// The mapping between the two noise levels is the last stage of `ect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcmConfig {
    /// The noise level below which the first stage keeps its word.
    pub sigma_boundary: f64,
    /// Share of a batch that lies at the boundary.
    pub boundary_share: f64,
    /// Weight of those samples.
    pub boundary_weight: f64,
    /// Degrees of freedom of the Student t distribution of ln(sigma).
    pub df: f64,
    /// Location of ln(sigma).
    pub p_mean: f64,
    /// Scale of ln(sigma).
    pub p_std: f64,
}

impl Default for TcmConfig {
    fn default() -> Self {
        Self {
            sigma_boundary: 1.0,
            boundary_share: 0.25,
            boundary_weight: 0.1,
            df: 0.01,
            p_mean: 0.0,
            p_std: 0.2,
        }
    }
}
