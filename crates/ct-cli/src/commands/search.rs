//! `ct search`: the noise levels with which a model samples best in a few steps.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use ct_eval::{Metric, Settings, evaluate};
use ct_model::Denoiser as _;
use ct_model::folder;
use ct_sample::{SeededNoise, default_sigmas, search};

use crate::global::Global;
use crate::mistake::mistake;
use crate::real_data;
use crate::ruler::Ruler;
use crate::sampling::{self, Request, Sampler};
use crate::{model_path, terminal};

/// Find the noise levels with which a model samples best in 2, 3, .. steps, and keep them with the model.
///
/// One level is added at a time. Candidates lie on the grid that the model was trained on; each is scored by the
/// distance of samples from data (the Frechet distance of images, the sliced Wasserstein distance of points), always from
/// the same noise. What is found becomes the default of `ct sample --steps N` and `ct eval --steps N` for this model.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct search --model runs/digits                        2 steps, against the data of the training
  ct search --model runs/digits --steps 4 --num 5000
  ct search --model runs/icons --features efflite0.safetensors --dry-run")]
pub(crate) struct Args {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The data to compare with, such as digits or idx:PATH [default: what the model has learned from].
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// The largest number of steps to find levels for.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..))]
    steps: u16,
    /// Samples behind each score.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(4..))]
    num: u32,
    /// Levels of the grid to choose from.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(2..))]
    grid: u16,
    /// What images are compared in: auto, pixels, or a file with the weights of a feature network.
    #[arg(long, value_name = "auto|pixels|FILE", default_value = "auto")]
    features: String,
    /// Show what is found without keeping it.
    #[arg(long)]
    dry_run: bool,
}

/// Searches, shows and keeps.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let dir = model_path::find(&args.model)?;
    let loaded = global.load(&dir)?;
    let (model, card) = (&loaded.model, &loaded.card);
    if sampling::is_denoiser(card) {
        return Err(mistake(
            "this model is a denoiser: it follows its ODE, and re-noising levels are of no use to it",
        ));
    }
    let spec = real_data::spec(args.data.as_deref(), card.data.as_deref())?;
    let grid = candidates(args, card.trained_from_sigma, model.noise_range())?;
    let ruler = Ruler::choose(&args.features, model.sample_shape())?;
    let seed = global.seed.unwrap_or(0);
    let real = real_data::load(&spec, model.sample_shape(), seed)?;
    let real = terminal::with_bar("features of data", real.train.len().min(ruler.most_real()), |progress| {
        ruler.rows_of_data(&real.train, progress)
    })?;

    let num = args.num as usize;
    let class_labels = sampling::classes_in_turn(model, num);
    let noise = SeededNoise { seed, first_index: 0 };
    let metric = if matches!(ruler, Ruler::Points) { Metric::SlicedWasserstein } else { Metric::Frechet };
    let settings = Settings { seed, ..Settings::default() };
    let mut name = String::new();
    let found = search(&grid, usize::from(args.steps), &mut |sigmas| -> Result<f64> {
        let request = Request {
            num,
            sampler: Sampler::Multistep,
            sigmas,
            class_labels: class_labels.as_deref(),
            guidance: None,
            gamma: None,
            clip: sampling::clips(model) && loaded.card.clip_denoised,
            batch_size: sampling::batch_size(model.sample_shape()),
        };
        let shown = shown(sigmas);
        let samples =
            terminal::with_bar("samples", num, |progress| sampling::draw(model, &noise, &request, progress))?;
        let rows = ruler.rows(&samples, &mut |_| ())?;
        let report = evaluate(&real, &rows, &[metric], &ruler.space(), &settings)?;
        let figure = report.figures.first().context("no figure was computed")?;
        terminal::note(format_args!("{:<40} {} {:.4}", shown, figure.name, figure.value));
        name.clone_from(&figure.name);
        Ok(figure.value)
    })?;

    terminal::say(format_args!(
        "steps  {name:<12} noise levels ({} sets scored, {num} samples each)",
        found.evaluations
    ));
    for (sigmas, score) in found.sigmas.iter().zip(&found.scores) {
        terminal::say(format_args!("{:<6} {score:<12.4} {}", sigmas.len(), shown(sigmas)));
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let mut sigmas = card.sigmas.clone();
    sigmas.extend(
        found.sigmas.into_iter().filter(|levels| levels.len() > 1).map(|levels| (levels.len(), levels)),
    );
    folder::save_sigmas(&dir, &sigmas)?;
    terminal::say(format_args!(
        "kept in {}\nsample with them:  ct sample --model {} --steps {}",
        dir.join("sigmas.json").display(),
        args.model.display(),
        args.steps
    ));
    Ok(ExitCode::SUCCESS)
}

/// The grid of the model, down to the least noise that it was trained at.
fn candidates(args: &Args, trained_from: Option<f64>, range: ct_sample::NoiseRange) -> Result<Vec<f64>> {
    let mut grid = match usize::from(args.grid) {
        // The default of two steps is no grid.
        2 => default_sigmas(range, 3)?[..2].to_vec(),
        levels => default_sigmas(range, levels)?,
    };
    grid.retain(|&sigma| trained_from.is_none_or(|least| sigma >= least));
    if grid.len() < usize::from(args.steps) {
        return Err(mistake(format!(
            "--steps {}: there are {} levels to choose from; --grid makes more",
            args.steps,
            grid.len()
        )));
    }
    Ok(grid)
}

fn shown(sigmas: &[f64]) -> String {
    sigmas.iter().map(|sigma| format!("{sigma:.4}")).collect::<Vec<_>>().join(", ")
}
