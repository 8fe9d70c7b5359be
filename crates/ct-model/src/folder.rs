//! Model folders: a diffusers pipeline folder, read and written.
//!
//! ```text
//! model_index.json                             which classes the parts are of
//! scheduler/scheduler_config.json              sigma_min, sigma_max, sigma_data, rho
//! unet/config.json                             the network's configuration
//! unet/diffusion_pytorch_model.safetensors     the network's weights; other forms of diffusers are read too
//! ct.json                                      what diffusers has no place for: format version, classes, origin
//! sigmas.json                                  noise levels that were found to sample well, by number of steps, if any
//! ```
//!
//! Every file is written beside its place, synced and renamed.

mod diffusion;
mod python_json;
mod scheduler;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json, json};

use crate::{
    ConsistencyModel, Denoiser, Error, Network, NetworkConfig, Parameterization, Params, Result, weights,
};
use scheduler::{Scheduler, SchedulerConfig};

/// Version of what this program adds to a diffusers folder. A folder of a newer version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The release of diffusers whose layout is written.
const DIFFUSERS_VERSION: &str = "0.42.1";

const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const SCHEDULER_NAME: &str = "scheduler_config.json";
const CONFIG: &str = "unet/config.json";
const CONFIG_NAME: &str = "config.json";
/// The recipe of a model whose scheduler says that it is a denoiser, where nothing else says which it was.
const DENOISER: &str = "diffusion";
/// Place of the weights in a model folder.
pub const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const CARD: &str = "ct.json";
const SIGMAS: &str = "sigmas.json";

/// What a model folder says beyond what diffusers has a place for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Version of this file's format.
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub written_by: String,
    /// What the model was trained on, as given on the command line.
    pub data: Option<String>,
    /// The recipe that it was trained with.
    pub recipe: Option<String>,
    /// Optimizer steps behind the weights.
    pub step: Option<u64>,
    /// Training images behind the weights.
    pub images_seen: Option<u64>,
    /// Which average of the weights this is.
    pub ema: Option<String>,
    /// Names of the classes, in the order of their labels.
    pub class_names: Option<Vec<String>>,
    /// Whether the network's last label stands for no class in particular.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub null_label: bool,
    /// The least noise that the weights were trained at, where that is not `sigma_min`: the second stage of TCM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_from_sigma: Option<f64>,
    /// Whether samplers should clip the model's estimates to [-1, 1]; it stands with the scheduler.
    #[serde(skip)]
    pub clip_denoised: bool,
    /// Levels of the grid that the time steps of diffusers' pipeline count; it stands with the scheduler.
    #[serde(skip)]
    pub num_train_timesteps: usize,
    /// Noise levels that were found to sample well, descending, by number of steps.
    /// They stand in a file of their own, which a search writes into a folder that is covered by checksums otherwise.
    #[serde(skip)]
    pub sigmas: BTreeMap<usize, Vec<f64>>,
}

impl Default for Card {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            written_by: concat!("ct ", env!("CARGO_PKG_VERSION")).to_owned(),
            data: None,
            recipe: None,
            step: None,
            images_seen: None,
            ema: None,
            class_names: None,
            null_label: false,
            trained_from_sigma: None,
            clip_denoised: true,
            num_train_timesteps: 40,
            sigmas: BTreeMap::new(),
        }
    }
}

/// Writes `model` into `dir`, which is made if it is not there.
///
/// # Errors
/// A file cannot be written; the error names it.
pub fn save(dir: &Path, model: &ConsistencyModel, card: &Card) -> Result<()> {
    save_as(dir, model, card, DType::F32)
}

/// Writes `model` into `dir` with its weights in another float type, which [`load`] and diffusers read as well.
///
/// # Errors
/// As [`save`].
pub fn save_as(dir: &Path, model: &ConsistencyModel, card: &Card, dtype: DType) -> Result<()> {
    let config = model.network().config();
    let scheduler = SchedulerConfig::new(model.noise_range(), model.parameterization(), card);
    let (pipeline, scheduler_library) = match model.parameterization() {
        Parameterization::Consistency => ("ConsistencyModelPipeline", "diffusers"),
        Parameterization::Edm => ("CtPipeline", "ct_model"),
        Parameterization::Trigflow => ("CtPipeline", "diffusers"),
    };
    let index = json!({
        "_class_name": pipeline,
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": [scheduler_library, scheduler.class_name],
        "unet": [config.package(), config.class_name()],
    });
    write_json(&dir.join(SCHEDULER), &with_version(&scheduler))?;
    write_json(&dir.join(CONFIG), &with_version(&config))?;
    write_json(&dir.join(CARD), &to_json(card))?;
    if !card.sigmas.is_empty() {
        save_sigmas(dir, &card.sigmas)?;
    }
    write_weights(&dir.join(WEIGHTS), model.params(), dtype)?;
    // Last, since it is what makes the folder a model.
    write_json(&dir.join(INDEX), &index)
}

