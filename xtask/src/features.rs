//! `cargo xtask features`: train the feature networks that are part of `ct`, as they were trained.
//!
//! The files land in `target/xtask/features` and are compared with those in the repository.
//! Other instructions (AVX2 in the place of AVX-512) round differently, and end in other bytes.
//! Figures are comparable only within one network, so the files in the repository stay as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::mistake::Mistake;
use crate::workspace;

/// Where the files are kept.
const KEPT: &str = "crates/ct-eval/data";

/// Arguments of `cargo xtask features`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask features\n  cargo xtask features --data idx:data/fashion-mnist"
)]
pub(crate) struct Args {
    /// Fashion-MNIST, as `idx:DIR`; without it, only the network for digits is trained.
    #[arg(long, value_name = "idx:DIR")]
    data: Option<String>,
    /// Put the new files in the place of those in the repository; their checksums in the tests and the notice change too.
    #[arg(long)]
    replace: bool,
}

/// Trains each network and says whether it has the bytes of the one in the repository.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    if let Some(data) = &args.data
        && !data.strip_prefix("idx:").is_some_and(|path| Path::new(path).exists())
    {
        bail!(Mistake(format!("--data {data}: expected idx: and a folder with the files of Fashion-MNIST")));
    }
    let folder = workspace.target_directory.join("xtask").join("features");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let fashion = args.data.as_deref().map(|data| ("fashion", data));
    for (name, data) in [("digits", "digits")].into_iter().chain(fashion) {
        let made = folder.join(format!("{name}.safetensors"));
        train(name, data, &made)?;
        let kept = workspace.root.join(KEPT).join(format!("{name}.safetensors"));
        let verdict = if read(&made)? == read(&kept)? {
            "the same bytes as in the repository".to_owned()
        } else if args.replace {
            std::fs::copy(&made, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
            format!("put into {}", kept.display())
        } else {
            format!("other bytes than in the repository, in {}", made.display())
        };
        println!("{name}: {verdict}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains one network, with its progress on the terminal.
fn train(name: &str, data: &str, out: &PathBuf) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "-p", "ct-eval", "--example", "train_features", "--", name, data]);
    let status = command.arg(out).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the training of the feature network `{name}` failed: {status}");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
