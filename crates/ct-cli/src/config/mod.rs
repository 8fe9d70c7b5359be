//! The configuration of a run: a preset, then a file, then single settings, each over the one before.
//!
//! ```text
//! presets/NAME.toml  <  --config FILE  <  --set key=value
//! ```

mod fields;
mod image_size;
mod layers;
pub(crate) mod presets;
mod suggest;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use ct_model::{MlpConfig, NoiseRange, Parameterization, UNet2DConfig};
use ct_train::TrainConfig;

pub(crate) use image_size::ImageSize;
pub(crate) use layers::{Layers, Origins, PRESET, changes, differences};

/// The configuration of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Key of all randomness.
    pub(crate) seed: u64,
    /// What is learned from.
    pub(crate) data: DataConfig,
    /// The network.
    pub(crate) model: ModelConfig,
    /// What it starts from.
    pub(crate) init: InitConfig,
    /// The range of noise.
    pub(crate) noise: NoiseConfig,
    /// How it is trained.
    pub(crate) train: TrainConfig,
    /// What is written down on the way.
    pub(crate) metrics: MetricsConfig,
    /// When the state is saved.
    pub(crate) checkpoint: CheckpointConfig,
    /// Pictures on the way.
    pub(crate) sample: SampleConfig,
    /// The score at the end.
    pub(crate) score: ScoreConfig,
}

/// What is learned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataConfig {
    /// Where it comes from, as `--data` takes it.
    pub(crate) source: String,
    /// Height and width of the images; their own if absent.
    pub(crate) size: Option<ImageSize>,
    /// 1 for gray, 3 for colour; their own if absent.
    pub(crate) channels: Option<usize>,
    /// Whether images are mirrored at random; where a mirrored image is one of its kind if absent.
    pub(crate) flip: Option<bool>,
}

/// Which network is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModelKind {
    /// For images.
    #[default]
    Unet,
    /// For vectors.
    Mlp,
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unet => "UNet",
            Self::Mlp => "MLP",
        })
    }
}

/// The network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelConfig {
    /// Which network is trained.
    pub(crate) kind: ModelKind,
    /// Whether it is told the class of a sample.
    pub(crate) class_conditional: bool,
    /// How its output becomes an estimate: consistency, edm or trigflow; what the recipe needs if absent.
    pub(crate) parameterization: Option<Parameterization>,
    /// The network for images; the shape of the samples is filled in.
    pub(crate) unet: Option<UNet2DConfig>,
    /// The network for vectors; the shape of the samples is filled in.
    pub(crate) mlp: Option<MlpConfig>,
}

/// What training starts from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InitConfig {
    /// A model folder, a checkpoint or a run, whose weights are the first ones, and which distillation learns from;
    /// random weights if absent.
    pub(crate) model: Option<PathBuf>,
}

/// The range of noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NoiseConfig {
    /// Standard deviation of the least noise.
    pub(crate) sigma_min: f64,
    /// Standard deviation of the most noise.
    pub(crate) sigma_max: f64,
    /// Exponent of the Karras grid.
    pub(crate) rho: f64,
    /// Standard deviation of the data; measured if absent.
    pub(crate) sigma_data: Option<f64>,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        let NoiseRange { sigma_min, sigma_max, rho, .. } = NoiseRange::default();
        Self { sigma_min, sigma_max, rho, sigma_data: None }
    }
}

/// What is written down on the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetricsConfig {
    /// Steps from line to line of `metrics.jsonl`, whose loss is the mean over them; about 200 lines a run if absent.
    pub(crate) every_steps: Option<u64>,
}

/// When the state is saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CheckpointConfig {
    /// Steps between two checkpoints.
    pub(crate) every_steps: u64,
    /// How many are kept.
    pub(crate) keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: 500, keep: 3 }
    }
}

/// Pictures on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SampleConfig {
    /// Steps between two pictures.
    pub(crate) every_steps: u64,
    /// Samples in a picture.
    pub(crate) num: usize,
    /// Images in a row of a grid.
    pub(crate) columns: usize,
    /// The second noise level of two-step sampling; 0.821 where the range allows it if absent.
    pub(crate) two_step_sigma: Option<f64>,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { every_steps: 500, num: 64, columns: 8, two_step_sigma: None }
    }
}

/// The score at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScoreConfig {
    /// One-step samples that are compared with the data; 0 for no score.
    pub(crate) num: usize,
}

impl Default for ScoreConfig {
    fn default() -> Self {
        Self { num: 2000 }
    }
}

impl Config {
    /// Its TOML form, which is valid as `--config` input.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }
}
