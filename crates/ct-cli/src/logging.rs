//! Logs on the standard error: `-v`, `RUST_LOG`, `--log-json`.

use tracing_subscriber::EnvFilter;

use crate::terminal;

/// Starts logging. `RUST_LOG` goes before `-v`; warnings are shown in any case.
pub(crate) fn init(verbose: u8, json: bool) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| terminal::Log).with_ansi(false);
    if json {
        builder.json().init();
    } else {
        builder.without_time().with_target(verbose > 1).init();
    }
}
