//! Snapshots of the power-function averages, from which averages of other lengths are made after the run
//! (Karras et al. 2024, arXiv 2312.02696, section 3.2).
//!
//! ```text
//! snapshots/step-00001000/
//!     ema-power-0.05.safetensors      the average of this relative width, its tensors alone
//!     ema-power-0.1.safetensors
//!     snapshot.json                   format version, counters, widths, and the checksum of every other file; written last
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ct_model::{ConsistencyModel, Denoiser as _, Params, folder};
use ct_schedule::{PosthocEma, PowerProfile};
use serde::{Deserialize, Serialize};

use crate::checkpoint::checksum;
use crate::{Error, Result, Trainer};

/// Version of the format of snapshots. A newer one is refused.
pub const SNAPSHOT_VERSION: u32 = 1;

/// A combination whose profile is further than this from the wanted one, relative to its norm, is refused.
const MAX_RESIDUAL: f64 = 0.05;

const INFO: &str = "snapshot.json";

/// The averages of one step.
#[derive(Clone, Debug)]
pub struct Snapshot {
    path: PathBuf,
    info: Info,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Info {
    format_version: u32,
    step: u64,
    images_seen: u64,
    averages: BTreeMap<String, Stored>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    sigma_rel: f64,
    sha256: String,
}

/// An average that was put together from snapshots.
#[derive(Debug)]
pub struct Reconstruction {
    /// The model with the weights of the average.
    pub model: ConsistencyModel,
    /// Optimizer steps behind it.
    pub step: u64,
    /// Training images behind it, if there is a snapshot of this very step.
    pub images_seen: Option<u64>,
    /// How many stored averages it is made of.
    pub num_averages: usize,
    /// Distance of its profile from the wanted one, relative to its norm.
    pub residual: f64,
}

impl Snapshot {
    /// Writes the power-function averages of `trainer` into the new folder `dir`.
    pub(crate) fn write(dir: &Path, trainer: &Trainer) -> Result<()> {
        let mut averages = BTreeMap::new();
        for average in trainer.averages() {
            let Some(sigma_rel) = average.sigma_rel() else { continue };
            let path = file(dir, average.name());
            folder::write_tensors(&path, average.params().iter())?;
            averages.insert(average.name().to_owned(), Stored { sigma_rel, sha256: checksum(&path)? });
        }
        let info = Info {
            format_version: SNAPSHOT_VERSION,
            step: trainer.steps_made(),
            images_seen: trainer.images_seen(),
            averages,
        };
        let json = serde_json::to_string_pretty(&info).map_err(|source| damaged(dir, source.to_string()))?;
        Ok(folder::write_file(&dir.join(INFO), (json + "\n").as_bytes())?)
    }

    /// What the folder `dir` holds; the checksums are verified when the tensors are read.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(INFO);
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|source| damaged(&path, source.to_string()))?;
        let version = json.get("format_version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version > u64::from(SNAPSHOT_VERSION) {
            let reason = format!(
                "the snapshot has format version {version}, and this program knows versions up to {SNAPSHOT_VERSION}: a newer release wrote it, update ct"
            );
            return Err(damaged(&path, reason));
        }
        let info = serde_json::from_value(json).map_err(|source| damaged(&path, source.to_string()))?;
        Ok(Self { path: dir.to_path_buf(), info })
    }

    /// Optimizer steps behind the averages.
    pub fn step(&self) -> u64 {
        self.info.step
    }

    /// The relative widths of the averages.
    pub fn sigma_rels(&self) -> Vec<f64> {
        self.info.averages.values().map(|stored| stored.sigma_rel).collect()
    }

    /// The tensors of one average, after its checksum is verified.
    fn read(&self, name: &str, stored: &Stored) -> Result<HashMap<String, Tensor>> {
        let path = file(&self.path, name);
        if checksum(&path)? != stored.sha256 {
            let reason = "its checksum is not the one that was written: it was cut short or changed";
            return Err(damaged(&path, reason.to_owned()));
        }
        Ok(folder::read_tensors(&path, &Device::Cpu)?)
    }
}