/// A model read from its folder, and what the folder says of it.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: ConsistencyModel,
    /// What the folder says beyond what diffusers has a place for.
    pub card: Card,
}

/// Reads the model folder `dir` onto `device`.
///
/// The folder is that of a pipeline, or that of its network alone with a `scheduler_config.json` beside.
/// A network whose scheduler is of another process is [`Adapted`](crate::Adapted), as a denoiser.
/// Weights are one safetensors file, several with an index, or a state dict of PyTorch, in f32, f16 or bf16.
///
/// # Errors
/// A file that is missing, cut short, of a newer format, or that names what this program cannot run;
/// weights that do not fit the configuration, all problems listed at once.
pub fn load(dir: &Path, device: &Device) -> Result<Loaded> {
    let (place, path) = (find_network(dir)?, find_scheduler(dir)?);
    let scheduler = Scheduler::read(&path)?;
    let (range, parameterization) = (scheduler.range(), scheduler.parameterization(&path)?);
    let card = scheduler.complete(Card { sigmas: read_sigmas(dir)?, ..read_card(dir)? });
    let network = scheduler.adapt(read_network(&place.join(CONFIG_NAME))?, &path)?.build()?;
    let params = read_params(&*network, &weights::find(&place)?, device)?;
    let model = ConsistencyModel::with_parameterization(network, params, range, parameterization)?
        .with_null_label(card.null_label);
    Ok(Loaded { model, card })
}

/// Reads the network of the model folder `dir` onto `device`, whatever its scheduler is and whether it has one.
///
/// `dir` has `unet/config.json`, or `config.json` and the weights themselves.
///
/// # Errors
/// As [`load`], without what concerns the scheduler.
pub fn load_network(dir: &Path, device: &Device) -> Result<(Arc<dyn Network>, Params)> {
    let dir = find_network(dir)?;
    load_network_file(&dir.join(CONFIG_NAME), &weights::find(&dir)?, device)
}

/// Reads a network from its configuration and a file of weights.
///
/// # Errors
/// As [`load_network`].
pub fn load_network_file(
    config: &Path,
    weights: &Path,
    device: &Device,
) -> Result<(Arc<dyn Network>, Params)> {
    let network = read_network(config)?.build()?;
    let params = read_params(&*network, weights, device)?;
    Ok((network, params))
}

fn read_params(network: &dyn Network, weights: &Path, device: &Device) -> Result<Params> {
    Params::from_tensors(network.layout(), weights::read(weights, device)?, device)?
        .map_err(|problems| Error::Weights { path: weights.to_path_buf(), problems })
}

/// Where the network's configuration and weights are.
fn find_network(dir: &Path) -> Result<PathBuf> {
    let places = [dir.join(CONFIG).with_file_name(""), dir.to_path_buf()];
    places.into_iter().find(|place| place.join(CONFIG_NAME).is_file()).ok_or_else(|| Error::Format {
        path: dir.to_path_buf(),
        reason: format!("this is not a model folder: it has no {CONFIG}, and no {CONFIG_NAME} of its own"),
    })
}

fn find_scheduler(dir: &Path) -> Result<PathBuf> {
    let places = [dir.join(SCHEDULER), dir.join(SCHEDULER_NAME)];
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        let reason = format!(
            "it has no {SCHEDULER}, without which nothing says what the network predicts and at which noise levels: copy it from where the model was published"
        );
        Error::Format { path: dir.to_path_buf(), reason }
    })
}

fn read_card(dir: &Path) -> Result<Card> {
    let path = dir.join(CARD);
    if !path.is_file() {
        return Ok(Card::default());
    }
    let json: Json = read_json(&path)?;
    let version = json.get("format_version").and_then(Json::as_u64).unwrap_or(0);
    if version > u64::from(FORMAT_VERSION) {
        let reason = format!(
            "the folder has format version {version}, and this program knows versions up to {FORMAT_VERSION}: a newer release wrote it, update ct"
        );
        return Err(Error::Format { path, reason });
    }
    from_json(&path, json)
}

