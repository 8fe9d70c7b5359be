//! `cargo xtask bench`: our measurements, beside `PyTorch`'s of the same machine in the same sitting.
//!
//! Ours come from the criterion benches of the crates; the peer's from the scripts in `bench/pytorch`.
//! A row is printed for what we measured; where the peer has no number of that name, its column stays empty.
//! Nothing is estimated, and nothing is kept from an earlier sitting.

mod criterion;
mod peer;
mod rows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use self::rows::Measurement;
use crate::workspace::{self, Workspace};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --peer ~/venv/bin/python"
)]
pub(crate) struct Args {
    /// Fewer repetitions: a first impression, no number to publish.
    #[arg(long)]
    quick: bool,
    /// A Python that can import torch; its measurements go beside ours.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
}

/// Measures, prints the table, and writes `bench.json` into `target/xtask`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let sh = workspace::shell()?;
    if let Some(python) = &args.peer {
        peer::check(&sh, python)?;
    }
    let ours = measure_ours(&sh, &workspace, args.quick)?;
    let peers = match &args.peer {
        Some(python) => peer::measure(&sh, python, args.quick)?,
        None => Vec::new(),
    };
    let rows = rows::join(&ours, &peers, &commit(&sh));
    print!("{}", rows::table(&rows));
    let alone: Vec<&str> = rows::without_ours(&ours, &peers);
    if !alone.is_empty() {
        println!("measured by the peer only: {}", alone.join(", "));
    }
    let path = write_rows(&workspace.target_directory, &rows)?;
    println!("{} rows in {}", rows.len(), path.display());
    Ok(ExitCode::SUCCESS)
}

/// Everything we can measure of ourselves.
/// Another source of rows (the whole training step, measured by `ct`) joins here.
fn measure_ours(sh: &Shell, workspace: &Workspace, quick: bool) -> Result<Vec<Measurement>> {
    let benches = criterion::bench_targets(workspace);
    if benches.is_empty() {
        println!("no crate has benches yet");
        return Ok(Vec::new());
    }
    let home = workspace.target_directory.join("criterion");
    let start = SystemTime::now();
    let mode = quick.then_some("--quick");
    cmd!(sh, "cargo bench {benches...} -- {mode...}")
        .env("CRITERION_HOME", &home)
        .run()
        .context("cargo bench failed; its message stands above")?;
    criterion::measurements_since(&home, start)
}

/// The commit that was measured, marked where the working tree differs from it.
fn commit(sh: &Shell) -> String {
    let Ok(commit) = cmd!(sh, "git rev-parse --short HEAD").quiet().ignore_stderr().read() else {
        return "none".to_owned();
    };
    let changes = cmd!(sh, "git status --porcelain").quiet().ignore_stderr().read();
    if changes.is_ok_and(|changes| changes.is_empty()) { commit } else { format!("{commit}+changes") }
}

fn write_rows(target: &Path, rows: &[rows::Row]) -> Result<PathBuf> {
    let folder = target.join("xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("bench.json");
    let text = serde_json::to_string_pretty(rows).context("cannot write the rows as JSON")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
