//! Networks, skip parameterization, seeded initialization and model folders.
//!
//! A network is a plain description: it holds indices of parameters, never tensors.
//! Its weights travel beside it as [`Params`], so that a student, its teacher and every average of the weights
//! are one network with several sets of numbers.
//!
//! - [`Network`] is what a model of any kind must offer; [`Mlp`] and [`UNet2D`] are ours.
//!   [`Adapted`] is a UNet of another process, whose words are translated.
//! - [`ConsistencyModel`] puts the skip parameterization around a network, so that f(x, `sigma_min`) = x exactly;
//!   the same type holds denoisers and models in `TrigFlow` ([`Parameterization`]).
//! - [`Denoiser`] is all that samplers, edits and metrics ask of a model.
//! - [`Lpips`] measures how different two images look.
//! - [`folder`] reads and writes models in the layout of a diffusers pipeline.

mod act;
mod adapter;
mod consistency;
mod denoiser;
mod error;
pub mod folder;
mod layers;
mod lpips;
mod mlp;
mod network;
mod noise;
mod parameterization;
mod params;
mod part;
mod precision;
mod unet;
mod weights;

pub use adapter::{Adapted, AdaptedConfig, BetaSchedule, NoiseSteps, Prediction, Translation};
pub use consistency::{ConsistencyModel, consistency_function};
pub use denoiser::{Denoiser, NoiseRange};
pub use error::{Error, Result};
pub use lpips::Lpips;
pub use mlp::{Mlp, MlpConfig};
pub use network::{Conditions, Dropout, Input, Network, NetworkConfig};
pub use noise::normal;
pub use parameterization::Parameterization;
pub use params::{Activations, Builder, Init, ParamId, ParamLayout, ParamSpec, Params, Weights};
pub use precision::Precision;
pub use unet::{
    ClassEmbedding, ResampleKind, SampleSize, TimeEmbedding, TimeScaleShift, UNet2D, UNet2DConfig,
};
