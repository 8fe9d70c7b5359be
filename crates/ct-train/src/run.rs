//! The loop of a run.

use crate::{Result, StepReport, Trainer};

/// Whether the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Make the next step.
    Continue,
    /// Stop here.
    Stop,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are made.
    Finished,
    /// An observer stopped it.
    Stopped,
}

/// Whoever wants to know of each step: progress, logs, sample images, checkpoints.
pub trait Observer {
    /// Called after each step.
    ///
    /// # Errors
    /// Whatever keeps the observer from its work; it ends the run.
    fn after_step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow>;
}

/// Makes steps until the last one, or until the observer stops the run.
///
/// # Errors
/// Whatever a step or the observer fails with.
pub fn run(trainer: &mut Trainer, observer: &mut dyn Observer) -> Result<Outcome> {
    while !trainer.is_finished() {
        let report = trainer.step()?;
        if observer.after_step(trainer, &report)? == Flow::Stop {
            return Ok(Outcome::Stopped);
        }
    }
    Ok(Outcome::Finished)
}
