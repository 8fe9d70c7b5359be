//! How much is measured: for a number to publish, or for a first impression.

use std::time::Duration;

/// How much is measured in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Options of criterion beyond what each bench sets.
    pub(super) criterion: &'static [&'static str],
    /// Options of `bench/pytorch/run.py`.
    pub(super) peer: &'static [&'static str],
    /// How often a whole process of ours is run.
    pub(super) processes: usize,
    /// How often the peer's is, which takes seconds to start.
    pub(super) peer_processes: usize,
    /// How long a question may wait for a quiet machine.
    pub(super) patience: Duration,
    /// How often ours and the peer's are measured in turn, unless the command line says so.
    pub(super) rounds: usize,
}

impl Effort {
    pub(super) const FULL: Self = Self {
        criterion: &["--nresamples", "1000"],
        peer: &["--runs", "5", "--seconds", "1"],
        processes: 20,
        peer_processes: 3,
        patience: Duration::from_mins(2),
        rounds: 3,
    };
    pub(super) const QUICK: Self = Self {
        criterion: &[
            "--nresamples",
            "1000",
            "--sample-size",
            "10",
            "--warm-up-time",
            "0.3",
            "--measurement-time",
            "0.5",
        ],
        peer: &["--runs", "3", "--seconds", "0.3", "--warmup", "1"],
        processes: 5,
        peer_processes: 1,
        patience: Duration::from_secs(10),
        rounds: 1,
    };
}
