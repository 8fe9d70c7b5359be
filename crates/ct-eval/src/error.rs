//! What can go wrong while comparing sets of samples.

/// The result of a fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor could not be read.
    #[error("cannot read a tensor of samples")]
    Tensor(#[from] candle_core::Error),

    /// An operation of a feature network failed.
    #[error("a feature network failed")]
    Kernel(#[from] ct_kernels::Error),

    /// A file that could not be read.
    #[error("cannot read {path}", path = .path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file that holds no weights of a feature network.
    #[error("{origin} cannot be used for features: {reason}")]
    Weights {
        /// The file, or what else holds the weights.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Images of a shape that the feature network does not take.
    #[error("the feature network `{network}` takes samples of shape {expected}, got {got:?}")]
    Images {
        /// The network.
        network: String,
        /// The shapes it takes.
        expected: String,
        /// The shape of the samples.
        got: Vec<usize>,
    },

    /// The values do not make whole rows.
    #[error("{values} values do not make samples of {dim} values each")]
    Ragged {
        /// Number of values.
        values: usize,
        /// Values per sample.
        dim: usize,
    },

    /// A value is NaN or infinite.
    #[error("value {position} of sample {sample} is not finite")]
    NotFinite {
        /// Index of the sample.
        sample: usize,
        /// Index of the value in it.
        position: usize,
    },

    /// The two sets have samples of different size.
    #[error("samples have {left} values in one set and {right} in the other")]
    Dimension {
        /// Values per sample of the first set.
        left: usize,
        /// Values per sample of the second set.
        right: usize,
    },

    /// Too few samples for this measure.
    #[error("{measure} needs at least {needed} samples in each set, got {got}")]
    TooFewSamples {
        /// The measure.
        measure: &'static str,
        /// The least number.
        needed: usize,
        /// The number in the smaller set.
        got: usize,
    },

    /// A setting outside its range.
    #[error("{setting} must be {expected}, got {got}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What it must be, in words.
        expected: &'static str,
        /// What it was.
        got: f64,
    },

    /// The eigenvalues of a covariance matrix could not be found.
    #[error("the eigenvalues of a {dim} by {dim} matrix did not converge")]
    Eigenvalues {
        /// Size of the matrix.
        dim: usize,
    },

    /// A name that no measure has.
    #[error("unknown metric `{name}`; known are {known}")]
    UnknownMetric {
        /// The name.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
}
