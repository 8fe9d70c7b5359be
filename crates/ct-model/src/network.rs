//! What a network must offer to be trained and sampled by this program.

use std::sync::Arc;

use ct_kernels::Value;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    Adapted, AdaptedConfig, Mlp, MlpConfig, ParamLayout, Result, Translation, UNet2D, UNet2DConfig, Weights,
};

/// What a forward pass is given.
#[derive(Debug)]
pub struct Input<'a> {
    /// Noisy samples, already multiplied by `c_in`: `[B, C, H, W]` or `[B, D]`.
    pub x: &'a Value,
    /// What the network is told of the noise, `c_noise` = 250 ln(sigma): `[B]`.
    pub c_noise: &'a Value,
    /// One label for each sample, if the network knows classes.
    pub class_labels: Option<&'a [u32]>,
    /// Where dropout masks come from; `None` outside training.
    pub dropout: Option<Dropout<'a>>,
    /// What else the network is told in training, such as how an image was augmented, already embedded:
    /// `[B, E]`, added to the embedding of the noise level. `None` stands for zero.
    pub extra_embedding: Option<&'a Value>,
}

/// The key of a forward pass's dropout masks: two passes with the same key use the same masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Number of each image of the batch, counted over the whole run.
    pub images: &'a [u64],
}

/// What a network is told beside the noisy samples and their noise level; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// One label for each sample, if the network knows classes.
    pub class_labels: Option<&'a [u32]>,
    /// Where dropout masks come from; `None` outside training.
    pub dropout: Option<Dropout<'a>>,
    /// See [`Input::extra_embedding`].
    pub extra_embedding: Option<&'a Value>,
}

impl<'a> Conditions<'a> {
    /// The whole input of a network.
    pub fn input(&self, x: &'a Value, c_noise: &'a Value) -> Input<'a> {
        let &Self { class_labels, dropout, extra_embedding } = self;
        Input { x, c_noise, class_labels, dropout, extra_embedding }
    }
}

/// A network F(`c_in` x, `c_noise`): a pure function of its input and its weights.
///
/// Networks hold no numbers of their own, so that a student, its teacher and every average share one.
pub trait Network: Send + Sync + std::fmt::Debug {
    /// Names, shapes and first values of the parameters.
    fn layout(&self) -> &Arc<ParamLayout>;

    /// Shape of one sample, without the batch: `[C, H, W]` or `[D]`.
    fn sample_shape(&self) -> &[usize];

    /// How many classes the network knows, if any.
    fn num_classes(&self) -> Option<usize>;

    /// Width E of the embedding of the noise level, if the network takes an extra one.
    fn embedding_dim(&self) -> Option<usize> {
        None
    }

    /// What a network of another process is told and what it predicts, if it is one:
    /// such a network has the coefficients of EDM or of consistency models, and cannot be told an angle.
    fn translation(&self) -> Option<&Translation> {
        None
    }

    /// What a model folder must hold so that the network can be built again.
    fn config(&self) -> NetworkConfig;

    /// Runs the network.
    ///
    /// # Shapes
    /// The result has the shape of `input.x`.
    ///
    /// # Errors
    /// An input of another shape, or labels that do not suit the network.
    fn forward(&self, weights: &Weights, input: &Input<'_>) -> Result<Value>;
}

/// The configuration of a network, as its model folder holds it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "_class_name")]
pub enum NetworkConfig {
    /// The UNet of diffusers, or one with what diffusers does not have.
    #[serde(rename = "UNet2DModel", alias = "CtUNet2DModel")]
    UNet2D(Box<UNet2DConfig>),
    /// A perceptron with residual blocks, for vectors.
    #[serde(rename = "CtMlp")]
    Mlp(MlpConfig),
    /// A UNet of another process, with its words translated.
    #[serde(rename = "CtAdaptedUNet2D")]
    Adapted(Box<AdaptedConfig>),
}

impl From<UNet2DConfig> for NetworkConfig {
    fn from(config: UNet2DConfig) -> Self {
        Self::UNet2D(Box::new(config))
    }
}

impl NetworkConfig {
    /// Builds the network.
    ///
    /// # Errors
    /// A configuration that no network can be, or that this program does not support.
    pub fn build(&self) -> Result<Arc<dyn Network>> {
        Ok(match self {
            Self::UNet2D(config) => Arc::new(UNet2D::new(config)?),
            Self::Mlp(config) => Arc::new(Mlp::new(config)?),
            Self::Adapted(config) => Arc::new(Adapted::new(config)?),
        })
    }

    /// Name of the network's class, as diffusers writes it.
    ///
    /// Networks that diffusers cannot run have a name that it does not know.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::UNet2D(config) if config.is_of_diffusers() => "UNet2DModel",
            Self::UNet2D(_) => "CtUNet2DModel",
            Self::Mlp(_) => "CtMlp",
            Self::Adapted(_) => "CtAdaptedUNet2D",
        }
    }

    /// The package that can run the network, as the index of a model folder names it.
    pub fn package(&self) -> &'static str {
        match self {
            Self::UNet2D(config) if config.is_of_diffusers() => "diffusers",
            Self::UNet2D(_) | Self::Mlp(_) | Self::Adapted(_) => "ct_model",
        }
    }
}

impl Serialize for NetworkConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "_class_name")]
        enum Written<'a> {
            #[serde(rename = "UNet2DModel")]
            OfDiffusers(&'a UNet2DConfig),
            #[serde(rename = "CtUNet2DModel")]
            Own(&'a UNet2DConfig),
            #[serde(rename = "CtMlp")]
            Mlp(&'a MlpConfig),
            #[serde(rename = "CtAdaptedUNet2D")]
            Adapted(&'a AdaptedConfig),
        }
        match self {
            Self::UNet2D(config) if config.is_of_diffusers() => Written::OfDiffusers(config),
            Self::UNet2D(config) => Written::Own(config),
            Self::Mlp(config) => Written::Mlp(config),
            Self::Adapted(config) => Written::Adapted(config),
        }
        .serialize(serializer)
    }
}
