//! How far a run is, read from its folder alone: `latest` names the newest whole checkpoint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::killer::Pace;

/// Folder of the checkpoints inside a run folder.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// File that holds the name of the newest checkpoint.
const LATEST: &str = "latest";

/// What the name of a checkpoint starts with; its step follows.
const STEP_PREFIX: &str = "step-";

/// The newest checkpoint folder, if the run has written one.
pub(super) fn latest_checkpoint(run: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(run.join(LATEST)).ok()?;
    let folder = run.join(CHECKPOINTS).join(Path::new(text.trim()).file_name()?);
    folder.is_dir().then_some(folder)
}

/// The step of the newest checkpoint, if the run has written one.
pub(super) fn latest_step(run: &Path) -> Option<u64> {
    step_of(latest_checkpoint(run)?.file_name()?.to_str()?)
}

fn step_of(checkpoint: &str) -> Option<u64> {
    checkpoint.strip_prefix(STEP_PREFIX)?.parse().ok()
}

/// Measures a run from outside by its first and its last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Clock {
    first: Option<(f64, u64)>,
    last: Option<(f64, u64)>,
}

impl Clock {
    /// Notes the step that is on disk at this moment; moments without news change nothing.
    pub(super) fn observe(&mut self, elapsed: Duration, step: Option<u64>) {
        let Some(step) = step else { return };
        if self.last.is_none_or(|(_, known)| known < step) {
            self.last = Some((elapsed.as_secs_f64(), step));
            self.first = self.first.or(self.last);
        }
    }

    /// Time before the first step and time per step, once two checkpoints were seen.
    pub(super) fn pace(&self) -> Option<Pace> {
        let ((first_secs, first_step), (last_secs, last_step)) = (self.first?, self.last?);
        let steps = last_step.checked_sub(first_step).filter(|steps| *steps > 0)?;
        let step_secs = (last_secs - first_secs) / steps as f64;
        Some(Pace { start_secs: (first_secs - step_secs * first_step as f64).max(0.0), step_secs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_names() {
        assert_eq!(step_of("step-00000120"), Some(120));
        assert_eq!(step_of("step-7"), Some(7));
        assert_eq!(step_of(".step-7.tmp"), None);
        assert_eq!(step_of("step-"), None);
    }

    #[test]
    fn the_newest_checkpoint_is_the_one_that_latest_names() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(latest_step(run.path()), None);
        std::fs::create_dir_all(run.path().join("checkpoints/step-0010")).unwrap();
        std::fs::write(run.path().join("latest"), "step-0010\n").unwrap();
        assert_eq!(latest_step(run.path()), Some(10));
        std::fs::write(run.path().join("latest"), "checkpoints/step-0020").unwrap();
        assert_eq!(latest_step(run.path()), None, "a name without its folder is no checkpoint");
    }

    #[test]
    fn the_clock_splits_start_from_steps() {
        let mut clock = Clock::default();
        let at = |clock: &mut Clock, secs, step| clock.observe(Duration::from_secs_f64(secs), step);
        at(&mut clock, 0.5, None);
        at(&mut clock, 2.0, Some(10));
        assert!(clock.pace().is_none());
        at(&mut clock, 2.1, Some(10));
        at(&mut clock, 3.0, Some(20));
        at(&mut clock, 9.0, Some(20));
        let pace = clock.pace().unwrap();
        assert!((pace.step_secs - 0.1).abs() < 1e-12);
        assert!((pace.start_secs - 1.0).abs() < 1e-12);
    }
}
