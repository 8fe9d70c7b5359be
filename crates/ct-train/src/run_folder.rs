//! The folder of a run on disk.
//!
//! ```text
//! config.toml              the resolved configuration
//! metrics.jsonl            one line for each reported step
//! samples/step-*.png       grids from fixed noise
//! checkpoints/step-*/      the last few checkpoints, each whole or absent
//! snapshots/step-*/        all snapshots of the power-function averages, each whole or absent
//! latest                   name of the newest
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ct_model::folder::{self, Card};

use crate::checkpoint::{first_average, read_checkpoint, write_checkpoint};
use crate::snapshot;
use crate::{Error, Result, Snapshot, Trainer};

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const LATEST: &str = "latest";
const PREFIX: &str = "step-";

/// The folder of a run on disk.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new run folder that holds the run's configuration.
    ///
    /// # Errors
    /// A folder of this name that holds something already, or a disk that cannot be written.
    pub fn create(path: &Path, config_toml: &str) -> Result<Self> {
        let occupied = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied || path.is_file() {
            let what = if path.join(CONFIG).is_file() { "it holds a run" } else { "it is not empty" };
            return Err(Error::Checkpoint {
                path: path.to_path_buf(),
                reason: format!("cannot start a run here: {what}; name another folder, or resume the run"),
            });
        }
        let folder = Self { path: path.to_path_buf() };
        folder::write_file(&path.join(CONFIG), config_toml.as_bytes())?;
        Ok(folder)
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// A folder that is not there or holds no run.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() {
            return Err(Error::Checkpoint {
                path: path.to_path_buf(),
                reason: format!("this is not a run folder: it has no {CONFIG}"),
            });
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration of the run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn config_toml(&self) -> Result<String> {
        let path = self.path.join(CONFIG);
        fs::read_to_string(&path).map_err(|source| Error::Io { path, source })
    }

    /// Replaces the configuration of the run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_config_toml(&self, config_toml: &str) -> Result<()> {
        Ok(folder::write_file(&self.path.join(CONFIG), config_toml.as_bytes())?)
    }

    /// Where the grid of samples after `step` steps belongs.
    pub fn sample_path(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("{PREFIX}{step:08}.png"))
    }

    /// Writes a checkpoint and forgets all but the last `keep`.
    ///
    /// # Errors
    /// A disk that cannot be written; the checkpoints that are there are left as they are.
    pub fn save(&self, trainer: &Trainer, card: &Card, keep: usize) -> Result<()> {
        let name = format!("{PREFIX}{:08}", trainer.steps_made());
        let place = self.checkpoints().join(&name);
        if first_average(&place).is_ok() {
            // The same step of the same run: the same bits.
            return self.set_latest(&name);
        }
        put(&self.checkpoints(), &name, |beside| write_checkpoint(beside, trainer, card))?;
        self.set_latest(&name)?;
        self.forget_all_but(keep)
    }

    /// Writes a snapshot of the power-function averages. One of the same step is replaced: by the same bits, if nothing was changed.
    ///
    /// # Errors
    /// A disk that cannot be written; the snapshots that are there are left as they are.
    pub fn save_snapshot(&self, trainer: &Trainer) -> Result<()> {
        let name = format!("{PREFIX}{:08}", trainer.steps_made());
        put(&self.snapshots_dir(), &name, |beside| Snapshot::write(beside, trainer))
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// There are none, the folder cannot be read, or a snapshot is of a newer format.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let places = steps_in(&self.snapshots_dir())?;
        if places.is_empty() {
            return Err(snapshot::none(&self.path));
        }
        places.iter().map(|place| Snapshot::open(place)).collect()
    }

    /// Puts `trainer` into the state of the newest checkpoint that is whole, and says which that was.
    /// A newer one that was cut short is reported and passed over.
    ///
    /// # Errors
    /// There are checkpoints, but none that can be read: the error is that of the newest.
    pub fn restore(&self, trainer: &mut Trainer) -> Result<Option<PathBuf>> {
        let mut first_error = None;
        for place in self.checkpoint_dirs()?.into_iter().rev() {
            match read_checkpoint(&place, trainer) {
                Ok(()) => {
                    self.cut_metrics(trainer.steps_made())?;
                    self.cut_snapshots(trainer.steps_made())?;
                    return Ok(Some(place));
                }
                Err(error) => {
                    tracing::warn!("passed over {}: {error}", place.display());
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => self.cut_snapshots(0).map(|()| None),
        }
    }

    /// The model folder of the first average in the newest whole checkpoint.
    ///
    /// # Errors
    /// A run without a checkpoint, or none that is whole.
    pub fn model(&self) -> Result<PathBuf> {
        let mut first_error = None;
        for place in self.checkpoint_dirs()?.into_iter().rev() {
            match first_average(&place) {
                Ok(model) => return Ok(model),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Checkpoint {
            path: self.path.clone(),
            reason: "the run has no checkpoint yet".to_owned(),
        }))
    }

    /// All checkpoints, oldest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn checkpoint_dirs(&self) -> Result<Vec<PathBuf>> {
        steps_in(&self.checkpoints())
    }

    /// Adds one line to the metrics.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_metrics(&self, line: &serde_json::Value) -> Result<()> {
        let path = self.path.join(METRICS);
        let append = || {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        append().map_err(|source| Error::Io { path: path.clone(), source })
    }

    /// Drops the metrics of steps after `step`, which will be made again, and a line that was cut short.
    fn cut_metrics(&self, step: u64) -> Result<()> {
        let path = self.path.join(METRICS);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let is_kept = |line: &&str| {
            let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
            json.and_then(|json| json.get("step")?.as_u64()).is_some_and(|of_line| of_line <= step)
        };
        let kept: String = text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
        if kept == text { Ok(()) } else { Ok(folder::write_file(&path, kept.as_bytes())?) }
    }

    /// Drops the snapshots of steps after `step`, which will be made again.
    fn cut_snapshots(&self, step: u64) -> Result<()> {
        let last = format!("{PREFIX}{step:08}");
        let is_later = |place: &&PathBuf| place.file_name().is_some_and(|name| name > last.as_str());
        steps_in(&self.snapshots_dir())?.iter().filter(is_later).try_for_each(|place| remove(place))
    }

    fn set_latest(&self, name: &str) -> Result<()> {
        Ok(folder::write_file(&self.path.join(LATEST), format!("{name}\n").as_bytes())?)
    }

    fn forget_all_but(&self, keep: usize) -> Result<()> {
        let places = self.checkpoint_dirs()?;
        let surplus = places.len().saturating_sub(keep.max(1));
        places[..surplus].iter().try_for_each(|place| remove(place))
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    fn snapshots_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }
}

