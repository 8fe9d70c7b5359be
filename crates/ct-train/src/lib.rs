//! Objectives, losses, optimizers, weight averages and the trainer.
//!
//! - An [`Objective`] says how the noise levels of a sample are drawn, what the target is and how the difference is weighted;
//!   every recipe of the family is one of them.
//! - The [`Trainer`] holds the state of a run and makes its steps.
//! - A [`RunFolder`] keeps the state on disk, so that a run survives being killed at any moment.
//! - A [`Snapshot`] keeps power-function averages, from which [`reconstruct`] makes one of another length.
//! - [`run`] makes steps until the end and tells an [`Observer`] of each.

mod augment;
mod average;
mod checkpoint;
mod config;
mod draws;
mod error;
mod gradients;
mod log_variance;
mod loss;
mod objective;
mod optimizer;
mod passes;
mod recipe;
mod run;
mod run_folder;
mod snapshot;
mod teacher;
mod trainer;

pub use average::Average;
pub use checkpoint::{STATE_VERSION, first_average, read_checkpoint, write_checkpoint};
pub use config::{LossKind, LrSchedule, OptimizerKind, TrainConfig};
pub use error::{Error, Result};
pub use gradients::Gradients;
pub use log_variance::LogVariance;
pub use objective::{Cd, Ct, Difference, Diffusion, Ect, Ict, Objective, Pair, Scm, Target, Tcm};
pub use optimizer::Optimizer;
pub use passes::{Examples, Training};
pub use recipe::{
    CdConfig, CtConfig, DiffusionConfig, EctConfig, IctConfig, Recipe, ScmConfig, Solver, TangentNorm,
    TcmConfig,
};
pub use run::{Flow, Observer, Outcome, run};
pub use run_folder::RunFolder;
pub use snapshot::{Reconstruction, SNAPSHOT_VERSION, Snapshot, reconstruct};
pub use teacher::{GaussianTeacher, Guided, Teacher, ode_step};
pub use trainer::{Parts, StepReport, Trainer};
