//! What can go wrong in a run.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range.
    #[error("{key} = {value} is out of range: it must be {range}")]
    Config {
        /// The key in the configuration.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// The network and the data do not suit each other.
    #[error("the network takes samples of shape {network:?}, the data has {data:?}")]
    DataShape {
        /// Shape that the network takes.
        network: Vec<usize>,
        /// Shape that the data has.
        data: Vec<usize>,
    },
    /// The network knows classes and the data has none, or too many.
    #[error("the network has {network} classes, the data has {data}")]
    DataClasses {
        /// Classes of the network.
        network: usize,
        /// Classes of the data.
        data: usize,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss is {loss} at step {step}: the run stopped and the last checkpoint is untouched; resume with a lower train.lr or a train.max_grad_norm"
    )]
    NonFiniteLoss {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// The gradient is no longer a number.
    #[error(
        "the gradient's norm is {norm} at step {step}: the run stopped and the last checkpoint is untouched; resume with a lower train.lr or a train.max_grad_norm"
    )]
    NonFiniteGradient {
        /// The step.
        step: u64,
        /// The norm.
        norm: f64,
    },
    /// A run folder or checkpoint is not what it must be.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to try.
        reason: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An observer of the run failed.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] ct_data::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ct_model::Error),
    /// A schedule was given a value out of its range.
    #[error(transparent)]
    Schedule(#[from] ct_schedule::Error),
    /// An operation failed.
    #[error(transparent)]
    Kernel(#[from] ct_kernels::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
