//! Activation functions by the names that diffusers gives them.

use ct_kernels::{self as ops, Activation, Value};

use crate::Result;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing.
    Identity,
    Silu,
    Mish,
    Gelu,
    Relu,
}

impl Act {
    pub(crate) const SUPPORTED: &str = "silu, swish, mish, gelu, relu";

    /// As diffusers, without regard to case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "silu" | "swish" => Self::Silu,
            "mish" => Self::Mish,
            "gelu" => Self::Gelu,
            "relu" => Self::Relu,
            _ => return None,
        })
    }

    /// What a normalization does of it by itself; [`after_norm`](Self::after_norm) does the rest.
    pub(crate) fn fused(self) -> Activation {
        match self {
            Self::Silu => Activation::Silu,
            Self::Identity | Self::Mish | Self::Gelu | Self::Relu => Activation::Identity,
        }
    }

    pub(crate) fn after_norm(self, x: Value) -> Result<Value> {
        match self {
            Self::Identity | Self::Silu => Ok(x),
            Self::Mish | Self::Gelu | Self::Relu => self.forward(&x),
        }
    }

    pub(crate) fn forward(self, x: &Value) -> Result<Value> {
        Ok(match self {
            Self::Identity => x.clone(),
            Self::Silu => ops::silu(x)?,
            Self::Mish => ops::mish(x)?,
            Self::Gelu => ops::gelu(x)?,
            Self::Relu => ops::relu(x)?,
        })
    }
}
