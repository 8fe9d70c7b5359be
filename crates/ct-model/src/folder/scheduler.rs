//! The scheduler of a model folder: which models the folder holds, and their noise levels.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Card;
use super::diffusion::{self, Diffusion};
use crate::{Error, NetworkConfig, NoiseRange, Parameterization, Result};

/// Schedulers by what they stand for; diffusers has the first and the last.
const SCHEDULERS: [(Parameterization, &str); 3] = [
    (Parameterization::Consistency, "CMStochasticIterativeScheduler"),
    (Parameterization::Edm, "CtEdmScheduler"),
    (Parameterization::Trigflow, "SCMScheduler"),
];

/// Schedulers whose models this program cannot sample, and why.
const OTHERS: [(&[&str], &str); 3] = [
    (
        &["KarrasVeScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler"],
        "its network predicts a score, not the clean image",
    ),
    (
        &["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"],
        "its network predicts a flow between noise and image, which is not translated",
    ),
    (
        &["LCMScheduler", "TCDScheduler"],
        "its network is a consistency model with coefficients of its own, which are not translated",
    ),
];

/// What a model folder says of how its network is used.
#[derive(Debug)]
pub(super) enum Scheduler {
    /// The network is used as it is.
    Own(SchedulerConfig),
    /// The network is of another process.
    Diffusion(Diffusion),
}

impl Scheduler {
    /// The name comes first: other schedulers have the same keys with other meanings.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let json = super::python_json::read(path)?;
        if let Some(name) = json.get("_class_name").and_then(Json::as_str) {
            if let Some(diffusion) = Diffusion::read(name, &json, path)? {
                return Ok(Self::Diffusion(diffusion));
            }
            parameterization(name, path)?;
        }
        Ok(Self::Own(super::from_json(path, Json::Object(json))?))
    }

    pub(super) fn range(&self) -> NoiseRange {
        match self {
            Self::Own(config) => config.range(),
            Self::Diffusion(diffusion) => diffusion.range,
        }
    }

    pub(super) fn parameterization(&self, path: &Path) -> Result<Parameterization> {
        match self {
            Self::Own(config) => parameterization(&config.class_name, path),
            Self::Diffusion(_) => Ok(Parameterization::Edm),
        }
    }

    /// What the scheduler adds to what the folder says of its model.
    pub(super) fn complete(&self, card: Card) -> Card {
        match self {
            Self::Own(config) => {
                let &SchedulerConfig { clip_denoised, num_train_timesteps, .. } = config;
                Card { clip_denoised, num_train_timesteps, ..card }
            }
            Self::Diffusion(diffusion) => {
                let recipe = card.recipe.or_else(|| Some(super::DENOISER.to_owned()));
                Card { recipe, clip_denoised: diffusion.clip_denoised, ..card }
            }
        }
    }

    /// The network as it is used.
    pub(super) fn adapt(self, network: NetworkConfig, path: &Path) -> Result<NetworkConfig> {
        match self {
            Self::Own(_) => Ok(network),
            Self::Diffusion(diffusion) => diffusion.adapt(network, path),
        }
    }
}

/// The scheduler's configuration, as diffusers writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub(super) class_name: String,
    clip_denoised: bool,
    num_train_timesteps: usize,
    rho: f64,
    s_noise: f64,
    sigma_data: f64,
    sigma_max: f64,
    sigma_min: f64,
}

impl SchedulerConfig {
    pub(super) fn new(range: NoiseRange, parameterization: Parameterization, card: &Card) -> Self {
        Self {
            class_name: class_name(parameterization).to_owned(),
            clip_denoised: card.clip_denoised,
            num_train_timesteps: card.num_train_timesteps,
            rho: range.rho,
            s_noise: 1.0,
            sigma_data: range.sigma_data,
            sigma_max: range.sigma_max,
            sigma_min: range.sigma_min,
        }
    }

    fn range(&self) -> NoiseRange {
        let &Self { sigma_min, sigma_max, sigma_data, rho, .. } = self;
        NoiseRange { sigma_min, sigma_max, sigma_data, rho }
    }
}

/// What a scheduler of this name stands for.
fn parameterization(name: &str, path: &Path) -> Result<Parameterization> {
    if let Some(&(known, _)) = SCHEDULERS.iter().find(|(_, known)| *known == name) {
        return Ok(known);
    }
    let why = OTHERS.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| format!(": {why}"));
    let names: Vec<&str> = SCHEDULERS.map(|(_, name)| name).into_iter().chain(diffusion::names()).collect();
    let (why, names) = (why.unwrap_or_default(), names.join(", "));
    let reason = format!("the scheduler is {name}{why}; this program samples models of {names}");
    Err(Error::Format { path: path.to_path_buf(), reason })
}

impl Default for SchedulerConfig {
    /// The defaults of diffusers, for keys that a file leaves out.
    fn default() -> Self {
        Self::new(NoiseRange::default(), Parameterization::Consistency, &Card::default())
    }
}

fn class_name(parameterization: Parameterization) -> &'static str {
    SCHEDULERS.iter().find(|(known, _)| *known == parameterization).map_or(SCHEDULERS[0].1, |(_, name)| name)
}
