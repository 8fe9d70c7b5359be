//! `cargo xtask curve`: one training three ways, from the same weights on the same numbers.
//!
//! `ct` with its fast kernels, `ct` with the strict ones (`CT_KERNELS_STRICT=1`), and PyTorch
//! (`bench/pytorch/curve.py`, which makes images, noise levels and noise by itself) train the digits by improved
//! consistency training, with RAdam. In the first steps the losses agree to many digits. Then the rounding, which differs,
//! grows as in every training, until the runs differ as two runs do; their curves must still tell the same story.
//! A fourth run, with another seed, shows what difference is only noise.

mod draw;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use self::report::{Curve, Report};
use crate::mistake::Mistake;
use crate::workspace;

const SCRIPT: &str = "bench/pytorch/curve.py";
const PLOT: &str = "docs/images/curve.png";

/// Arguments of `cargo xtask curve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask curve --peer ~/venv/bin/python")]
pub(crate) struct Args {
    /// A Python that can import torch and diffusers.
    #[arg(long, value_name = "PYTHON", required_unless_present = "draw_only")]
    peer: Option<PathBuf>,
    /// Length of the training.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    steps: u64,
    /// Threads of each training.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Use this program instead of building `ct`.
    #[arg(long, value_name = "FILE")]
    ct: Option<PathBuf>,
    /// Train nothing: draw what the last sitting left.
    #[arg(long)]
    draw_only: bool,
}

/// Trains, compares, and writes `target/xtask/curve.json` and `docs/images/curve.png`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let folder = workspace.target_directory.join("xtask").join("curve");
    if let (false, Some(python)) = (args.draw_only, &args.peer) {
        train(args, python, &workspace, &folder)?;
    }
    let curves = Curve::NAMES.map(|name| read(&folder, name));
    let [fast, strict, pytorch, other_seed] = curves;
    let report = Report::new(fast?, strict?, pytorch?, other_seed?)?;
    print!("{}", report.table());

    let json = folder.with_extension("json");
    let text = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
    std::fs::write(&json, text + "\n").with_context(|| format!("cannot write {}", json.display()))?;
    let plot = workspace.root.join(PLOT);
    draw::draw(&report)?.save(&plot).with_context(|| format!("cannot write {}", plot.display()))?;
    println!("numbers in {}, picture in {}", json.display(), plot.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs all four trainings, one after the other.
fn train(args: &Args, python: &Path, workspace: &workspace::Workspace, folder: &Path) -> Result<()> {
    let imports = Command::new(python).args(["-c", "import torch, diffusers"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        bail!(Mistake(format!(
            "{} cannot import torch and diffusers; give a Python that can",
            python.display()
        )));
    }
    let ct = match &args.ct {
        Some(program) => {
            program.canonicalize().map_err(|error| Mistake(format!("{}: {error}", program.display())))?
        }
        None => workspace::build_ct(workspace)?,
    };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;

    let ours = |name: &str, strict: &str, more: &[&str]| {
        let mut command = Command::new(&ct);
        command.env("CT_KERNELS_STRICT", strict).args(["train", "digits", "--threads"]);
        command.arg(args.threads.to_string()).arg("--out").arg(folder.join(name)).args(more);
        for setting in settings(args.steps) {
            command.args(["--set", &setting]);
        }
        finish(command, name)
    };
    ours("start", "0", &["--stop-after", "0"])?;
    ours("fast", "0", &[])?;
    ours("strict", "1", &[])?;
    ours("other-seed", "0", &["--seed", "1"])?;

    let out = folder.join("pytorch");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut script = Command::new(python);
    script.arg(workspace.root.join(SCRIPT)).arg("--threads").arg(args.threads.to_string());
    script.arg("--run").arg(folder.join("start")).arg("--out").arg(out.join("metrics.jsonl"));
    finish(script, "pytorch")
}

/// What is trained: the network and the data of the preset, with a teacher from the first step on.
fn settings(steps: u64) -> [String; 6] {
    [
        "train.recipe=ict".to_owned(),
        format!("train.steps={steps}"),
        format!("checkpoint.every_steps={steps}"),
        format!("sample.every_steps={steps}"),
        "metrics.every_steps=1".to_owned(),
        "score.num=0".to_owned(),
    ]
}

fn finish(mut command: Command, name: &str) -> Result<()> {
    println!("\n== {name}");
    let start = std::time::Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(status.success(), "the training {name} failed ({status}); its message stands above");
    println!("== {name}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// One line of `metrics.jsonl`, as far as it matters here.
#[derive(Deserialize)]
struct Line {
    loss: f64,
}

fn read(folder: &Path, name: &str) -> Result<Curve> {
    let path = folder.join(name).join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Mistake(format!("{}: {error}; run `cargo xtask curve --peer PYTHON` first", path.display()))
    })?;
    let losses = text
        .lines()
        .map(|line| Ok(serde_json::from_str::<Line>(line)?.loss))
        .collect::<Result<Vec<f64>>>()
        .with_context(|| format!("{} is not what a training writes", path.display()))?;
    Ok(Curve { name: name.to_owned(), losses })
}
