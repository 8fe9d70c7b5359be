//! From a configuration to data, a network and a trainer: everything that can be wrong is found here.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use candle_core::Device;
use ct_data::{Dataset, LoadOptions, Source, Split};
use ct_model::folder::{Card, Loaded};
use ct_model::{Network, NetworkConfig, NoiseRange};
use ct_train::{Parts, RunFolder, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{Config, ModelKind, Origins, differences};
use crate::mistake::mistake;
use crate::terminal;
use crate::training::start;

/// How many skipped files are named.
const NAMED_FILES: usize = 10;

/// A run that is ready to begin.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The configuration with everything filled in that followed from the data.
    pub(crate) config: Config,
    /// What is learned from.
    pub(crate) data: Arc<Dataset>,
    /// What the run starts from, if not from random weights.
    pub(crate) init: Option<Loaded>,
    /// The state of the run.
    pub(crate) trainer: Trainer,
}

/// Loads the data, builds the network and the trainer, and fills in what the configuration left open.
///
/// `run` is the folder of a run that goes on: it holds a copy of what the run started from.
pub(crate) fn prepare(
    mut config: Config,
    origins: &Origins,
    run: Option<&RunFolder>,
    device: &Device,
) -> Result<Setup> {
    check(&config, origins)?;
    let init = start::load(&mut config, origins, run, device)?;
    let data = Arc::new(load(&config, Split::Train)?);
    report_skipped(&data);
    let network = build_network(&mut config, origins, &data, init.as_ref())?;
    let parts = Parts {
        network,
        data: Arc::clone(&data),
        range: noise_range(&mut config, &data)?,
        parameterization: config.model.parameterization,
        init: init.as_ref().map(|init| init.model.params().clone()),
        null_label: has_null_label(&config, init.as_ref()),
        teacher: init.as_ref().filter(|_| config.train.recipe.needs_teacher()).map(|init| init.model.clone()),
        seed: config.seed,
        flip: *config.data.flip.get_or_insert(data.flip_allowed()),
    };
    let trainer = Trainer::from_parts(parts, config.train.clone(), device)
        .map_err(|error| origins.explain(&config, error))?;
    Ok(Setup { config, data, init, trainer })
}

/// Whether one label more than there are classes stands for no class in particular.
fn has_null_label(config: &Config, init: Option<&Loaded>) -> bool {
    config.model.class_conditional
        && (config.train.label_dropout > 0.0 || init.is_some_and(|init| init.card.null_label))
}

/// What model folders say of the run; how estimates are clipped, they say as what it started from does.
pub(crate) fn card(config: &Config, data: &Dataset, init: Option<&Loaded>) -> Card {
    let usual = init.map_or_else(Card::default, |init| init.card.clone());
    let Card { clip_denoised, num_train_timesteps, .. } = usual;
    Card {
        clip_denoised,
        num_train_timesteps,
        data: Some(config.data.source.clone()),
        class_names: data.class_names().filter(|_| config.model.class_conditional).map(<[String]>::to_vec),
        ..Card::default()
    }
}

