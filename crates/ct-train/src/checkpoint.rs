//! A checkpoint: everything that the next step depends on.
//!
//! ```text
//! weights.safetensors      the weights as they are
//! target.safetensors       the teacher's, where it is an average
//! optimizer.safetensors    moments of the gradients
//! augment.safetensors      the matrix that embeds labels of augmentation and its moments, where images are augmented
//! log_variance.safetensors learned weights of the noise levels and their moments, where they are learned
//! ema-0.999/               one model folder for each average, ready to be sampled
//! state.json               format version, counters, and the checksum of every other file; written last
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ct_model::folder::{self, Card};
use ct_model::{ParamLayout, Params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::augment::Augmentation;
use crate::log_variance::LogVariance;
use crate::{Average, Error, Result, Trainer};

/// Version of the checkpoint's format. A newer one is refused.
pub const STATE_VERSION: u32 = 1;

const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const TARGET: &str = "target.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AUGMENT: &str = "augment.safetensors";
const LOG_VARIANCE: &str = "log_variance.safetensors";

#[derive(Debug, Serialize, Deserialize)]
struct State {
    format_version: u32,
    step: u64,
    images_seen: u64,
    num_samples: usize,
    averages: Vec<String>,
    sha256: BTreeMap<String, String>,
}

/// Only what must be readable in a state of any version.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// Writes the state of `trainer` into the new folder `dir`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_checkpoint(dir: &Path, trainer: &Trainer, card: &Card) -> Result<()> {
    folder::write_tensors(&dir.join(WEIGHTS), trainer.params.iter())?;
    if let Some(target) = &trainer.target {
        folder::write_tensors(&dir.join(TARGET), target.iter())?;
    }
    write_named(&dir.join(OPTIMIZER), &trainer.optimizer.state().collect::<Vec<_>>())?;
    if let Some(augmentation) = &trainer.augmentation {
        let (params, optimizer) = augmentation.state();
        let weights = params.iter().map(|(name, tensor)| (name.to_owned(), tensor));
        write_named(&dir.join(AUGMENT), &weights.chain(optimizer.state()).collect::<Vec<_>>())?;
    }
    if let Some(learned) = &trainer.log_variance {
        folder::write_tensors(&dir.join(LOG_VARIANCE), learned.state().into_iter())?;
    }
    for average in &trainer.averages {
        let card = Card {
            step: Some(trainer.step),
            images_seen: Some(trainer.images_seen),
            ema: Some(average.name().to_owned()),
            recipe: Some(trainer.config().recipe.to_string()),
            null_label: trainer.has_null_label(),
            trained_from_sigma: trainer.trained_from_sigma(),
            ..card.clone()
        };
        folder::save(&dir.join(average.name()), &trainer.model_of(average)?, &card)?;
    }
    let state = State {
        format_version: STATE_VERSION,
        step: trainer.step,
        images_seen: trainer.images_seen,
        num_samples: trainer.data().len(),
        averages: trainer.averages.iter().map(|average| average.name().to_owned()).collect(),
        sha256: checksums(dir)?,
    };
    let json = serde_json::to_string_pretty(&state).map_err(|source| damaged(dir, &source.to_string()))?;
    Ok(folder::write_file(&dir.join(STATE), (json + "\n").as_bytes())?)
}

fn write_named(path: &Path, tensors: &[(String, &Tensor)]) -> Result<()> {
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), *tensor));
    Ok(folder::write_tensors(path, tensors)?)
}

/// Puts `trainer`, built with the same network and settings, into the state that the folder `dir` holds.
///
/// # Errors
/// A checkpoint of a newer format, one that is cut short or changed (its checksums are verified first),
/// or one of another network; `trainer` is left as it was.
pub fn read_checkpoint(dir: &Path, trainer: &mut Trainer) -> Result<()> {
    let state = verify(dir)?;
    check_settings(dir, &state, trainer)?;
    let device = trainer.params.device().clone();
    let layout = trainer.params.layout().clone();
    let read = |name: &str| -> Result<HashMap<String, Tensor>> {
        Ok(folder::read_tensors(&dir.join(name), &device)?)
    };
    let params = |name: &str| fit(&layout, &dir.join(name), read(name)?);

    let weights = params(WEIGHTS)?;
    let target = trainer.target.is_some().then(|| params(TARGET)).transpose()?;
    let (mean, mean_square) = split_moments(read(OPTIMIZER)?);
    let mean = fit(&layout, &dir.join(OPTIMIZER), mean)?;
    let mean_square = fit(&layout, &dir.join(OPTIMIZER), mean_square)?;
    let averages = trainer
        .averages
        .iter()
        .map(|average| params(&format!("{}/{}", average.name(), folder::WEIGHTS)))
        .collect::<Result<Vec<_>>>()?;
    let augment = match &trainer.augmentation {
        Some(augmentation) => Some(augment_state(&dir.join(AUGMENT), augmentation, read(AUGMENT)?)?),
        None => None,
    };
    let log_variance = match &trainer.log_variance {
        Some(learned) => Some(log_variance_state(&dir.join(LOG_VARIANCE), learned, read(LOG_VARIANCE)?)?),
        None => None,
    };
    if state.num_samples != trainer.data().len() {
        tracing::warn!(
            "the data has {} samples now and had {} when the checkpoint was written: the run goes on, but not as it would have",
            trainer.data().len(),
            state.num_samples
        );
    }

    trainer.params = weights;
    trainer.target = target;
    trainer.optimizer.set_state(mean, mean_square);
    if let (Some(augmentation), Some([params, mean, mean_square])) = (&mut trainer.augmentation, augment) {
        augmentation.set_state(params, mean, mean_square);
    }
    if let (Some(learned), Some(state)) = (&mut trainer.log_variance, log_variance) {
        learned.set_state(state);
    }
    for (average, params) in trainer.averages.iter_mut().zip(averages) {
        average.set_params(params);
    }
    (trainer.step, trainer.images_seen) = (state.step, state.images_seen);
    Ok(())
}

