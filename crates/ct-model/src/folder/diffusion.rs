//! The schedulers of diffusers whose networks are translated: what their settings say of the network and its noise levels.
//!
//! How a scheduler steps is no property of the network, so the settings of that are passed over.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::{
    BetaSchedule, Error, NetworkConfig, NoiseRange, NoiseSteps, Prediction, Result, Translation,
    adapter::noise_range,
};

/// A Karras grid of this exponent is an exponential one: ln(sigma) is evenly spaced to one part in a million.
const EXPONENTIAL_RHO: f64 = 1e7;

/// Schedulers of Karras et al. 2022, whose networks are told ln(sigma) / 4.
const EDM: [&str; 2] = ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"];

/// Schedulers of a variance-preserving process: the first and the last variance that diffusers gives them where a file
/// does not, and whether they clip estimates where it does not say (`None`: they never do).
const VARIANCE_PRESERVING: [(&str, [f64; 2], Option<bool>); 18] = [
    ("DDPMScheduler", USUAL, Some(true)),
    ("DDPMParallelScheduler", USUAL, Some(true)),
    ("DDIMScheduler", USUAL, Some(true)),
    ("DDIMParallelScheduler", USUAL, Some(true)),
    ("DDIMInverseScheduler", USUAL, Some(true)),
    ("PNDMScheduler", USUAL, None),
    ("DPMSolverMultistepScheduler", USUAL, None),
    ("DPMSolverMultistepInverseScheduler", USUAL, None),
    ("DPMSolverSinglestepScheduler", USUAL, None),
    ("UniPCMultistepScheduler", USUAL, None),
    ("DEISMultistepScheduler", USUAL, None),
    ("EulerDiscreteScheduler", USUAL, None),
    ("EulerAncestralDiscreteScheduler", USUAL, None),
    ("LMSDiscreteScheduler", USUAL, None),
    ("HeunDiscreteScheduler", LATENT, Some(false)),
    ("KDPM2DiscreteScheduler", LATENT, None),
    ("KDPM2AncestralDiscreteScheduler", LATENT, None),
    ("DPMSolverSDEScheduler", LATENT, None),
];
const USUAL: [f64; 2] = [0.0001, 0.02];
const LATENT: [f64; 2] = [0.00085, 0.012];

/// What the scheduler of another process says.
#[derive(Debug)]
pub(super) struct Diffusion {
    name: String,
    translation: Translation,
    pub(super) range: NoiseRange,
    pub(super) clip_denoised: bool,
}

/// The names of the schedulers that are translated.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    EDM.into_iter().chain(VARIANCE_PRESERVING.iter().map(|(name, ..)| *name))
}

impl Diffusion {
    /// What the scheduler `json` of class `name` says, if it is one of those that are translated.
    pub(super) fn read(name: &str, json: &Map<String, Json>, path: &Path) -> Result<Option<Self>> {
        let file = File { name, json, path };
        if EDM.contains(&name) {
            return file.edm().map(Some);
        }
        let known = VARIANCE_PRESERVING.iter().find(|(known, ..)| *known == name);
        known.map(|&(_, betas, clips)| file.variance_preserving(betas, clips)).transpose()
    }

    /// The network that `config` describes, with its words translated.
    pub(super) fn adapt(self, config: NetworkConfig, path: &Path) -> Result<NetworkConfig> {
        match config {
            NetworkConfig::UNet2D(unet) => {
                let translation = self.translation;
                Ok(NetworkConfig::Adapted(Box::new(crate::AdaptedConfig { unet: *unet, translation })))
            }
            NetworkConfig::Mlp(_) | NetworkConfig::Adapted(_) => {
                let reason = format!(
                    "the scheduler is {}, which is for networks of class UNet2DModel, and the network is {}",
                    self.name,
                    config.class_name()
                );
                Err(Error::Format { path: path.to_path_buf(), reason })
            }
        }
    }
}

/// A scheduler's file.
struct File<'a> {
    name: &'a str,
    json: &'a Map<String, Json>,
    path: &'a Path,
}

