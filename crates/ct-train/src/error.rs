//! What can go wrong in a run.

use std::path::PathBuf;

use ct_model::Parameterization;

use crate::Recipe;

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
    /// The derivative of a continuous-time model is no longer a number.
    #[error(
        "the tangent's norm is {norm}: the run stopped and the last checkpoint is untouched; resume with a lower train.lr"
    )]
    NonFiniteTangent {
        /// The norm of one sample.
        norm: f64,
    },
    /// A recipe cannot train a model of this parameterization.
    #[error("the recipe {recipe} trains models in the parameterization {expected}, not {parameterization}", expected = recipe.parameterization())]
    Parameterization {
        /// The recipe.
        recipe: Recipe,
        /// The parameterization that was asked for.
        parameterization: Parameterization,
    },
    /// A recipe learns from a model, and there is none.
    #[error("the recipe {recipe} learns from a model that is there already: name its folder with init.model")]
    NoTeacher {
        /// The recipe.
        recipe: Recipe,
    },
    /// A teacher's samples have another shape than the student's, or it knows other classes.
    #[error(
        "the teacher takes samples of shape {teacher:?} with {teacher_classes:?} classes, the student {student:?} with {student_classes:?}"
    )]
    TeacherShape {
        /// Shape that the teacher takes.
        teacher: Vec<usize>,
        /// Shape that the student takes.
        student: Vec<usize>,
        /// Classes that the teacher knows.
        teacher_classes: Option<usize>,
        /// Classes that the student knows.
        student_classes: Option<usize>,
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
