//! `ct train`: from a preset to pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use ct_model::Precision;
use ct_model::folder::{Card, Loaded};
use ct_train::{RunFolder, TrainConfig, Trainer};

use crate::config::{Config, Layers, Origins, PRESET, changes, presets};
use crate::global::Global;
use crate::mistake::mistake;
use crate::training::{
    finish, pictures::Pictures, place, place::Place, setup, setup::Setup, start, watch::Watch,
};
use crate::{device, interrupt, terminal};

/// Train a model.
///
/// The settings come from a preset, over which go those of --config FILE, over which go those of --set.
/// The presets are digits, toy, fashion and icons, and for a GPU icons-gpu, icons64-gpu and cifar-gpu.
/// A run can be stopped with ctrl-C at any time, or killed, and resumed to the same result.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct train digits                                    the digits that are part of ct
  ct train digits --set train.recipe=ict             another recipe, see below
  ct train toy --data toy:spirals --out runs/spirals
  ct train icons --data folder:my/pictures --set train.steps=20000
  ct train fashion --data idx:data/fashion-mnist
  ct train cifar-gpu --data cifar10:data/cifar-10-batches-bin --device cuda
  ct train digits --dry-run > my.toml                all settings; edit, then:
  ct train --config my.toml
  ct train --resume runs/digits

Recipes:
  ect, ct, ict, sct    from nothing, or from a denoiser with --set init.model=DIR
  diffusion            a denoiser: a teacher, or a start for the others
  cd, scd              a denoiser made into a consistency model: --set init.model=DIR
  tcm                  a second stage for a consistency model: --set init.model=DIR
  For sct and scd the denoiser is one with --set model.parameterization=trigflow.

Data:
  digits, toy:two-moons, toy:eight-gaussians, toy:swiss-roll, toy:checkerboard, toy:spirals,
  folder:PATH (png, jpg, webp), idx:PATH (the format of MNIST), cifar10:PATH")]
pub(crate) struct Args {
    /// The preset: digits, toy, fashion, icons, icons-gpu, icons64-gpu or cifar-gpu.
    #[arg(required_unless_present_any = ["config", "resume"])]
    preset: Option<String>,
    /// A file of settings, over those of the preset.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to learn from, such as folder:PATH.
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// One setting, such as train.lr=2e-4.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the run [default: runs/ and the name of the preset or file].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "config", "out"])]
    resume: Option<PathBuf>,
    /// Make at most N steps, then save and stop; --resume goes on. 0 saves the initial weights.
    #[arg(long, value_name = "N")]
    stop_after: Option<u64>,
    /// Check everything, print all settings and stop.
    #[arg(long)]
    dry_run: bool,
}

/// Trains a model.
pub(crate) fn run(args: &Args, global: &Global, threads: usize) -> Result<ExitCode> {
    // Settings are checked before anything is asked or written.
    let device = global.device.open()?;
    let fresh = match &args.resume {
        None => Some(settings(args, global)?),
        Some(_) => None,
    };
    let place = match (&args.resume, args.dry_run) {
        (Some(dir), _) => Place::Resume(open(dir)?),
        (None, true) => Place::New(out_dir(args)),
        (None, false) => place::find(&out_dir(args))?,
    };
    let (config, origins) = match (&place, fresh) {
        (Place::New(_), Some(fresh)) => fresh,
        (Place::Resume(folder), _) => settings_of_run(folder, args, global)?,
        (Place::New(_), None) => settings(args, global)?,
    };
    let run = match &place {
        Place::New(_) => None,
        Place::Resume(folder) => Some(folder),
    };
    let Setup { config, data, init, mut trainer } = setup::prepare(config, &origins, run, &device)?;
    if args.dry_run {
        terminal::say(with_command(&config)?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }

    let card = setup::card(&config, &data, init.as_ref());
    let pictures = Pictures::new(&config, &data, card.clip_denoised)?;
    let folder = open_place(place, &config, init.as_ref(), &mut trainer)?;
    say_header(&config, &trainer, folder.path(), global.device, threads);
    interrupt::listen()?;
    if args.stop_after == Some(0) {
        folder.save(&trainer, &card, config.checkpoint.keep)?;
    } else {
        train(&folder, &config, &card, &pictures, &mut trainer, args.stop_after)?;
    }

    if trainer.is_finished() {
        finish::finish(&folder, &config, &pictures, &trainer, &data)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (step, steps, shown) = (trainer.steps_made(), config.train.steps, folder.path().display());
    terminal::say(format_args!(
        "stopped and saved at step {step} of {steps}; to go on:  ct train --resume {shown}"
    ));
    Ok(if interrupt::is_requested() { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
}

/// Makes steps until the end, or until somebody stops the run.
fn train(
    folder: &RunFolder,
    config: &Config,
    card: &Card,
    pictures: &Pictures,
    trainer: &mut Trainer,
    stop_after: Option<u64>,
) -> Result<()> {
    let mut watch = Watch::new(folder, config, card, pictures, trainer, stop_after);
    let outcome = ct_train::run(trainer, &mut watch).with_context(|| {
        let shown = folder.path().display();
        format!(
            "the run stopped; what was saved before is whole, and goes on with `ct train --resume {shown}`"
        )
    });
    outcome.map(|_| ()).map_err(|error| device::explained(error, || too_much_at_once(config, trainer)))
}

/// What a step had in memory at once, and what makes it less.
fn too_much_at_once(config: &Config, trainer: &Trainer) -> String {
    let batch = config.train.micro_batch_size.unwrap_or(config.train.batch_size);
    format!(
        "in a step of {batch} samples of {}: set train.micro_batch_size to a divisor of {} (the same result, in parts), \
         train.checkpoint_activations = true, a smaller train.batch_size, or a smaller data.size",
        shape(trainer.data().sample_shape()),
        config.train.batch_size,
    )
}

/// The settings of a new run.
fn settings(args: &Args, global: &Global) -> Result<(Config, Origins)> {
    let mut layers = Layers::default();
    if let Some(name) = &args.preset {
        let text = presets::find(name).ok_or_else(|| mistake(presets::unknown(name)))?;
        layers.add_toml(text, &format!("{PRESET}{name}"))?;
    }
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("cannot read --config {}: {error}", path.display())))?;
        layers.add_toml(&text, &path.display().to_string())?;
    }
    add_arguments(&mut layers, args, global)?;
    layers.finish()
}

/// The settings of a run that goes on.
fn settings_of_run(folder: &RunFolder, args: &Args, global: &Global) -> Result<(Config, Origins)> {
    let mut layers = Layers::default();
    layers.add_toml(&folder.config_toml()?, &folder.path().join("config.toml").display().to_string())?;
    add_arguments(&mut layers, args, global)?;
    layers.finish()
}

fn add_arguments(layers: &mut Layers, args: &Args, global: &Global) -> Result<()> {
    if let Some(spec) = &args.data {
        layers.set("data.source", spec.as_str().into(), "--data")?;
    }
    if let Some(seed) = global.seed {
        layers.set("seed", seed.cast_signed().into(), "--seed")?;
    }
    if let Some(precision) = global.precision {
        layers.set("train.precision", precision.to_string().into(), "--precision")?;
    }
    args.set.iter().try_for_each(|assignment| layers.add_assignment(assignment))
}

fn out_dir(args: &Args) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let of_file = args.config.as_ref().and_then(|path| path.file_stem());
        let name = of_file.map(|name| name.to_string_lossy().into_owned()).or_else(|| args.preset.clone());
        Path::new("runs").join(name.unwrap_or_else(|| "run".to_owned()))
    })
}