/// Loads a part of the data.
pub(crate) fn load(config: &Config, split: Split) -> Result<Dataset> {
    let spec = &config.data.source;
    if spec.is_empty() {
        return Err(mistake(
            "no data: name it with --data, as in --data folder:my/pictures (see `ct train --help`)",
        ));
    }
    let source: Source = spec.parse()?;
    let options = LoadOptions {
        size: config.data.size.map(|size| size.0),
        channels: config.data.channels,
        split,
        seed: config.seed,
    };
    let bar = ProgressBar::hidden();
    bar.set_style(ProgressStyle::with_template("reading {pos} of {len} pictures")?);
    if terminal::can_draw() && matches!(source, Source::Folder(_)) {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let loaded = source.load_with_progress(&options, &progress);
    bar.finish_and_clear();
    let hint = match &loaded {
        Err(ct_data::Error::SizeMissing { .. }) => "; set it with --set data.size=32",
        _ => "",
    };
    loaded.with_context(|| format!("cannot load the data `{spec}`{hint}"))
}

fn report_skipped(data: &Dataset) {
    let skipped = data.skipped();
    if skipped.is_empty() {
        return;
    }
    terminal::note(format_args!(
        "warning: {} of the files could not be read and are left out:",
        skipped.len()
    ));
    for file in skipped.iter().take(NAMED_FILES) {
        terminal::note(format_args!("  {}: {}", file.path.display(), file.reason));
    }
    if skipped.len() > NAMED_FILES {
        terminal::note(format_args!("  and {} more", skipped.len() - NAMED_FILES));
    }
}

/// What no other part checks.
fn check(config: &Config, origins: &Origins) -> Result<()> {
    let at_least_1 = |value: u64, key: &str| {
        if value > 0 {
            return Ok(());
        }
        Err(mistake(format!("{key} = 0{} is out of range: it must be at least 1", origins.of(key))))
    };
    at_least_1(config.metrics.every_steps.unwrap_or(1), "metrics.every_steps")?;
    at_least_1(config.checkpoint.every_steps, "checkpoint.every_steps")?;
    at_least_1(config.checkpoint.keep as u64, "checkpoint.keep")?;
    at_least_1(config.sample.every_steps, "sample.every_steps")?;
    at_least_1(config.sample.num as u64, "sample.num")?;
    at_least_1(config.sample.columns as u64, "sample.columns")?;
    let (min, max) = (config.noise.sigma_min, config.noise.sigma_max);
    if let Some(mid) = config.sample.two_step_sigma
        && !(mid > min && mid < max)
    {
        let key = "sample.two_step_sigma";
        let origin = origins.of(key);
        return Err(mistake(format!(
            "{key} = {mid}{origin} is out of range: it must be between {min} and {max}, the range of noise"
        )));
    }
    // The settings of a run are checked before its data is read, which can take minutes.
    config.train.validate().map_err(|error| origins.explain(config, error))
}

/// Fills the shape of the samples and the number of classes into the network's configuration, and builds it.
fn build_network(
    config: &mut Config,
    origins: &Origins,
    data: &Dataset,
    init: Option<&Loaded>,
) -> Result<Arc<dyn Network>> {
    let null_label = has_null_label(config, init);
    let classes = num_classes(config, data)?.map(|classes| classes + usize::from(null_label));
    let network = match config.model.kind {
        ModelKind::Unet => {
            let given = config.model.unet.take().unwrap_or_default();
            let &[channels, height, width] = data.sample_shape() else {
                return Err(mistake(format!(
                    "model.kind = \"unet\"{} is for images, but `{}` holds vectors; set it to mlp",
                    origins.of("model.kind"),
                    data.name()
                )));
            };
            let mut filled = given.clone().for_samples(channels, height, width);
            filled.num_class_embeds = classes;
            if start::predicts_variance(init) {
                filled.out_channels = 2 * channels;
            }
            refuse_conflicts("model.unet", &given, &filled, origins, data)?;
            config.model.mlp = None;
            config.model.unet = Some(filled.clone());
            start::adapt(config, filled, init)
        }
        ModelKind::Mlp => {
            let given = config.model.mlp.take().unwrap_or_default();
            let &[dim] = data.sample_shape() else {
                return Err(mistake(format!(
                    "model.kind = \"mlp\"{} is for vectors, but `{}` holds images; set it to unet",
                    origins.of("model.kind"),
                    data.name()
                )));
            };
            let filled = ct_model::MlpConfig { dim, num_class_embeds: classes, ..given.clone() };
            refuse_conflicts("model.mlp", &given, &filled, origins, data)?;
            config.model.unet = None;
            config.model.mlp = Some(filled.clone());
            NetworkConfig::Mlp(filled)
        }
    };
    let network = network.build().map_err(|error| origins.explain_model(config, error))?;
    if let Some(init) = init {
        start::check_network(config, &*network, init)?;
    }
    Ok(network)
}

fn num_classes(config: &Config, data: &Dataset) -> Result<Option<usize>> {
    if !config.model.class_conditional {
        return Ok(None);
    }
    match data.num_classes() {
        Some(classes) => Ok(Some(classes)),
        None => Err(mistake(format!("model.class_conditional = true, but `{}` has no classes", data.name()))),
    }
}

/// What follows from the data may be written down, but not differently.
fn refuse_conflicts<T: serde::Serialize>(
    section: &str,
    given: &T,
    filled: &T,
    origins: &Origins,
    data: &Dataset,
) -> Result<()> {
    for (key, value) in differences(given, filled)? {
        let key = format!("{section}.{key}");
        if origins.contains(&key) {
            return Err(mistake(format!(
                "{key}{} does not suit `{}`, whose samples are {:?}: it would have to be {value}; leave it out to have it filled in",
                origins.of(&key),
                data.name(),
                data.sample_shape()
            )));
        }
    }
    Ok(())
}

fn noise_range(config: &mut Config, data: &Dataset) -> Result<NoiseRange> {
    let sigma_data = *config.noise.sigma_data.get_or_insert_with(|| data.std());
    if sigma_data <= 0.0 {
        return Err(mistake(format!(
            "all samples of `{}` are the same: there is nothing to learn",
            data.name()
        )));
    }
    let &crate::config::NoiseConfig { sigma_min, sigma_max, rho, .. } = &config.noise;
    Ok(NoiseRange { sigma_min, sigma_max, sigma_data, rho })
}
