//! Where the model is in what `--model` names.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ct_train::RunFolder;

use crate::mistake::mistake;

/// What a folder holds, told by the files that only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model folder in the layout of diffusers.
    Model,
    /// A checkpoint: model folders, and the state of a run.
    Checkpoint,
    /// A run, with its checkpoints.
    Run,
}

/// What the folder `dir` holds.
pub(crate) fn kind(dir: &Path) -> Result<Kind> {
    if dir.join("unet/config.json").is_file() || dir.join("config.json").is_file() {
        Ok(Kind::Model)
    } else if dir.join("state.json").is_file() {
        Ok(Kind::Checkpoint)
    } else if dir.join("config.toml").is_file() {
        Ok(Kind::Run)
    } else if dir.exists() {
        Err(mistake(format!(
            "{} holds no model: it has neither unet/config.json or config.json (a model folder), state.json (a checkpoint) nor config.toml (a run)",
            dir.display()
        )))
    } else {
        Err(mistake(format!(
            "{} not found, expected a model folder, a checkpoint or a run folder",
            dir.display()
        )))
    }
}

/// The model folder that `dir` is or holds: of a checkpoint the first average, of a run that of its newest whole checkpoint.
pub(crate) fn find(dir: &Path) -> Result<PathBuf> {
    Ok(match kind(dir)? {
        Kind::Model => dir.to_path_buf(),
        Kind::Checkpoint => ct_train::first_average(dir)?,
        Kind::Run => RunFolder::open(dir)?.model()?,
    })
}