impl File<'_> {
    fn edm(&self) -> Result<Diffusion> {
        let usual = NoiseRange::default();
        let rho = match self.get::<String>("sigma_schedule")?.as_deref() {
            None | Some("karras") => self.get("rho")?.unwrap_or(usual.rho),
            Some("exponential") => EXPONENTIAL_RHO,
            Some(other) => return self.refuse("sigma_schedule", &other, "expected karras or exponential"),
        };
        let prediction_type = self.prediction()?;
        if prediction_type == Prediction::Sample {
            return self.refuse("prediction_type", &"sample", "expected epsilon or v_prediction");
        }
        let range = NoiseRange {
            sigma_min: self.get("sigma_min")?.unwrap_or(usual.sigma_min),
            sigma_max: self.get("sigma_max")?.unwrap_or(usual.sigma_max),
            sigma_data: self.get("sigma_data")?.unwrap_or(usual.sigma_data),
            rho,
        };
        Ok(self.diffusion(Translation::Edm { prediction_type }, range, false))
    }

    fn variance_preserving(&self, betas: [f64; 2], clips: Option<bool>) -> Result<Diffusion> {
        for key in ["rescale_betas_zero_snr", "use_flow_sigmas"] {
            if self.get(key)? == Some(true) {
                let why = match key {
                    "use_flow_sigmas" => "its network was trained on flows, which are not translated",
                    _ => "its last step is noise alone, of infinite sigma, which no range of sigma holds",
                };
                return self.refuse(key, &true, why);
            }
        }
        if let Some(other) = self.get::<String>("timestep_type")?.filter(|kind| kind != "discrete") {
            return self.refuse("timestep_type", &other, "expected discrete");
        }
        let steps = self.steps(betas)?;
        let usual = NoiseRange::default();
        let range = noise_range(&steps, usual.sigma_data).map_err(|error| self.of_file(error))?;
        let prediction_type = self.prediction()?;
        let sigma_data = usual.sigma_data;
        let translation = Translation::VariancePreserving { prediction_type, sigma_data, steps };
        Ok(self.diffusion(translation, range, self.clips(clips)?))
    }

    fn steps(&self, [beta_start, beta_end]: [f64; 2]) -> Result<NoiseSteps> {
        let usual = NoiseSteps::default();
        let trained_betas: Option<Vec<f64>> = self.get("trained_betas")?;
        let named = self.get::<String>("beta_schedule")?.filter(|_| trained_betas.is_none());
        let beta_schedule = match named {
            None => usual.beta_schedule,
            Some(name) => self.named("beta_schedule", &name, &BetaSchedule::NAMES)?,
        };
        Ok(NoiseSteps {
            num_train_timesteps: self.get("num_train_timesteps")?.unwrap_or(usual.num_train_timesteps),
            beta_schedule,
            beta_start: self.get("beta_start")?.unwrap_or(beta_start),
            beta_end: self.get("beta_end")?.unwrap_or(beta_end),
            trained_betas,
        })
    }

    fn prediction(&self) -> Result<Prediction> {
        match self.get::<String>("prediction_type")?.as_deref() {
            // What releases before 0.10 wrote.
            None if self.get("predict_epsilon")? == Some(false) => Ok(Prediction::Sample),
            None => Ok(Prediction::Epsilon),
            Some("original_sample") => Ok(Prediction::Sample),
            Some(name) => self.named("prediction_type", name, &Prediction::NAMES),
        }
    }

    /// Thresholding brings estimates into the range of images as clipping does.
    /// A range that is not that of images is not ours, and is left to the caller.
    fn clips(&self, default: Option<bool>) -> Result<bool> {
        let Some(default) = default else { return Ok(false) };
        let is_of_images = self.get("clip_sample_range")?.is_none_or(|range: f64| (range - 1.0).abs() < 1e-9);
        let clips = self.get("clip_sample")?.unwrap_or(default) && is_of_images;
        Ok(clips || self.get("thresholding")? == Some(true))
    }

    fn diffusion(&self, translation: Translation, range: NoiseRange, clip_denoised: bool) -> Diffusion {
        Diffusion { name: self.name.to_owned(), translation, range, clip_denoised }
    }

    /// The value of a key, if the file has one and it is not null.
    fn get<T: for<'de> Deserialize<'de>>(&self, key: &'static str) -> Result<Option<T>> {
        let Some(value) = self.json.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        match T::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.refuse(key, value, &error.to_string()),
        }
    }

    fn named<T: Copy>(&self, key: &'static str, name: &str, known: &[(&str, T)]) -> Result<T> {
        if let Some((_, value)) = known.iter().find(|(known, _)| *known == name) {
            return Ok(*value);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        self.refuse(key, &name, &format!("expected one of {}", names.join(", ")))
    }

    fn refuse<T>(&self, key: &str, value: &dyn std::fmt::Display, why: &str) -> Result<T> {
        Err(self.error(key, value, why))
    }

    fn error(&self, key: &str, value: &dyn std::fmt::Display, why: &str) -> Error {
        let reason = format!("the scheduler is {} with {key} = {value}: {why}", self.name);
        Error::Format { path: self.path.to_path_buf(), reason }
    }

    /// A setting that the table of the steps refuses is one of this file.
    fn of_file(&self, error: Error) -> Error {
        match error {
            Error::Config { field, value, reason } => self.error(field, &value, &reason),
            other => other,
        }
    }
}
