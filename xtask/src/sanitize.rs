//! `cargo xtask sanitize`: the tests of the kernels under the address sanitizer, which sees every read and write
//! outside of what was allocated, vector instructions included.
//!
//! The sanitizer is an unstable option of the compiler, but its runtime comes with every toolchain;
//! `RUSTC_BOOTSTRAP` unlocks the option. Everything is built into a folder of its own, `target/sanitize`.
//! The `--target` is named so that build scripts and procedural macros stay without it.
//!
//! Not here: the thread sanitizer, which needs a standard library built with it, and that needs a nightly toolchain
//! with the sources (`-Zbuild-std`); and Miri, which needs a nightly component and cannot run vector intrinsics.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::mistake::Mistake;
use crate::workspace;

/// The crate that may hold `unsafe`.
const PACKAGE: &str = "ct-kernels";

/// Where the runtime of the address sanitizer exists and is tried.
const TARGETS: [&str; 3] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"];

/// Arguments of `cargo xtask sanitize`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask sanitize\n  cargo xtask sanitize conv\n  \
                        CT_TEST_CASES=2000 cargo xtask sanitize random")]
pub(crate) struct Args {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Builds and runs the tests.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let sh = workspace::shell()?;
    let target = target(&sh)?;
    let folder = workspace.target_directory.join("sanitize");
    // Exact buffers: see `cpu/conv/scratch.rs`.
    let flags = "-Zsanitizer=address --cfg ct_sanitize -Cforce-frame-pointers=yes";
    let filter = &args.filter;
    let tests = cmd!(
        sh,
        "cargo test --package {PACKAGE} --lib --tests --target {target} --target-dir {folder} -- {filter...}"
    )
    .env("RUSTC_BOOTSTRAP", "1")
    .env("RUSTFLAGS", flags);
    tests.run().context("a test failed, or the sanitizer found something: its report stands above")?;
    println!("the address sanitizer found nothing in the tests of {PACKAGE}");
    Ok(ExitCode::SUCCESS)
}

/// The target of this machine, if its toolchain has the sanitizer.
fn target(sh: &Shell) -> Result<String> {
    let version = cmd!(sh, "rustc -vV").quiet().read().context("cannot run rustc")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    if !TARGETS.contains(&&*host) {
        bail!(Mistake(format!(
            "there is no address sanitizer for {host}; run this on one of {}",
            TARGETS.join(", ")
        )));
    }
    let libraries: PathBuf = cmd!(sh, "rustc --print target-libdir").quiet().read()?.into();
    let is_runtime = |name: &str| name.contains("_rt.asan.");
    let has_runtime = std::fs::read_dir(&libraries)
        .with_context(|| format!("cannot read {}", libraries.display()))?
        .flatten()
        .any(|entry| is_runtime(&entry.file_name().to_string_lossy()));
    if !has_runtime {
        bail!(Mistake(format!(
            "this toolchain has no address sanitizer in {}; install one with `rustup toolchain install stable`",
            libraries.display()
        )));
    }
    Ok(host)
}
