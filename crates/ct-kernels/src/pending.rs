//! A gradient that is not complete yet.

use candle_core::Tensor;

use crate::{Result, add_in_place};

/// A gradient on its way to a node: the sum of what has arrived so far.
#[derive(Default)]
pub(crate) enum Pending {
    #[default]
    Zero,
    /// One contribution, whose memory other tensors may share.
    Shared(Tensor),
    /// A sum in memory that only the tape knows.
    Owned(Tensor),
}

impl Pending {
    pub(crate) fn plus(self, grad: Tensor) -> Result<Self> {
        match self {
            Self::Zero => Ok(Self::Shared(grad)),
            Self::Shared(first) => Ok(Self::Owned(crate::ops::sum(&first, &grad)?)),
            Self::Owned(sum) => {
                add_in_place(&sum, &grad.contiguous()?)?;
                Ok(Self::Owned(sum))
            }
        }
    }

    pub(crate) fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Zero => None,
            Self::Shared(tensor) | Self::Owned(tensor) => Some(tensor),
        }
    }

    pub(crate) fn into_tensor(self) -> Option<Tensor> {
        match self {
            Self::Zero => None,
            Self::Shared(tensor) | Self::Owned(tensor) => Some(tensor),
        }
    }
}
