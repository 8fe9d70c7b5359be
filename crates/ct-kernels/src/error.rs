//! The error type of the crate.

use candle_core::DType;

/// Result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has a shape that the operation cannot take.
    #[error("{op}: {argument} must be {expected}, got {got:?}")]
    Shape {
        /// Name of the operation.
        op: &'static str,
        /// Which argument.
        argument: &'static str,
        /// The shape, in words or numbers, that would have been right.
        expected: String,
        /// The shape found.
        got: Vec<usize>,
    },
    /// A tensor has an element type that the operation cannot take.
    #[error("{op}: expected elements of type {expected}, got {got:?}")]
    DType {
        /// Name of the operation.
        op: &'static str,
        /// The type, in words, that would have been right.
        expected: &'static str,
        /// The type found.
        got: DType,
    },
    /// A setting is outside of its range.
    #[error("{op}: {reason}")]
    Setting {
        /// Name of the operation.
        op: &'static str,
        /// What was wrong, and the range that is right.
        reason: String,
    },
    /// The operation has no kernel for the device of its inputs.
    #[error("{op} has no {device} kernel yet")]
    Device {
        /// Name of the operation.
        op: &'static str,
        /// The device: `CUDA` or `Metal`.
        device: &'static str,
    },
    /// The inputs of one operation are on different devices.
    #[error("{op}: inputs are on different devices")]
    MixedDevices {
        /// Name of the operation.
        op: &'static str,
    },
    /// An in-place update needs a contiguous tensor.
    #[error("{op}: {argument} must be contiguous to be updated in place")]
    NotContiguous {
        /// Name of the operation.
        op: &'static str,
        /// Which argument.
        argument: &'static str,
    },
    /// Two arguments of an in-place update share memory.
    #[error("{op}: two arguments share the same memory")]
    Aliased {
        /// Name of the operation.
        op: &'static str,
    },
    /// The inputs of one operation were recorded on different tapes.
    #[error("{op}: inputs belong to different tapes")]
    MixedTapes {
        /// Name of the operation.
        op: &'static str,
    },
    /// The tape has already run backward.
    #[error("{op}: the tape was consumed by an earlier backward pass")]
    ConsumedTape {
        /// Name of the operation.
        op: &'static str,
    },
    /// The value given to `backward` does not depend on any leaf of the tape.
    #[error("backward: the loss was not recorded on this tape")]
    NotRecorded,
    /// An operation asked for a tensor that it had said it would not need.
    #[error("{op}: {what} was not kept for the backward pass")]
    NotKept {
        /// Name of the operation.
        op: &'static str,
        /// Which tensor.
        what: &'static str,
    },
    /// An operation broke the contract of [`crate::Op`].
    #[error("{op}: {reason}")]
    Contract {
        /// Name of the operation.
        op: &'static str,
        /// What it returned, and what was due.
        reason: String,
    },
    /// candle refused.
    #[error("{op}: candle failed")]
    Candle {
        /// Name of the operation.
        op: &'static str,
        /// What candle said.
        #[source]
        source: candle_core::Error,
    },
}

impl Error {
    /// Names the operation in an error that came from candle.
    pub(crate) fn during(self, op: &'static str) -> Self {
        match self {
            Self::Candle { source, .. } => Self::Candle { op, source },
            other => other,
        }
    }

    pub(crate) fn shape(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        got: &[usize],
    ) -> Self {
        Self::Shape { op, argument, expected: expected.into(), got: got.to_vec() }
    }

    pub(crate) fn setting(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { op, reason: reason.into() }
    }
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Candle { op: "tensor", source }
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle { source, .. } => source,
            other => Self::wrap(other),
        }
    }
}
