//! Where a run goes: a new folder, or one that holds a run already.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ct_model::folder::Card;
use ct_train::RunFolder;

use crate::mistake::mistake;
use crate::terminal;

/// Where a run goes.
#[derive(Debug)]
pub(crate) enum Place {
    /// A folder that is not there yet, or empty.
    New(PathBuf),
    /// The folder of an unfinished run, which goes on.
    Resume(RunFolder),
}

/// Looks at `out`. If it holds an unfinished run, a person is asked whether to resume it.
pub(crate) fn find(out: &Path) -> Result<Place> {
    let shown = out.display();
    let is_free = !out.exists()
        || (out.is_dir() && std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none()));
    if is_free {
        return Ok(Place::New(out.to_path_buf()));
    }
    let Ok(folder) = RunFolder::open(out) else {
        return Err(mistake(format!(
            "{shown} is there already and holds no run: name another folder with --out"
        )));
    };
    let (made, steps) = (steps_made(&folder)?, steps_planned(&folder)?);
    if made >= steps {
        return Err(mistake(format!(
            "{shown} holds a finished run of {steps} steps; its pictures are in {}\n  to train another one:  name its folder with --out\n  to sample this one:    ct sample --model {shown}",
            out.join("samples").display()
        )));
    }
    let state = format!("{shown} holds an unfinished run (step {made} of {steps})");
    if !terminal::can_ask() {
        return Err(mistake(format!(
            "{state}\n  to resume it:          ct train --resume {shown}\n  to train another one:  name its folder with --out"
        )));
    }
    if terminal::ask(&format!("{state}; resume it?")) {
        Ok(Place::Resume(folder))
    } else {
        Err(mistake("not resumed; to train another one, name its folder with --out"))
    }
}

/// Steps behind the newest whole checkpoint.
fn steps_made(folder: &RunFolder) -> Result<u64> {
    if folder.checkpoint_dirs()?.is_empty() {
        return Ok(0);
    }
    let card = std::fs::read_to_string(folder.model()?.join("ct.json"))?;
    let card: Card = serde_json::from_str(&card)?;
    Ok(card.step.unwrap_or(0))
}

/// Steps that the run is to make.
fn steps_planned(folder: &RunFolder) -> Result<u64> {
    let table: toml::Table = folder.config_toml()?.parse()?;
    let steps = table.get("train").and_then(|train| train.get("steps")).and_then(toml::Value::as_integer);
    Ok(steps.and_then(|steps| u64::try_from(steps).ok()).unwrap_or(u64::MAX))
}