/// What a run keeps cannot change when it is resumed.
fn check_settings(dir: &Path, state: &State, trainer: &Trainer) -> Result<()> {
    let averages: Vec<&str> = trainer.averages.iter().map(Average::name).collect();
    if state.averages != averages {
        let kept = state.averages.join(", ");
        let reason = format!(
            "the run keeps the averages {kept}: train.ema and train.ema_power cannot change in its midst"
        );
        return Err(damaged(dir, &reason));
    }
    if trainer.augmentation.is_some() != state.sha256.contains_key(AUGMENT) {
        return Err(damaged(
            dir,
            "train.augment.probability cannot become 0, or more than 0, in the midst of a run",
        ));
    }
    if trainer.log_variance.is_some() != state.sha256.contains_key(LOG_VARIANCE) {
        return Err(damaged(dir, "train.learned_weighting cannot change in the midst of a run"));
    }
    if trainer.target.is_some() != state.sha256.contains_key(TARGET) {
        return Err(damaged(
            dir,
            "it was written by another recipe: train.recipe cannot change in the midst of a run",
        ));
    }
    Ok(())
}

/// The model folder of the first average in the checkpoint `dir`, after its checksums are verified.
///
/// # Errors
/// A checkpoint of a newer format, or one that is cut short or changed.
pub fn first_average(dir: &Path) -> Result<PathBuf> {
    let state = verify(dir)?;
    let name = state.averages.first().ok_or_else(|| damaged(dir, "it holds no average of the weights"))?;
    Ok(dir.join(name))
}

/// Checks that the checkpoint is whole: its version, and the checksum of every file.
fn verify(dir: &Path) -> Result<State> {
    let path = dir.join(STATE);
    let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let version: Version =
        serde_json::from_str(&text).map_err(|source| damaged(&path, &source.to_string()))?;
    if version.format_version > STATE_VERSION {
        let reason = format!(
            "the checkpoint has format version {}, and this program knows versions up to {STATE_VERSION}: a newer release wrote it, update ct",
            version.format_version
        );
        return Err(Error::Checkpoint { path, reason });
    }
    let state: State = serde_json::from_str(&text).map_err(|source| damaged(&path, &source.to_string()))?;
    for (name, expected) in &state.sha256 {
        let path = dir.join(name);
        if &checksum(&path)? != expected {
            return Err(damaged(
                &path,
                "its checksum is not the one that was written: it was cut short or changed",
            ));
        }
    }
    Ok(state)
}

/// Checksums of all files below `dir`, by their names with forward slashes.
fn checksums(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    let mut folders = vec![(dir.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let io = |source| Error::Io { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(io)?.is_dir() {
                folders.push((entry.path(), name + "/"));
            } else {
                sums.insert(name, checksum(&entry.path())?);
            }
        }
    }
    Ok(sums)
}

pub(crate) fn checksum(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
    Ok(Sha256::digest(&bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
}

/// The two kinds of moments, by the names of their parameters. A name of another kind is left in, to be reported.
fn split_moments(tensors: HashMap<String, Tensor>) -> (HashMap<String, Tensor>, HashMap<String, Tensor>) {
    let (squares, means): (Vec<_>, Vec<_>) =
        tensors.into_iter().partition(|(name, _)| name.starts_with("mean_square."));
    let strip = |kind: &'static str| {
        move |(name, tensor): (String, Tensor)| (name.strip_prefix(kind).unwrap_or(&name).to_owned(), tensor)
    };
    (
        means.into_iter().map(strip("mean.")).collect(),
        squares.into_iter().map(strip("mean_square.")).collect(),
    )
}

/// The weights of an augmentation's matrix and their moments.
fn augment_state(
    path: &Path,
    augmentation: &Augmentation,
    tensors: HashMap<String, Tensor>,
) -> Result<[Params; 3]> {
    let layout = augmentation.state().0.layout();
    let (moments, weights): (HashMap<_, _>, HashMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| name.starts_with("mean"));
    let (mean, mean_square) = split_moments(moments);
    Ok([fit(layout, path, weights)?, fit(layout, path, mean)?, fit(layout, path, mean_square)?])
}

/// The tensors of a [`LogVariance`], in the order of its state.
fn log_variance_state(
    path: &Path,
    learned: &LogVariance,
    mut tensors: HashMap<String, Tensor>,
) -> Result<[Tensor; 3]> {
    let mut take = |(name, like): (&str, &Tensor)| match tensors.remove(name) {
        Some(tensor) if tensor.dims() == like.dims() => Ok(tensor),
        _ => Err(damaged(path, &format!("{name} is missing or of another shape"))),
    };
    let [weights, mean, mean_square] = learned.state();
    Ok([take(weights)?, take(mean)?, take(mean_square)?])
}

fn fit(
    layout: &std::sync::Arc<ParamLayout>,
    path: &Path,
    tensors: HashMap<String, Tensor>,
) -> Result<Params> {
    let device = tensors.values().next().map_or(candle_core::Device::Cpu, |tensor| tensor.device().clone());
    let params = Params::from_tensors(layout, tensors, &device)?
        .map_err(|problems| ct_model::Error::Weights { path: path.to_path_buf(), problems })?;
    Ok(params.deep_copy()?)
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), reason: reason.to_owned() }
}