/// The folders in `folder` that are named after a step, oldest first; none if it is not there.
fn steps_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let io = |source| Error::Io { path: folder.to_path_buf(), source };
    let mut places = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            places.push(entry.path());
        }
    }
    places.sort();
    Ok(places)
}

/// Puts the folder `name`, which `write` fills, into `parent`: written beside, then renamed.
fn put(parent: &Path, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (beside, place) = (parent.join(format!(".{name}.partial")), parent.join(name));
    remove(&beside)?;
    write(&beside).inspect_err(|_| {
        // The first error is the one to tell; the next save removes what is left.
        let _ = fs::remove_dir_all(&beside);
    })?;
    remove(&place)?;
    fs::rename(&beside, &place).map_err(|source| Error::Io { path: place.clone(), source })?;
    folder::sync_dir(parent).map_err(|source| Error::Io { path: parent.to_path_buf(), source })
}

/// Removes a folder, if it is there. It is first renamed, so that what is left of it after a kill is not taken for a checkpoint.
fn remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let io = |source| Error::Io { path: dir.to_path_buf(), source };
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let doomed = dir.with_file_name(format!(".{}.removed", name.trim_start_matches('.')));
    if doomed.exists() {
        fs::remove_dir_all(&doomed).map_err(io)?;
    }
    fs::rename(dir, &doomed).map_err(io)?;
    fs::remove_dir_all(&doomed).map_err(io)
}
