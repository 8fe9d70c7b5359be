//! `cargo xtask ci`: what must pass before a change goes in, cheapest first, up to the first failure.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use crate::workspace;

/// Runs the stages and prints the time of each.
pub(crate) fn run() -> Result<ExitCode> {
    let sh = workspace::shell()?;
    let stages: [(&str, Cmd<'_>); 5] = [
        ("format", cmd!(sh, "cargo fmt --all --check")),
        ("crate directions", cmd!(sh, "cargo xtask deps")),
        ("lints", cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings")),
        ("docs", docs(&sh)),
        ("tests", cmd!(sh, "cargo xtask test")),
    ];
    let count = stages.len();
    let start = Instant::now();
    for (number, (name, command)) in stages.into_iter().enumerate() {
        run_stage(&format!("{}/{count} {name}", number + 1), &command)?;
    }
    println!("\nci passed in {:.1} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn docs(sh: &Shell) -> Cmd<'_> {
    cmd!(sh, "cargo doc --no-deps --workspace").env("RUSTDOCFLAGS", "-D warnings")
}

fn run_stage(title: &str, command: &Cmd<'_>) -> Result<()> {
    println!("\n== {title}");
    let start = Instant::now();
    command.run().with_context(|| {
        format!("ci stopped at {title}: the message stands above; run `{command}` to repeat this stage alone")
    })?;
    println!("== {title}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
