//! The type of number that a network computes in.

use candle_core::DType;
use ct_kernels::{self as ops, Value};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What the layers of a network compute in, between its input and its output.
///
/// The weights themselves stay as they are, and so do their gradients, the embedding of the noise level,
/// the skip parameterization around the network, losses and updates (Micikevicius et al. 2018, "Mixed Precision Training").
/// bf16 has the range of f32, so losses need no scaling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The type of the weights: f32, or f64 in tests.
    #[default]
    F32,
    /// Sixteen bits, eight of them of the number itself: half the memory, and on a GPU several times the speed.
    Bf16,
}

impl Precision {
    /// An activation as the layers take it.
    pub(crate) fn inside(self, x: &Value) -> Result<Value> {
        match self {
            Self::F32 => Ok(x.clone()),
            Self::Bf16 => Ok(ops::cast(x, DType::BF16)?),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("possible are f32, bf16".to_owned()),
        }
    }
}
