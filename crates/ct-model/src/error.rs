//! What can go wrong with a model.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a model, in memory or on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration asks for what no network can be.
    #[error("{field} = {value} in the network's configuration: {reason}")]
    Config {
        /// The key of the configuration.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        reason: String,
    },
    /// The configuration names something that this program cannot run.
    #[error("{field} = {value:?} is not supported; supported: {supported}")]
    Unsupported {
        /// The key of the configuration.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What is supported in its place.
        supported: &'static str,
    },
    /// The tensors of a weights file are not those that the network needs.
    #[error("{path}: the weights do not fit the network's configuration:{}", list(problems))]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// One line for each tensor that is missing, left over or of another shape.
        problems: Vec<String>,
    },
    /// An input of a forward pass has the wrong shape.
    #[error("{what}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// Which input.
        what: &'static str,
        /// The shape that was expected, 0 for any size.
        expected: Vec<usize>,
        /// The shape that came.
        got: Vec<usize>,
    },
    /// A network with classes was called without labels, without classes with labels, or with a label out of range.
    #[error("class labels: {0}")]
    Labels(String),
    /// A network with a learned time embedding was called with a time that it has none for.
    #[error("time steps: {0}")]
    Time(String),
    /// A file of a model folder is missing or cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there, but its content is not what it must be.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to try.
        reason: String,
    },
    /// A noise level that the model is not defined at.
    #[error("sigma = {sigma} is out of range: the model is defined from sigma_min = {sigma_min} upward")]
    Sigma {
        /// The noise level.
        sigma: f64,
        /// Where the model's range begins.
        sigma_min: f64,
    },
    /// Coefficients or grids were asked for outside their range.
    #[error(transparent)]
    Schedule(#[from] ct_schedule::Error),
    /// An operation failed.
    #[error(transparent)]
    Kernel(#[from] ct_kernels::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn list(problems: &[String]) -> String {
    problems.iter().fold(String::new(), |all, problem| all + "\n  " + problem)
}
