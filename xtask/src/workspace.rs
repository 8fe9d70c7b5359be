//! What cargo says about the workspace, and the few steps that several tasks share.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::mistake::Mistake;

/// The answer of `cargo metadata --no-deps`, as far as the tasks need it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    pub(crate) target_directory: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: std::collections::BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

/// One line of a crate's dependency tables.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// Name of the package, even where the crate renames it.
    pub(crate) name: String,
    pub(crate) kind: Option<DependencyKind>,
}

/// The table a dependency stands in; cargo says `null` for the ordinary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DependencyKind {
    Dev,
    Build,
}

/// Something cargo can build from a crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// Asks cargo about the workspace this program was built from.
pub(crate) fn load() -> Result<Workspace> {
    let sh = shell()?;
    let answer = cmd!(sh, "cargo metadata --format-version 1 --no-deps")
        .quiet()
        .read()
        .context("cargo metadata failed; is cargo on the PATH?")?;
    serde_json::from_str(&answer).context("cannot read the answer of cargo metadata")
}

/// A shell that stands in the root of the workspace.
pub(crate) fn shell() -> Result<Shell> {
    let sh = Shell::new()?;
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    sh.change_dir(member.parent().unwrap_or(member));
    Ok(sh)
}

/// Builds `ct` for speed, with cargo's progress on the terminal, and returns the path of the program.
pub(crate) fn build_ct(workspace: &Workspace) -> Result<PathBuf> {
    build_ct_with(workspace, &[])
}

/// As [`build_ct`], with these features.
pub(crate) fn build_ct_with(workspace: &Workspace, features: &[&str]) -> Result<PathBuf> {
    let sh = shell()?;
    let features = features.iter().flat_map(|feature| ["--features", *feature]);
    cmd!(sh, "cargo build --release --package ct-cli {features...}")
        .run()
        .context("ct did not build; the compiler's message stands above")?;
    let program = format!("ct{}", std::env::consts::EXE_SUFFIX);
    Ok(workspace.target_directory.join("release").join(program))
}

/// Whether the driver lists a device: `nvidia-smi -L` prints a line for each.
pub(crate) fn has_cuda_device() -> bool {
    std::process::Command::new("nvidia-smi")
        .arg("-L")
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"GPU"))
}

/// The program that was named, or `ct`, built for it.
pub(crate) fn ct_program(workspace: &Workspace, named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(program) => {
            Ok(program.canonicalize().map_err(|error| Mistake(format!("{}: {error}", program.display())))?)
        }
        None => build_ct(workspace),
    }
}

/// Writes `table.md` and `table.json` into a folder.
pub(crate) fn write_tables(out: &Path, markdown: String, rows: &[Value]) -> Result<()> {
    let path = out.join("table.md");
    std::fs::write(&path, markdown).with_context(|| format!("cannot write {}", path.display()))?;
    write_json(&out.join("table.json"), &rows)
}

/// Writes something as JSON that people can read.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
