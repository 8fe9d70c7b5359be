//! `cargo xtask bench`: our measurements, beside `PyTorch`'s of the same machine in the same sitting.
//!
//! Ours come from the benches of the crates and from `ct`; the peer's from the scripts in `bench/pytorch`.
//! Everything is built first.
//! Then each question is put to us and to the peer in turn, a few rounds of it, each time when the machine is quiet.
//! A row holds the medians over all rounds; where the peer has no number of that name, its column stays empty.
//! Nothing is estimated, and nothing is kept from an earlier sitting.

mod criterion;
mod effort;
mod peer;
mod plot;
mod process;
mod programs;
mod question;
mod quiet;
mod rows;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xshell::{Shell, cmd};

use self::effort::Effort;
use self::peer::Peer;
use self::question::{How, Question};
use self::quiet::Patience;
use self::rows::{Measured, Row, Sitting};
use crate::{pack, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench --quick --filter conv3x3
  cargo xtask bench --peer ~/venv/bin/python
  cargo xtask bench --peer ~/venv/bin/python --filter train_step --filter memory
  cargo xtask bench --device cuda --peer ~/venv/bin/python
  cargo xtask bench --plot                      draws the series of the last sitting")]
pub(crate) struct Args {
    /// Where to measure: cpu, or cuda, which runs what `cargo xtask pack` would carry to a GPU machine.
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Fewer repetitions: a first impression, no number to publish.
    #[arg(long)]
    quick: bool,
    /// A Python that can import torch and diffusers; its measurements go beside ours.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Measure only what has this in its name (may be given several times).
    #[arg(long = "filter", value_name = "SUBSTRING")]
    filters: Vec<String>,
    /// How often ours and the peer's are measured in turn [default: 3, or 1 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Threads of both sides [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Measure nothing: draw the scaling series of the last sitting into docs/images.
    #[arg(long, conflicts_with_all = ["quick", "peer", "filters", "rounds", "threads"])]
    plot: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first CUDA device; skipped where there is none.
    Cuda,
}

/// Measures, prints the table, and writes `bench.json` into `target/xtask`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    if args.device == Device::Cuda {
        return pack::run_here(&workspace, args.peer.as_deref());
    }
    let path = rows::path(&workspace.target_directory);
    let sh = workspace::shell()?;
    if args.plot {
        let picture = workspace.root.join(plot::PICTURE);
        plot::draw(&sh, &rows::read(&path)?, &path, &picture)?;
        println!("{}", picture.display());
        return Ok(ExitCode::SUCCESS);
    }
    let peer = args.peer.as_ref().map(|python| Peer::new(&sh, python)).transpose()?;
    let questions = question::select(programs::questions(&sh, &workspace)?, &args.filters)?;
    prepare(&questions)?;
    if !quiet::is_known() {
        eprintln!("note: this system does not say how busy it is (no /proc/stat); see that it is quiet");
    }

    let sitting = Sitting { commit: commit(&sh), threads: threads(args) };
    let mut rows = Vec::new();
    let mut num_failed = 0;
    for (idx, question) in questions.iter().enumerate() {
        eprintln!("[{}/{}] {}", idx + 1, questions.len(), question.name);
        match measure(question, peer.as_ref(), args, sitting.threads) {
            Ok(measured) => rows.extend(Row::new(&question.name, question.unit(), &measured, &sitting)),
            // The other questions are still worth their hour.
            Err(error) => {
                eprintln!("  error: {error:#}");
                num_failed += 1;
            }
        }
        rows::write(&path, &rows)?;
    }
    print!("{}", rows::table(&rows));
    println!("{} rows in {}", rows.len(), path.display());
    if num_failed > 0 {
        eprintln!("error: {num_failed} measurements failed; their messages stand above");
    }
    Ok(if num_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All rounds of one question.
fn measure(question: &Question, peer: Option<&Peer>, args: &Args, threads: usize) -> Result<Measured> {
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let mut patience = Patience::new(effort.patience);
    let mut measured = Measured::default();
    for _ in 0..question.rounds(args.rounds.map_or(effort.rounds, usize::from)) {
        patience.wait();
        let (ours, work) = question.ask_us(threads, &effort)?;
        measured.ours.extend(ours);
        measured.work = work;
        if let Some(peer) = peer {
            patience.wait();
            measured.peers.extend(question.ask_peer(peer, threads, &effort)?.unwrap_or_default());
        }
    }
    measured.noisy = patience.gave_up();
    Ok(measured)
}

/// What has to be there before the first measurement.
fn prepare(questions: &[Question]) -> Result<()> {
    for question in questions {
        if let How::Process { folder } = &question.how {
            folder.make()?;
        }
    }
    Ok(())
}

fn threads(args: &Args) -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or(all, usize::from)
}

/// The commit that was measured, marked where the working tree differs from it.
fn commit(sh: &Shell) -> String {
    let Ok(commit) = cmd!(sh, "git rev-parse --short HEAD").quiet().ignore_stderr().read() else {
        return "none".to_owned();
    };
    let changes = cmd!(sh, "git status --porcelain").quiet().ignore_stderr().read();
    if changes.is_ok_and(|changes| changes.is_empty()) { commit } else { format!("{commit}+changes") }
}
