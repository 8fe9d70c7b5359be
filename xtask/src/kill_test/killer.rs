//! When to kill, and killing: by the child's own id, with a signal it cannot catch.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::progress::CHECKPOINTS;

/// How often a run is looked at.
pub(super) const POLL: Duration = Duration::from_millis(2);

/// How often the checkpoint folder is looked at before an aimed kill.
const AIM_POLL: Duration = Duration::from_micros(100);

/// How long an aimed kill waits for a write before it strikes anyway.
const AIM_PATIENCE: Duration = Duration::from_secs(20);

/// A kill falls between these parts of an even share of the steps that are left.
/// The upper end is below 2, so even the last kill comes before the run can finish.
const SHARE: [f64; 2] = [0.2, 1.4];

/// How fast the undisturbed run went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) start_secs: f64,
    pub(super) step_secs: f64,
}

/// The pseudo-random moments of the kills: a `SplitMix64` sequence, the same for the same seed.
#[derive(Debug)]
pub(super) struct Moments {
    state: u64,
}

impl Moments {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// How long to wait before the next of `kills_left` kills, with `steps_left` steps to go.
    pub(super) fn next(&mut self, pace: Pace, steps_left: f64, kills_left: u32) -> Duration {
        let share = steps_left / (f64::from(kills_left) + 1.0);
        let steps = share * (SHARE[0] + (SHARE[1] - SHARE[0]) * self.uniform());
        Duration::from_secs_f64(pace.start_secs + steps * pace.step_secs)
    }

    /// A number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What became of a kill.
#[derive(Debug)]
pub(super) enum Strike {
    /// The child was alive until the kill, this long after its start.
    Killed(Duration),
    /// The child had ended by itself.
    TooLate(ExitStatus),
}

/// Waits, then kills; with `aim_at` a run folder, only once something changes among its checkpoints.
pub(super) fn strike(mut child: Child, delay: Duration, aim_at: Option<&Path>) -> Result<Strike> {
    let start = Instant::now();
    while start.elapsed() < delay {
        if let Some(status) = child.try_wait().context("cannot wait for ct")? {
            return Ok(Strike::TooLate(status));
        }
        std::thread::sleep(POLL.min(delay.saturating_sub(start.elapsed())));
    }
    if let Some(run) = aim_at {
        wait_for_a_write(run);
    }
    let after = start.elapsed();
    child.kill().context("cannot kill ct")?;
    let status = child.wait().context("cannot wait for ct")?;
    Ok(if was_killed(status) { Strike::Killed(after) } else { Strike::TooLate(status) })
}

fn wait_for_a_write(run: &Path) {
    let before = listing(run);
    let start = Instant::now();
    while listing(run) == before && start.elapsed() < AIM_PATIENCE {
        std::thread::sleep(AIM_POLL);
    }
}

/// Names of everything among the checkpoints, finished or not.
fn listing(run: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(run.join(CHECKPOINTS)).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    names
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_spread_over_the_run_and_come_before_its_end() {
        let pace = Pace { start_secs: 0.5, step_secs: 0.01 };
        for seed in 0..50 {
            let mut moments = Moments::new(seed);
            let mut steps_left = 300.0;
            for kills_left in (1..=20).rev() {
                let delay = moments.next(pace, steps_left, kills_left).as_secs_f64();
                let steps = (delay - pace.start_secs) / pace.step_secs;
                assert!(steps > 0.0 && steps < steps_left, "{steps} of {steps_left}");
                steps_left -= steps;
            }
        }
    }

    #[test]
    fn moments_repeat_with_their_seed() {
        let draw = |seed| Moments::new(seed).uniform().to_bits();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
