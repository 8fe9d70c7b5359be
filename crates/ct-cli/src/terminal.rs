//! The terminal: the only place that writes to it.
//!
//! A reader that goes away (`ct inspect DIR | head`) is no error, so nothing here fails.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// The bar that is on the screen; it steps aside while a line is written.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes a line to the standard output.
pub(crate) fn say(line: impl Display) {
    beside_bar(|| _ = writeln!(io::stdout(), "{line}"));
}

/// Writes a line to the standard error.
pub(crate) fn note(line: impl Display) {
    beside_bar(|| _ = writeln!(io::stderr(), "{line}"));
}

/// Asks a question that is answered with enter or `y` for yes.
pub(crate) fn ask(question: &str) -> bool {
    beside_bar(|| _ = write!(io::stderr(), "{question} [Y/n] ").and_then(|()| io::stderr().flush()));
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        // The end of the input is no answer.
        Ok(0) | Err(_) => false,
        Ok(_) => matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"),
    }
}

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether a progress bar can be drawn.
pub(crate) fn can_draw() -> bool {
    io::stderr().is_terminal()
}

/// Puts a bar on the screen, or takes it away.
pub(crate) fn set_bar(bar: Option<ProgressBar>) {
    if let Some(old) = std::mem::replace(&mut *BAR.lock().unwrap_or_else(PoisonError::into_inner), bar) {
        old.finish_and_clear();
    }
}

/// Does work that tells how far it is, with a bar on a terminal.
pub(crate) fn with_bar<T>(
    what: &'static str,
    num: usize,
    work: impl FnOnce(&mut dyn FnMut(usize)) -> T,
) -> T {
    if !can_draw() {
        return work(&mut |_| ());
    }
    let bar = ProgressBar::new(num as u64).with_message(what);
    // The template is a constant that is known to be one.
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    set_bar(Some(bar.clone()));
    let done = work(&mut |done| bar.set_position(done as u64));
    set_bar(None);
    done
}

fn beside_bar(write: impl FnOnce()) {
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// The standard error as a place for logs, one whole line at a time.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        beside_bar(|| _ = io::stderr().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
