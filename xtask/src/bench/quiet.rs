//! Waiting for a quiet machine: what others do beside a measurement changes it, and not for both sides alike.

use std::time::{Duration, Instant};

/// Share of all cores that may be busy: about what an idle system does by itself.
const QUIET: f64 = 0.05;
/// How long the machine is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Time that all cores spent since the system started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    total: u64,
}

/// How long one question may wait altogether, and what came of it.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    gave_up: bool,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { left: limit, gave_up: false }
    }

    /// Whether a measurement began although the machine was busy.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Returns when the machine is quiet, or when the patience is at its end.
    /// A system that does not count its ticks in `/proc/stat` is taken as it is.
    pub(super) fn wait(&mut self) {
        let mut said = false;
        loop {
            let start = Instant::now();
            let Some(busy) = busy_share() else { return };
            if busy < QUIET {
                return;
            }
            if self.left.is_zero() {
                if !self.gave_up {
                    eprintln!("  {:.0}% of the cores are still busy: measuring all the same", 100.0 * busy);
                }
                self.gave_up = true;
                return;
            }
            if !said {
                eprintln!("  waiting: {:.0}% of the cores are busy", 100.0 * busy);
                said = true;
            }
            self.left = self.left.saturating_sub(start.elapsed());
        }
    }
}

/// Whether this system says how busy it is.
pub(super) fn is_known() -> bool {
    read().is_some()
}

/// Share of all cores that was busy in the next second.
fn busy_share() -> Option<f64> {
    let before = read()?;
    std::thread::sleep(LOOK);
    share(before, read()?)
}

fn share(before: Ticks, after: Ticks) -> Option<f64> {
    let total = after.total.checked_sub(before.total).filter(|&total| total > 0)?;
    Some(after.busy.saturating_sub(before.busy) as f64 / total as f64)
}

fn read() -> Option<Ticks> {
    parse(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// Reads `cpu user nice system idle iowait irq softirq steal guest guest_nice`.
/// Guests are counted in user and nice already; a core that waits for a disk is idle.
fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let (total, idle) = (ticks.iter().sum::<u64>(), ticks.get(3)? + ticks.get(4)?);
    Some(Ticks { busy: total - idle, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 5 20 800 40 1 2 32 7 0\ncpu0 50 2 10 400 20 0 1 16 3 0\nintr 5\n";

    #[test]
    fn ticks_are_read_from_the_line_of_all_cores() {
        assert_eq!(parse(STAT), Some(Ticks { busy: 160, total: 1000 }));
        assert_eq!(parse("intr 5\n"), None);
        assert_eq!(parse("cpu  one two\n"), None);
        assert_eq!(parse("cpu  1 2\n"), None);
    }

    #[test]
    fn the_share_is_that_of_the_time_between() {
        let at = |busy, total| Ticks { busy, total };
        assert_eq!(share(at(100, 1000), at(150, 1200)), Some(0.25));
        assert_eq!(share(at(100, 1000), at(100, 1000)), None);
    }
}