/// Writes the noise levels that sample well, by number of steps, into the model folder `dir`.
///
/// # Errors
/// The file cannot be written; what stood there before is left as it was.
pub fn save_sigmas(dir: &Path, sigmas: &BTreeMap<usize, Vec<f64>>) -> Result<()> {
    write_json(&dir.join(SIGMAS), &to_json(sigmas))
}

/// Only what can be levels: as many as steps, descending. What the model makes of them, its sampler checks.
fn read_sigmas(dir: &Path) -> Result<BTreeMap<usize, Vec<f64>>> {
    let path = dir.join(SIGMAS);
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let sigmas: BTreeMap<usize, Vec<f64>> = read_json(&path)?;
    match sigmas.iter().find(|(steps, levels)| **steps != levels.len() || !levels.is_sorted_by(|a, b| a > b))
    {
        None => Ok(sigmas),
        Some((steps, levels)) => {
            let reason =
                format!("{levels:?} are no noise levels of {steps} steps: expected as many, descending");
            Err(Error::Format { path, reason })
        }
    }
}

/// Keys that start with an underscore are notes of diffusers; all others must be known.
fn read_network(path: &Path) -> Result<NetworkConfig> {
    let mut json: Map<String, Json> = read_json(path)?;
    json.retain(|key, _| key == "_class_name" || !key.starts_with('_'));
    from_json(path, Json::Object(json))
}

/// Reads all tensors of a safetensors file.
///
/// # Errors
/// A file that is missing or not a whole safetensors file.
pub fn read_tensors(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    weights::read_safetensors(path, device)
}

/// Reads all tensors of a weights file of any kind: safetensors, the index of several, or a state dict of PyTorch
/// (`.bin`, `.pt`, `.pth`, `.ckpt`), which is never run.
///
/// # Errors
/// A file that is missing or not whole, or a pickle that wants to call anything but what builds tensors.
pub fn read_weights(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    weights::read(path, device)
}

/// Writes tensors as a safetensors file: beside its place, synced, then renamed.
///
/// # Errors
/// The file cannot be written; what stood there before is left as it was.
pub fn write_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    // What PyTorch's readers look for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|source| Error::Format { path: path.to_path_buf(), reason: source.to_string() })?;
    write_file(path, &bytes)
}

/// Writes the numbers of a network as a safetensors file, in the float type `dtype`.
///
/// # Errors
/// As [`write_tensors`].
pub fn write_weights(path: &Path, params: &Params, dtype: DType) -> Result<()> {
    let convert = |(name, tensor): (_, &Tensor)| Ok((name, tensor.to_dtype(dtype)?));
    let weights: Vec<(&str, Tensor)> = params.iter().map(convert).collect::<Result<_>>()?;
    write_tensors(path, weights.iter().map(|(name, tensor)| (*name, tensor)))
}

/// Writes a file beside its place, syncs it and renames it, so that `path` holds either all of it or what stood there before.
///
/// # Errors
/// The file cannot be written, for example because the disk is full; nothing half-written is left.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| io_error(parent, source))?;
    let beside = beside(path);
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_dir(parent)
    };
    write().map_err(|source| {
        // The first error is the one to tell; a leftover file is harmless.
        let _ = fs::remove_file(&beside);
        io_error(path, source)
    })
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The system refuses to sync the folder.
#[cfg(unix)]
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.sync_all()
}

/// Makes the names in a folder durable: on this system renaming does so by itself.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_dir(_dir: &Path) -> std::io::Result<()> {
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}

fn with_version<T: Serialize>(value: &T) -> Json {
    let mut json = to_json(value);
    if let Json::Object(map) = &mut json {
        map.insert("_diffusers_version".to_owned(), DIFFUSERS_VERSION.into());
    }
    json
}

/// Every type that is written here is plain data, which always has a JSON form.
fn to_json<T: Serialize>(value: &T) -> Json {
    serde_json::to_value(value).unwrap_or(Json::Null)
}

fn write_json(path: &Path, json: &Json) -> Result<()> {
    write_file(path, format!("{json:#}\n").as_bytes())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    serde_json::from_str(&text)
        .map_err(|source| Error::Format { path: path.to_path_buf(), reason: source.to_string() })
}

fn from_json<T: DeserializeOwned>(path: &Path, json: Json) -> Result<T> {
    serde_json::from_value(json)
        .map_err(|source| Error::Format { path: path.to_path_buf(), reason: source.to_string() })
}

fn io_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), source }
}
