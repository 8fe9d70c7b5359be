//! `cargo xtask train`: build `ct` in release, then become it.
//!
//! On Unix this process is replaced by `ct`, so ctrl-C, the terminal and the exit code are `ct`'s own.
//! Elsewhere it waits for `ct`, ignores ctrl-C (which the console sends to both), and passes the exit code on.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::workspace;

/// What is trained when nothing is named: small, embedded, a few minutes on two cores.
const DEFAULT_PRESET: &str = "digits";

/// Arguments of `cargo xtask train`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "cargo xtask train [PRESET] [ARGUMENTS OF ct train]...",
    after_help = "Examples:\n  cargo xtask train\n  cargo xtask train digits --set train.steps=500\n  \
                  cargo xtask train digits --device cuda\n  \
                  cargo xtask train --resume runs/digits\n  cargo xtask train -- --help"
)]
pub(crate) struct Args {
    /// The preset (`digits` when none is named), then anything that `ct train` understands.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Builds `ct` and runs `ct train` with the arguments.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let features: &[&str] = if is_for_cuda(&args.args) { &["cuda"] } else { &[] };
    let ct = workspace::build_ct_with(&workspace, features)?;
    let mut command = Command::new(ct);
    command.arg("train").args(ct_arguments(&args.args));
    become_child(command)
}

/// Adds the default preset where the arguments name nothing to train.
/// Drops the `--` between the preset and the rest, which is for cargo's habit and not for `ct`.
fn ct_arguments(args: &[OsString]) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.to_vec();
    if let Some(dashes) = args.iter().position(|arg| arg == "--") {
        args.remove(dashes);
    }
    let names_a_preset = args.first().is_some_and(|arg| !starts_with_dash(arg));
    let names_a_source = args.iter().any(|arg| is_option(arg, "--config") || is_option(arg, "--resume"));
    if !names_a_preset && !names_a_source {
        args.insert(0, DEFAULT_PRESET.into());
    }
    args
}

fn starts_with_dash(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

/// Whether the arguments hold `--device cuda`, with the number of a GPU or without.
fn is_for_cuda(args: &[OsString]) -> bool {
    let is_cuda = |name: &[u8]| name.starts_with(b"cuda");
    let pairs = args.windows(2).any(|pair| pair[0] == "--device" && is_cuda(pair[1].as_encoded_bytes()));
    let joined = |arg: &OsString| arg.as_encoded_bytes().strip_prefix(b"--device=").is_some_and(is_cuda);
    pairs || args.iter().any(joined)
}

/// True for `--name` and `--name=value`.
fn is_option(arg: &OsStr, name: &str) -> bool {
    arg.as_encoded_bytes()
        .strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

#[cfg(unix)]
fn become_child(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    Err(anyhow::Error::new(error).context(format!("cannot start {}", command.get_program().display())))
}

#[cfg(not(unix))]
fn become_child(mut command: Command) -> Result<ExitCode> {
    use anyhow::Context as _;
    ctrlc::set_handler(|| ()).context("cannot ignore ctrl-C")?;
    let status =
        command.status().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(args: &[&str]) -> Vec<OsString> {
        ct_arguments(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_named_trains_the_digits() {
        assert_eq!(resolved(&[]), ["digits"]);
        assert_eq!(resolved(&["--set", "train.lr=1e-3"]), ["digits", "--set", "train.lr=1e-3"]);
    }

    #[test]
    fn what_is_named_is_kept() {
        assert_eq!(resolved(&["toy", "--seed", "3"]), ["toy", "--seed", "3"]);
        assert_eq!(resolved(&["--resume", "runs/a"]), ["--resume", "runs/a"]);
        assert_eq!(resolved(&["--config=my.toml"]), ["--config=my.toml"]);
    }

    #[test]
    fn a_gpu_needs_the_feature() {
        let is_for_cuda = |args: &[&str]| is_for_cuda(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(is_for_cuda(&["toy", "--device", "cuda"]) && is_for_cuda(&["--device=cuda:1"]));
        assert!(!is_for_cuda(&["toy", "--device", "cpu"]) && !is_for_cuda(&["--out", "cuda"]));
    }

    #[test]
    fn the_dashes_of_cargo_are_dropped_once() {
        assert_eq!(resolved(&["toy", "--", "--help"]), ["toy", "--help"]);
        assert_eq!(resolved(&["--", "--dry-run"]), ["digits", "--dry-run"]);
    }
}
