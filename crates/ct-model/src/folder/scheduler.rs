//! The scheduler of a model folder: which models the folder holds, and their noise levels.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseRange, Parameterization, Result};

/// Schedulers by what they stand for; diffusers has the first and the last.
const SCHEDULERS: [(Parameterization, &str); 3] = [
    (Parameterization::Consistency, "CMStochasticIterativeScheduler"),
    (Parameterization::Edm, "CtEdmScheduler"),
    (Parameterization::Trigflow, "SCMScheduler"),
];

/// Schedulers whose models this program cannot sample as they are, and why.
const OTHERS: [(&[&str], &str); 4] = [
    (
        &["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"],
        "its network is told ln(sigma) / 4, and the denoisers of this program are told 250 ln(sigma)",
    ),
    (
        &[
            "DDPMScheduler",
            "DDIMScheduler",
            "DDIMInverseScheduler",
            "PNDMScheduler",
            "DDPMParallelScheduler",
            "DDIMParallelScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "UniPCMultistepScheduler",
            "DEISMultistepScheduler",
        ],
        "its network predicts noise (or v) at the steps of a variance-preserving process, not the clean image at a noise level",
    ),
    (
        &["KarrasVeScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler"],
        "its network predicts a score, not the clean image",
    ),
    (
        &[
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "HeunDiscreteScheduler",
            "LMSDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "FlowMatchEulerDiscreteScheduler",
            "LCMScheduler",
            "TCDScheduler",
        ],
        "what its network predicts depends on settings that this program does not translate",
    ),
];

/// The scheduler's configuration, as diffusers writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub(super) class_name: String,
    pub(super) clip_denoised: bool,
    num_train_timesteps: usize,
    rho: f64,
    s_noise: f64,
    sigma_data: f64,
    sigma_max: f64,
    sigma_min: f64,
}

impl SchedulerConfig {
    pub(super) fn new(range: NoiseRange, parameterization: Parameterization) -> Self {
        Self {
            class_name: class_name(parameterization).to_owned(),
            clip_denoised: true,
            num_train_timesteps: 40,
            rho: range.rho,
            s_noise: 1.0,
            sigma_data: range.sigma_data,
            sigma_max: range.sigma_max,
            sigma_min: range.sigma_min,
        }
    }

    pub(super) fn range(&self) -> NoiseRange {
        let &Self { sigma_min, sigma_max, sigma_data, rho, .. } = self;
        NoiseRange { sigma_min, sigma_max, sigma_data, rho }
    }

    pub(super) fn parameterization(&self, path: &Path) -> Result<Parameterization> {
        parameterization(&self.class_name, path)
    }
}

/// What a scheduler of this name stands for.
pub(super) fn parameterization(name: &str, path: &Path) -> Result<Parameterization> {
    if let Some(&(known, _)) = SCHEDULERS.iter().find(|(_, known)| *known == name) {
        return Ok(known);
    }
    let why = OTHERS.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| format!(": {why}"));
    let names = SCHEDULERS.map(|(_, name)| name).join(", ");
    let why = why.unwrap_or_default();
    let reason = format!("the scheduler is {name}{why}; this program samples models of {names}");
    Err(Error::Format { path: path.to_path_buf(), reason })
}

impl Default for SchedulerConfig {
    /// The defaults of diffusers, for keys that a file leaves out.
    fn default() -> Self {
        Self::new(NoiseRange::default(), Parameterization::Consistency)
    }
}

fn class_name(parameterization: Parameterization) -> &'static str {
    SCHEDULERS.iter().find(|(known, _)| *known == parameterization).map_or(SCHEDULERS[0].1, |(_, name)| name)
}