fn open(dir: &Path) -> Result<RunFolder> {
    if dir.is_dir() {
        return Ok(RunFolder::open(dir)?);
    }
    Err(mistake(format!("{} not found, expected the folder of a run", dir.display())))
}

/// Makes the folder of a new run, or brings `trainer` to where an earlier one was.
fn open_place(
    place: Place,
    config: &Config,
    init: Option<&Loaded>,
    trainer: &mut Trainer,
) -> Result<RunFolder> {
    let folder = match place {
        Place::New(path) => {
            let folder = RunFolder::create(&path, &with_command(config)?)?;
            init.map_or(Ok(()), |init| start::keep_copy(&folder, init))?;
            return Ok(folder);
        }
        Place::Resume(folder) => folder,
    };
    match folder.restore(trainer)? {
        Some(checkpoint) => terminal::say(format_args!("resumed    {}", checkpoint.display())),
        None => terminal::say("resumed    from the beginning: the run has no checkpoint yet"),
    }
    let (old, new) = (folder.config_toml()?.parse()?, config.to_toml()?.parse()?);
    let changed = changes(&old, &new);
    if !changed.is_empty() {
        for change in &changed {
            terminal::say(format_args!("changed    {change}"));
        }
        folder.set_config_toml(&with_command(config)?)?;
    }
    Ok(folder)
}

/// All settings, below the command that they come from.
fn with_command(config: &Config) -> Result<String> {
    let quoted = |word: String| if word.contains([' ', '\n', '#']) { format!("{word:?}") } else { word };
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| quoted(word.to_string_lossy().into_owned()))
        .filter(|word| word != "--dry-run")
        .collect();
    Ok(format!("# ct {}\n{}", words.join(" "), config.to_toml()?))
}

/// What the run will do, before it does it.
fn say_header(config: &Config, trainer: &Trainer, out: &Path, device: device::Choice, threads: usize) {
    let data = trainer.data();
    let classes = data.num_classes().map_or_else(String::new, |classes| format!(", {classes} classes"));
    let (len, shape, sigma_data) =
        (data.len(), shape(data.sample_shape()), config.noise.sigma_data.unwrap_or(0.0));
    let kind = if data.sample_shape().len() == 3 { "images" } else { "vectors" };
    let parameters = trainer.params().layout().num_elements();
    let &TrainConfig { recipe, steps, batch_size: batch, precision, .. } = &config.train;
    let slow = match (device, precision) {
        (device::Choice::Cpu, Precision::Bf16) => " (slower than f32 on a CPU; --precision f32 changes it)",
        _ => "",
    };
    terminal::say(format_args!(
        "data       {}: {len} {kind} of {shape}{classes}, sigma_data {sigma_data:.3}
model      {:?}, {parameters} parameters{}
recipe     {recipe}, {steps} steps of {batch} {kind}
computing  {device}, {precision}{slow}, {threads} threads
run folder {}",
        config.data.source,
        config.model.kind,
        if config.model.class_conditional { ", told the class" } else { "" },
        out.display()
    ));
}

/// `1 x 8 x 8`.
fn shape(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}
