//! `cargo xtask pack --device cuda`: a folder to carry to a GPU machine that has no Rust.
//!
//! It holds the program, the tests of the operations, a bench, the presets, the scripts that measure `PyTorch`, and a
//! `run.sh` that runs all of it there and writes what it found below `$OUT`; beside it lies the same as one compressed file.
//! Every program that links candle's CUDA side holds all its kernels, so that there are no more than three.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::workspace::{self, Workspace};

/// What is done on the GPU machine.
const RUN: &str = include_str!("pack/run.sh");
/// The compressed pack is to stay below this.
const MAX_BYTES: u64 = 64 << 20;

/// Arguments of `cargo xtask pack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask pack --device cuda
  scp target/xtask/pack-cuda.tar.gz gpu:  and there:
  tar xzf pack-cuda.tar.gz && OUT=results pack-cuda/run.sh python3")]
pub(crate) struct Args {
    /// What the programs are built for.
    #[arg(long, value_enum)]
    device: Device,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Device {
    /// An NVIDIA GPU; needs the CUDA toolkit here, but no GPU.
    Cuda,
}

impl Device {
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
        }
    }
}

/// One line of cargo's report, as far as it names a program.
#[derive(Deserialize)]
struct Artifact {
    target: Option<workspace::Target>,
    executable: Option<PathBuf>,
}

/// Builds and packs.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let folder = pack(&workspace, args.device)?;
    let archive = compress(&folder)?;
    let bytes = fs::metadata(&archive).with_context(|| format!("{} is not there", archive.display()))?.len();
    println!("{}\n{} ({:.1} MiB)", folder.display(), archive.display(), bytes as f64 / f64::from(1 << 20));
    ensure!(bytes < MAX_BYTES, "the pack is larger than {} MiB", MAX_BYTES >> 20);
    Ok(ExitCode::SUCCESS)
}

/// Packs, and runs the pack on this machine; says so where there is no device.
pub(crate) fn run_here(workspace: &Workspace, peer: Option<&Path>) -> Result<ExitCode> {
    if !workspace::has_cuda_device() {
        println!("skipped: no CUDA device");
        return Ok(ExitCode::SUCCESS);
    }
    let folder = pack(workspace, Device::Cuda)?;
    let out = workspace.target_directory.join("xtask").join("out-cuda");
    let mut run = Command::new("bash");
    run.arg(folder.join("run.sh")).args(peer).env("OUT", &out).env("CT_NO_TESTS", "1");
    let status = run.status().context("cannot start bash")?;
    println!("{}", out.display());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fills the folder anew.
fn pack(workspace: &Workspace, device: Device) -> Result<PathBuf> {
    let sh = workspace::shell()?;
    let ct = workspace::build_ct_with(workspace, &[device.name()])?;
    let tests = build(&sh, device, "ct-kernels", ["--test", "it"])?;
    let steps = build(&sh, device, "ct-train", ["--bench", "device_steps"])?;
    let folder = workspace.target_directory.join("xtask").join(format!("pack-{}", device.name()));
    sh.remove_path(&folder)?;
    for part in ["tests", "bench/pytorch", "presets"] {
        sh.create_dir(folder.join(part))?;
    }
    for (program, place) in [(ct, "ct"), (tests, "tests/kernels"), (steps, "bench/device_steps")] {
        let place = folder.join(place);
        sh.copy_file(program, &place)?;
        cmd!(sh, "strip {place}").run().context("cannot strip a program; is binutils there?")?;
    }
    copy_all(&sh, &workspace.root.join("presets"), "toml", &folder.join("presets"))?;
    copy_all(&sh, &workspace.root.join("bench"), "toml", &folder.join("bench"))?;
    copy_all(&sh, &workspace.root.join("bench/pytorch"), "py", &folder.join("bench/pytorch"))?;
    let script = folder.join("run.sh");
    sh.write_file(&script, RUN)?;
    cmd!(sh, "chmod +x {script}").run()?;
    let commit = cmd!(sh, "git describe --always --dirty").ignore_stderr().quiet().read();
    sh.write_file(folder.join("COMMIT"), commit.unwrap_or_else(|_| "unknown".to_owned()) + "\n")?;
    Ok(folder)
}

/// A program of tests or benches, such as `["--test", "it"]` of a crate.
fn build(sh: &Shell, device: Device, package: &str, target: [&str; 2]) -> Result<PathBuf> {
    let feature = format!("{package}/{}", device.name());
    let [kind, name] = target;
    let report = cmd!(
        sh,
        "cargo test --release --no-run --package {package} {kind} {name} --features {feature} --message-format json-render-diagnostics"
    )
    .read()
    .with_context(|| format!("{kind} {name} did not build; the compiler's message stands above"))?;
    let program = report.lines().find_map(|line| program(line, kind.trim_start_matches('-')));
    program.with_context(|| format!("cargo names no program of {kind} {name}"))
}

/// The program of this kind, `test` or `bench`, that a line of cargo's report names.
fn program(line: &str, kind: &str) -> Option<PathBuf> {
    let Artifact { target, executable } = serde_json::from_str(line).ok()?;
    target.filter(|target| target.kind.iter().any(|of_target| of_target == kind))?;
    executable
}

fn copy_all(sh: &Shell, from: &Path, extension: &str, to: &Path) -> Result<()> {
    for path in sh.read_dir(from)? {
        if path.extension().is_some_and(|of_path| of_path == extension) {
            sh.copy_file(&path, to)?;
        }
    }
    Ok(())
}

/// The folder as one file beside it.
fn compress(folder: &Path) -> Result<PathBuf> {
    let sh = workspace::shell()?;
    let archive = folder.with_extension("tar.gz");
    let parent = folder.parent().context("the folder has a parent")?;
    let name = folder.file_name().context("the folder has a name")?;
    cmd!(sh, "tar -C {parent} -czf {archive} {name}").run().context("cannot compress the pack")?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_was_built_is_found() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"name":"it","kind":["test"]},"executable":"/a/it-1"}"#;
        assert_eq!(program(line, "test"), Some(PathBuf::from("/a/it-1")));
        assert_eq!(program(line, "bench"), None);
        for other in [
            r#"{"target":{"name":"ct_kernels","kind":["lib"]},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not json",
        ] {
            assert_eq!(program(other, "test"), None, "{other}");
        }
    }

    /// The script is run by whatever shell the other machine has under this name.
    #[test]
    fn the_script_is_one_that_bash_reads() {
        let Ok(status) = Command::new("bash").args(["-n", "-c", RUN]).status() else { return };
        assert!(status.success());
        assert!(RUN.starts_with("#!/usr/bin/env bash"));
    }
}
