//! What happens after each step: progress, metrics, pictures, checkpoints, and whether the run goes on.

use ct_model::folder::Card;
use ct_train::{Error, Flow, Observer, Result, RunFolder, StepReport, Trainer};
use serde_json::json;

use super::pictures::Pictures;
use super::progress::Progress;
use crate::config::Config;
use crate::interrupt;

/// Unless the configuration says otherwise, metrics are written this often over a whole run, and at least every
/// `METRICS_STEPS` steps.
const METRICS_LINES: u64 = 200;
const METRICS_STEPS: u64 = 100;

/// Follows a run.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    folder: &'a RunFolder,
    config: &'a Config,
    card: &'a Card,
    pictures: &'a Pictures,
    progress: Progress,
    losses: Vec<f64>,
    /// The step after which the run stops, finished or not.
    stop_at: u64,
}

impl<'a> Watch<'a> {
    /// Follows a run that goes on from where `trainer` is, for `stop_after` steps at most.
    pub(crate) fn new(
        folder: &'a RunFolder,
        config: &'a Config,
        card: &'a Card,
        pictures: &'a Pictures,
        trainer: &Trainer,
        stop_after: Option<u64>,
    ) -> Self {
        let step = trainer.steps_made();
        let progress = Progress::new(step, config.train.steps, config.train.batch_size);
        let stop_at = stop_after.map_or(u64::MAX, |steps| step.saturating_add(steps));
        Self { folder, config, card, pictures, progress, losses: Vec::new(), stop_at }
    }

    fn write_metrics(&mut self, report: &StepReport) -> Result<()> {
        let loss = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        self.losses.clear();
        self.folder.append_metrics(&json!({
            "step": report.step,
            "images_seen": report.images_seen,
            "loss": loss,
            "grad_norm": report.grad_norm,
            "lr": report.lr,
            "schedule": report.schedule,
            "images_per_sec": self.progress.images_per_sec(report.step),
            "wall_secs": self.progress.wall_secs(),
        }))
    }

    fn draw(&self, trainer: &Trainer) -> Result<()> {
        let drawn =
            self.pictures.one_step(&trainer.model()?).map_err(|error| Error::Observer(error.into()))?;
        save_picture(&drawn, &self.folder.sample_path(trainer.steps_made()))
            .map_err(|error| Error::Observer(error.into()))
    }
}

/// Writes a PNG, and the folder that it goes into.
pub(crate) fn save_picture(picture: &image::DynamicImage, path: &std::path::Path) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(ct_sample::save_png(picture, path)?)
}

impl Observer for Watch<'_> {
    fn after_step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow> {
        let step = report.step;
        let is_last = step >= self.config.train.steps || step >= self.stop_at || interrupt::is_requested();
        let is_due = |every: u64| step.is_multiple_of(every) || is_last;

        self.progress.show(report);
        self.losses.push(report.loss);
        // Metrics before the checkpoint: what a checkpoint has behind it is written down.
        let usual = (self.config.train.steps / METRICS_LINES).clamp(1, METRICS_STEPS);
        if is_due(self.config.metrics.every_steps.unwrap_or(usual)) {
            self.write_metrics(report)?;
        }
        if step.is_multiple_of(self.config.sample.every_steps) {
            self.draw(trainer)?;
        }
        // Before the checkpoint too: a run that goes on from it has this snapshot behind it.
        if self.config.train.snapshot_steps.is_some_and(|every| step.is_multiple_of(every)) {
            self.folder.save_snapshot(trainer)?;
        }
        if is_due(self.config.checkpoint.every_steps) {
            self.folder.save(trainer, self.card, self.config.checkpoint.keep)?;
            tracing::info!("saved step {step}");
        }
        Ok(if is_last { Flow::Stop } else { Flow::Continue })
    }
}
