//! What a run starts from, if not from random weights: `init.model`.
//!
//! Its network becomes the network of the run, and the run keeps a copy of it, so that nothing depends on the first folder
//! any more once the run has begun.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use candle_core::Device;
use ct_model::folder::{self, Loaded};
use ct_model::{AdaptedConfig, Denoiser as _, Network, NetworkConfig, NoiseRange, Translation, UNet2DConfig};
use ct_train::RunFolder;

use crate::config::{Config, ModelKind, Origins, differences};
use crate::mistake::mistake;
use crate::{model_path, terminal};

/// Folder of the copy in the folder of a run.
const COPY: &str = "init";

/// Loads what the run starts from, and fills its network into the configuration.
pub(crate) fn load(
    config: &mut Config,
    origins: &Origins,
    run: Option<&RunFolder>,
    device: &Device,
) -> Result<Option<Loaded>> {
    let recipe = config.train.recipe;
    let Some(path) = path(config, run)? else {
        if recipe.needs_teacher() {
            return Err(mistake(format!(
                "train.recipe = {recipe}{} learns from a model that is there already: train one first, then name it with --set init.model=DIR",
                origins.of("train.recipe")
            )));
        }
        return Ok(None);
    };
    let init = folder::load(&path, device)
        .with_context(|| format!("cannot start from init.model{}", origins.of("init.model")))?;
    let parameterization = *config.model.parameterization.get_or_insert_with(|| {
        let same = recipe.takes(init.model.parameterization());
        if same { init.model.parameterization() } else { recipe.parameterization() }
    });
    let from = init.model.parameterization();
    if !from.continues_as(parameterization) {
        if let Some(translation) = init.model.network().translation() {
            return Err(mistake(format!(
                "{} is a network that is {translation}, and train.recipe = {recipe} trains in {parameterization}, where networks are told an angle: it can go on with diffusion, ect, ct, ict, cd and tcm",
                path.display()
            )));
        }
        return Err(mistake(format!(
            "{} has the parameterization {from}, and train.recipe = {recipe} trains in {parameterization}: they tell their networks of the noise differently; train a denoiser for it with --set train.recipe=diffusion --set model.parameterization={parameterization}",
            path.display()
        )));
    }
    take_network(config, origins, &init)?;
    take_range(config, origins, init.model.noise_range());
    if run.is_none() {
        advise(config, &init);
    }
    Ok(Some(init))
}

/// The estimate of a network that predicts noise has its error times sigma: at the rates of the presets such a run diverges
/// (docs/interop.md).
fn advise(config: &Config, init: &Loaded) {
    let predicts_noise =
        matches!(init.model.network().translation(), Some(Translation::VariancePreserving { .. }));
    if predicts_noise && config.train.max_grad_norm.is_none() {
        terminal::note(format_args!(
            "init.model is told steps of a variance-preserving process, and its gradients are large where the noise is: \
             if the loss rises, --set train.lr=1e-4 --set train.max_grad_norm=1 --set noise.sigma_max=20 keeps it down"
        ));
    }
}

/// Keeps a copy of what the run starts from in its folder.
pub(crate) fn keep_copy(run: &RunFolder, init: &Loaded) -> Result<()> {
    Ok(folder::save(&run.path().join(COPY), &init.model, &init.card)?)
}

fn path(config: &Config, run: Option<&RunFolder>) -> Result<Option<PathBuf>> {
    let copy = run.map(|run| run.path().join(COPY)).filter(|copy| copy.join("model_index.json").is_file());
    match (copy, &config.init.model) {
        (_, None) => Ok(None),
        (Some(copy), Some(_)) => Ok(Some(copy)),
        (None, Some(dir)) => Ok(Some(model_path::find(dir)?)),
    }
}

