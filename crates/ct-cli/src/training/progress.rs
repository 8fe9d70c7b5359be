//! The progress of a run: a bar on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use ct_train::StepReport;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::terminal;

/// How the loss that is shown forgets: 0.98 each step.
const FORGETTING: f64 = 0.98;
/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    steps: u64,
    first_step: u64,
    batch_size: usize,
    start: Instant,
    last_line: Option<Instant>,
    loss: Smoothed,
}

/// A mean that forgets.
#[derive(Debug, Default)]
struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    fn add(&mut self, value: f64) -> f64 {
        self.sum = FORGETTING * self.sum + value;
        self.weight = FORGETTING * self.weight + 1.0;
        self.sum / self.weight
    }
}

impl Progress {
    /// The progress of a run that goes on after `first_step` of `steps`.
    pub(crate) fn new(first_step: u64, steps: u64, batch_size: usize) -> Self {
        let bar = terminal::can_draw().then(|| {
            let bar = ProgressBar::new(steps).with_position(first_step);
            let template = "{bar:20} {pos}/{len}  {wide_msg}";
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        terminal::set_bar(bar.clone());
        let (start, loss) = (Instant::now(), Smoothed::default());
        Self { bar, steps, first_step, batch_size, start, last_line: None, loss }
    }

    /// Images per second since the start.
    pub(crate) fn images_per_sec(&self, step: u64) -> f64 {
        (step - self.first_step) as f64 * self.batch_size as f64 / self.start.elapsed().as_secs_f64()
    }

    /// Seconds since the start.
    pub(crate) fn wall_secs(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Shows one step.
    pub(crate) fn show(&mut self, report: &StepReport) {
        let loss = self.loss.add(report.loss);
        let is_due =
            self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) || report.step == self.steps;
        if self.bar.is_none() && !is_due {
            return;
        }
        let message = format!(
            "loss {loss:.4}  {}  {:.0} img/s  {} left",
            report.schedule,
            self.images_per_sec(report.step),
            HumanDuration(self.left(report.step)),
        );
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.set_position(report.step);
        } else {
            self.last_line = Some(Instant::now());
            terminal::say(format_args!("step {}/{}  {message}", report.step, self.steps));
        }
    }

    /// Time until the last step, if the steps to come take as long as those behind.
    fn left(&self, step: u64) -> Duration {
        let per_step = self.wall_secs() / (step - self.first_step).max(1) as f64;
        Duration::try_from_secs_f64(per_step * (self.steps - step) as f64).unwrap_or(Duration::MAX)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        terminal::set_bar(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_not_drawn_towards_zero() {
        let mut loss = Smoothed::default();
        assert!((loss.add(3.0) - 3.0).abs() < 1e-12);
        assert!((loss.add(5.0) - (0.98 * 3.0 + 5.0) / 1.98).abs() < 1e-12);
    }
}
