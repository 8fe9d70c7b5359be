//! Objectives, losses, optimizers, weight averages and the trainer.
//!
//! - An [`Objective`] says how the noise levels of a sample are drawn, what the target is and how the difference is weighted;
//!   every recipe of the family is one of them.
//! - The [`Trainer`] holds the state of a run and makes its steps.
//! - A [`RunFolder`] keeps the state on disk, so that a run survives being killed at any moment.
//! - A [`Snapshot`] keeps power-function averages, from which [`reconstruct`] makes one of another length.
//! - [`run`] makes steps until the end and tells an [`Observer`] of each.

mod average;
mod checkpoint;
mod config;
mod error;
mod gradients;
mod loss;
mod objective;
mod optimizer;
mod run;
mod run_folder;
mod snapshot;
mod trainer;

pub use average::Average;
pub use checkpoint::{STATE_VERSION, first_average, read_checkpoint, write_checkpoint};
pub use config::{CtConfig, EctConfig, IctConfig, LossKind, LrSchedule, OptimizerKind, Recipe, TrainConfig};
pub use error::{Error, Result};
pub use gradients::Gradients;
pub use loss::{Examples, Training};
pub use objective::{Ct, Ect, Ict, Objective, Pair, Target};
pub use optimizer::Optimizer;
pub use run::{Flow, Observer, Outcome, run};
pub use run_folder::RunFolder;
pub use snapshot::{Reconstruction, SNAPSHOT_VERSION, Snapshot, reconstruct};
pub use trainer::{StepReport, Trainer};
