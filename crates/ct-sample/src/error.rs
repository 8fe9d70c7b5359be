//! What can go wrong while sampling.

use std::path::PathBuf;

/// The result of a fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation or the model failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),

    /// No noise level, or no step, was asked for.
    #[error("at least one noise level is needed")]
    NoSigmas,

    /// A noise level lies outside the range that the model was trained on.
    #[error("sigma {sigma} at position {step} is not in ({sigma_min}, {sigma_max}]")]
    SigmaOutOfRange {
        /// Position in the list.
        step: usize,
        /// The level.
        sigma: f64,
        /// Lower end of the model's range, excluded.
        sigma_min: f64,
        /// Upper end of the model's range, included.
        sigma_max: f64,
    },

    /// Noise levels must descend strictly.
    #[error("sigma {sigma} at position {step} is not below the one before, {previous}")]
    SigmaNotDescending {
        /// Position in the list.
        step: usize,
        /// The level.
        sigma: f64,
        /// The level before it.
        previous: f64,
    },

    /// No grid of noise levels can be made of the model's range.
    #[error("the model's noise range holds no such grid")]
    Grid(#[from] ct_schedule::Error),

    /// The recorded noise ends before the last step.
    #[error("the recorded noise has {available} steps, but `noise.{step}` is needed")]
    NoiseStepMissing {
        /// The step that was asked for.
        step: usize,
        /// Steps in the record.
        available: usize,
    },

    /// The recorded noise has fewer samples than were asked for.
    #[error("the recorded noise has {available} samples, but sample {needed} is needed")]
    NoiseSamplesMissing {
        /// Index of the last sample that was asked for.
        needed: usize,
        /// Samples in the record.
        available: usize,
    },

    /// A tensor does not have the shape that it must have.
    #[error("{what} has shape {got:?}, expected {expected}")]
    Shape {
        /// Which tensor.
        what: String,
        /// The shape in words, such as `[N, 1 or 3, H, W]`.
        expected: String,
        /// The shape it has.
        got: Vec<usize>,
    },

    /// Class labels for a model without classes.
    #[error("class labels were given, but the model has no classes")]
    NoClasses,

    /// Guidance of a model that was not trained to do without labels.
    #[error(
        "guidance needs a model that was trained with hidden labels (train.label_dropout), and this one was not"
    )]
    NoNullLabel,

    /// A guidance scale that is none.
    #[error("guidance scale {scale} is out of range: it must be finite, at least 0")]
    GuidanceScale {
        /// The scale.
        scale: f64,
    },

    /// A class label that the model does not know.
    #[error("class label {label} of sample {sample}: the model has {num_classes} classes")]
    ClassLabel {
        /// Position of the sample in the request.
        sample: usize,
        /// The label.
        label: u32,
        /// Number of classes of the model.
        num_classes: usize,
    },

    /// Not as many labels as samples.
    #[error("{labels} class labels for {samples} samples")]
    LabelCount {
        /// Number of labels.
        labels: usize,
        /// Number of samples.
        samples: usize,
    },

    /// A setting that must not be zero.
    #[error("{what} must be at least 1")]
    Zero {
        /// Which setting.
        what: &'static str,
    },

    /// Not enough noise levels to choose from.
    #[error("a grid of {levels} noise levels is too short for {steps} steps")]
    GridTooShort {
        /// Levels of the grid.
        levels: usize,
        /// Steps that were asked for.
        steps: usize,
    },

    /// A mask under which nothing is known.
    #[error(
        "mask {index} covers everything: nothing is known that an edit could keep; to make new images, sample"
    )]
    MaskAll {
        /// Which mask of the batch.
        index: usize,
    },

    /// A mask under which everything is known.
    #[error("mask {index} covers nothing: everything is known and nothing is left to generate")]
    MaskNothing {
        /// Which mask of the batch.
        index: usize,
    },

    /// A share that is none.
    #[error("share {share} of {what} is out of range: it must lie between 0 and 1, and leave at least one")]
    Share {
        /// Of what.
        what: &'static str,
        /// The share.
        share: f64,
    },

    /// A factor by which pictures cannot be made smaller.
    #[error("factor {factor}: it must be at least 2 and divide both sides of {height}x{width} pixels")]
    Factor {
        /// The factor.
        factor: usize,
        /// Height of the model's images.
        height: usize,
        /// Width of the model's images.
        width: usize,
    },

    /// A measurement that says nothing.
    #[error("the measurement has rank 0: all its singular values are zero or dropped")]
    Rank,

    /// A least singular value that is out of range.
    #[error(
        "rcond {rcond} is out of range: singular values are kept above this share of the largest, expected [0, 1)"
    )]
    Rcond {
        /// The share.
        rcond: f64,
    },

    /// A matrix without a singular value decomposition.
    #[error(
        "the singular value decomposition failed: the matrix holds numbers that are not finite, or does not converge"
    )]
    Svd,

    /// A blur kernel that is none.
    #[error("the blur kernel does not fit: {reason}")]
    Kernel {
        /// Why.
        reason: String,
    },

    /// A setting of an edit that is out of its range.
    #[error("{what} {value} is out of range: expected {range}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// The value.
        value: f64,
        /// What it must be.
        range: &'static str,
    },

    /// A record of noise without a tensor that it must hold.
    #[error("`{}` holds no tensor named `{name}`", path.display())]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },

    /// A file could not be written, or a tensor file not be read.
    #[error(transparent)]
    File(#[from] ct_model::Error),

    /// A picture could not be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A picture could not be decoded or encoded.
    #[error("cannot {action} image `{}`", path.display())]
    Image {
        /// `decode` or `encode`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
}
