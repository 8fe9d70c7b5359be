//! ctrl-C and SIGTERM: the first ends the run after its step, the second ends the program.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::terminal;

/// Exit code of a program that was interrupted.
pub(crate) const EXIT_CODE: u8 = 130;

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Takes over ctrl-C and SIGTERM.
#[expect(clippy::exit, reason = "whoever asks twice does not want to wait for the end of a step")]
pub(crate) fn listen() -> Result<()> {
    let hear = || {
        if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(i32::from(EXIT_CODE));
        }
        terminal::note("stopping after this step, then saving; once more to quit at once");
    };
    ctrlc::set_handler(hear).context("cannot take over ctrl-C")
}

/// Whether there was a signal.
pub(crate) fn is_requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0
}