/// The network of the run is the one that it starts from, but for its dropout.
fn take_network(config: &mut Config, origins: &Origins, init: &Loaded) -> Result<()> {
    match init.model.network().config() {
        NetworkConfig::UNet2D(theirs) => take_unet(config, origins, *theirs)?,
        NetworkConfig::Adapted(theirs) => take_unet(config, origins, theirs.unet)?,
        NetworkConfig::Mlp(theirs) => {
            let ours = config.model.mlp.clone().unwrap_or_default();
            let filled = ct_model::MlpConfig { dropout: ours.dropout, ..theirs };
            refuse_conflicts("model.mlp", &ours, &filled, origins)?;
            (config.model.kind, config.model.mlp) = (ModelKind::Mlp, Some(filled));
        }
    }
    if init.model.num_classes().is_some() && !origins.is_chosen("model.class_conditional") {
        config.model.class_conditional = true;
    }
    Ok(())
}

fn take_unet(config: &mut Config, origins: &Origins, theirs: UNet2DConfig) -> Result<()> {
    let ours = config.model.unet.clone().unwrap_or_default();
    let filled = UNet2DConfig { dropout: ours.dropout, ..theirs };
    refuse_conflicts("model.unet", &ours, &filled, origins)?;
    (config.model.kind, config.model.unet) = (ModelKind::Unet, Some(filled));
    Ok(())
}

/// So is the range of noise, but for what a person has set.
fn take_range(config: &mut Config, origins: &Origins, range: NoiseRange) {
    let noise = &mut config.noise;
    let keep = |key: &str| origins.is_chosen(&format!("noise.{key}"));
    let take = |key: &str, ours: &mut f64, theirs: f64| {
        if !keep(key) {
            *ours = theirs;
        }
    };
    take("sigma_min", &mut noise.sigma_min, range.sigma_min);
    take("sigma_max", &mut noise.sigma_max, range.sigma_max);
    take("rho", &mut noise.rho, range.rho);
    if !keep("sigma_data") {
        noise.sigma_data = Some(range.sigma_data);
    }
}

/// A person may set what the network of `init.model` has, but nothing else.
fn refuse_conflicts<T: serde::Serialize>(
    section: &str,
    ours: &T,
    theirs: &T,
    origins: &Origins,
) -> Result<()> {
    for (key, value) in differences(ours, theirs)? {
        let key = format!("{section}.{key}");
        if origins.is_chosen(&key) {
            return Err(mistake(format!(
                "{key}{} differs from the network of init.model, which has {value}: leave it out",
                origins.of(&key)
            )));
        }
    }
    Ok(())
}

/// The UNet of the run; if it starts from a network of another process, with the same words translated.
pub(crate) fn adapt(config: &Config, unet: UNet2DConfig, init: Option<&Loaded>) -> NetworkConfig {
    let Some(translation) = init.and_then(|init| init.model.network().translation()) else {
        return unet.into();
    };
    let translation = match config.noise.sigma_data {
        Some(sigma_data) => translation.clone().with_sigma_data(sigma_data),
        None => translation.clone(),
    };
    NetworkConfig::Adapted(Box::new(AdaptedConfig { unet, translation }))
}

/// Whether the network that the run starts from also predicts a variance, which is passed over.
pub(crate) fn predicts_variance(init: Option<&Loaded>) -> bool {
    match init.map(|init| init.model.network().config()) {
        Some(NetworkConfig::Adapted(theirs)) => theirs.unet.out_channels > theirs.unet.in_channels,
        _ => false,
    }
}

/// Whether the network that suits the data is the one that the run starts from.
pub(crate) fn check_network(config: &Config, network: &dyn Network, init: &Loaded) -> Result<()> {
    let theirs = init.model.network();
    if network.sample_shape() != theirs.sample_shape() {
        return Err(mistake(format!(
            "init.model makes samples of {:?}, and `{}` has {:?}: they must be alike",
            theirs.sample_shape(),
            config.data.source,
            network.sample_shape()
        )));
    }
    if network.num_classes() != theirs.num_classes() {
        let labels = |classes: Option<usize>| classes.map_or_else(|| "no".to_owned(), |n| n.to_string());
        return Err(mistake(format!(
            "init.model knows {} labels, and this run needs {}: set model.class_conditional and train.label_dropout as they were",
            labels(theirs.num_classes()),
            labels(network.num_classes())
        )));
    }
    Ok(())
}