/// The average of relative width `sigma_rel` after `step` steps, or after those of the newest snapshot,
/// made of the `snapshots` (oldest first) of a run whose network is that of `model`.
///
/// # Errors
/// No snapshots, a width out of range, a step after the last snapshot, snapshots that are too few or too far from
/// the wanted profile to make it up, or one that is cut short or changed.
pub fn reconstruct(
    snapshots: &[Snapshot],
    model: &ConsistencyModel,
    sigma_rel: f64,
    step: Option<u64>,
) -> Result<Reconstruction> {
    let Some(last) = snapshots.last() else { return Err(none(Path::new("snapshots"))) };
    let step = step.unwrap_or(last.step());
    let wanted = PowerProfile::new(step, sigma_rel)?;
    if step > last.step() {
        let reason = format!("step {step} was asked for, but the last snapshot is of step {}", last.step());
        return Err(damaged(&last.path, reason));
    }
    // Of later ones the first still knows the weights between the snapshot before and the wanted step.
    let num_used = snapshots.iter().take_while(|snapshot| snapshot.step() < step).count() + 1;
    let used: Vec<(&Snapshot, &String, &Stored)> = snapshots[..num_used.min(snapshots.len())]
        .iter()
        .flat_map(|snapshot| {
            snapshot.info.averages.iter().map(move |(name, stored)| (snapshot, name, stored))
        })
        .collect();
    let profile = |&(snapshot, _, stored): &(&Snapshot, _, &Stored)| {
        PowerProfile::new(snapshot.step(), stored.sigma_rel)
    };
    let profiles = used.iter().map(profile).collect::<std::result::Result<Vec<_>, _>>()?;
    let combination = PosthocEma::solve(&profiles, wanted)?;
    let residual = combination.residual();
    if residual > MAX_RESIDUAL {
        return Err(damaged(&last.path, too_far(snapshots, step, sigma_rel, residual)));
    }
    let mut sum: HashMap<String, Tensor> = HashMap::new();
    let mut num_averages = 0;
    for (&(snapshot, name, stored), &factor) in used.iter().zip(combination.coefficients()) {
        if factor.abs() > 0.0 {
            add(&mut sum, snapshot.read(name, stored)?, factor, &file(&snapshot.path, name))?;
            num_averages += 1;
        }
    }
    let device = model.params().device();
    let params = Params::from_tensors(model.params().layout(), sum, device)?
        .map_err(|problems| ct_model::Error::Weights { path: last.path.clone(), problems })?;
    let network = std::sync::Arc::clone(model.network());
    Ok(Reconstruction {
        model: ConsistencyModel::new(network, params, model.noise_range())?,
        step,
        images_seen: snapshots.iter().find(|other| other.step() == step).map(|other| other.info.images_seen),
        num_averages,
        residual,
    })
}

/// `sum <- sum + factor tensors`, in f64: the factors have both signs and cancel in part.
fn add(
    sum: &mut HashMap<String, Tensor>,
    tensors: HashMap<String, Tensor>,
    factor: f64,
    path: &Path,
) -> Result<()> {
    for (name, tensor) in tensors.into_iter().collect::<BTreeMap<_, _>>() {
        let term = (tensor.to_dtype(DType::F64)? * factor)?;
        let term = match sum.get(&name) {
            Some(sum) if sum.dims() == term.dims() => (sum + term)?,
            Some(_) => {
                return Err(damaged(path, format!("{name} has another shape than in other snapshots")));
            }
            None => term,
        };
        sum.insert(name, term);
    }
    Ok(())
}

fn too_far(snapshots: &[Snapshot], step: u64, sigma_rel: f64, residual: f64) -> String {
    let mut widths: Vec<f64> = snapshots.iter().flat_map(Snapshot::sigma_rels).collect();
    widths.sort_by(f64::total_cmp);
    widths.dedup();
    let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
    let num = snapshots.iter().filter(|snapshot| snapshot.step() <= step).count();
    format!(
        "the average of width {sigma_rel} at step {step} cannot be made of {num} snapshots of the widths {}: \
         the nearest combination is {:.0} % away, and {:.0} % is the limit; try a width nearer to these, the step of a snapshot, \
         or a run with more snapshots (train.snapshot_steps)",
        widths.join(", "),
        100.0 * residual,
        100.0 * MAX_RESIDUAL,
    )
}

/// What is said of a run without snapshots.
pub(crate) fn none(path: &Path) -> Error {
    let reason = "the run has no snapshots: they are written with train.snapshot_steps and train.ema_power, \
                  as in --set train.snapshot_steps=500 --set train.ema_power=[0.05,0.1]";
    damaged(path, reason.to_owned())
}

fn file(dir: &Path, average: &str) -> PathBuf {
    dir.join(format!("{average}.safetensors"))
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), reason }
}
