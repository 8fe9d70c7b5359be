//! `ct sample`: from noise to pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use candle_core::Tensor;
use ct_data::{LoadOptions, Source};
use ct_model::folder::Card;
use ct_model::{ConsistencyModel, Denoiser as _};
use ct_sample::{NoiseSource, RecordedNoise, SeededNoise};

use crate::global::Global;
use crate::mistake::mistake;
use crate::sampling::{self, SamplerArgs};
use crate::{model_path, output, picture, terminal};

/// Samples without --num: a grid of 8 by 8 images, or enough points to show a shape.
const NUM_IMAGES: usize = 64;
const NUM_POINTS: usize = 2000;
/// Points of the data that lie below a plot.
const DATA_POINTS: usize = 4000;

/// Draw samples from a model, in one step or a few.
///
/// Sample i depends on the seed and i alone, not on how many are drawn or how they are batched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct sample --model runs/digits                             64 images into samples.png
  ct sample --model runs/digits --steps 2 --grid two.png    two evaluations each
  ct sample --model runs/digits --num 1000 --out images     a PNG for each
  ct sample --model runs/digits --sigmas 20,0.8 --seed 7
  ct sample --model runs/digits --steps 4 --gamma 0.5       less new noise between the steps
  ct sample --model runs/teacher --sampler heun --steps 18  a denoiser, by its ODE
  ct sample --model runs/digits --noise noise.safetensors --save-tensors samples.safetensors")]
pub(crate) struct Args {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Number of samples [default: 64 images, 2000 points, or as many as there is recorded noise for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    num: Option<u32>,
    #[command(flatten)]
    way: SamplerArgs,
    /// The class of all samples, by its number [default: all classes in turn].
    #[arg(long, value_name = "K")]
    class: Option<u32>,
    /// One picture of all samples [default: samples.png, when nothing else is written].
    #[arg(long, value_name = "FILE.png")]
    grid: Option<PathBuf>,
    /// A new folder with a PNG for each sample.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Recorded noise: noise.0, noise.1, .. and perhaps `class_labels`, in the place of --seed.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "seed")]
    noise: Option<PathBuf>,
    /// The samples as numbers, with the noise levels.
    #[arg(long, value_name = "FILE.safetensors")]
    save_tensors: Option<PathBuf>,
    /// Leave the values of images as the network gives them, also outside of [-1, 1].
    #[arg(long)]
    no_clip: bool,
    /// Samples to make at once; the result does not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Images in a row of the grid.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    columns: u32,
}

/// Draws samples.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let start = Instant::now();
    check_outputs(args)?;
    let recorded = args.noise.as_deref().map(RecordedNoise::load).transpose()?;
    let loaded = global.load(&model_path::find(&args.model)?)?;
    let model = &loaded.model;
    if model.sample_shape().len() != 3 && args.out.is_some() {
        return Err(mistake(
            "--out writes images, and this model makes vectors; use --grid or --save-tensors",
        ));
    }

    let num = num_samples(args, model, recorded.as_ref())?;
    let way = args.way.way(&loaded)?;
    let class_labels = class_labels(args, model, recorded.as_ref(), num)?;
    let seeded = SeededNoise { seed: global.seed.unwrap_or(0), first_index: 0 };
    let noise: &dyn NoiseSource = recorded.as_ref().map_or(&seeded, |recorded| recorded);
    let request = sampling::Request {
        num,
        sampler: way.sampler,
        sigmas: &way.sigmas,
        class_labels: class_labels.as_deref(),
        guidance: way.guidance,
        gamma: way.gamma,
        clip: sampling::clips(model) && loaded.card.clip_denoised && !args.no_clip,
        batch_size: args
            .batch
            .map_or_else(|| sampling::batch_size(model.sample_shape()), |batch| batch as usize),
    };
    let samples = draw(model, noise, &request)?;
    let drawn = start.elapsed();

    let written = write(args, &loaded.card, &samples, &way.sigmas)?;
    let evaluations = way.evaluations();
    let kind = if model.sample_shape().len() == 3 { "images" } else { "points" };
    terminal::say(format_args!(
        "{num} {kind} in {} evaluation{} each, {:.2} s of {:.2} s: {}",
        evaluations,
        if evaluations == 1 { "" } else { "s" },
        drawn.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        written.join(", ")
    ));
    Ok(ExitCode::SUCCESS)
}

/// Finds what cannot be written before the work starts.
fn check_outputs(args: &Args) -> Result<()> {
    args.out.as_deref().map_or(Ok(()), output::check_new_dir)?;
    args.save_tensors.as_deref().map_or(Ok(()), output::check_file)?;
    args.grid.as_deref().map_or(Ok(()), |grid| output::check_png("--grid", grid))
}

fn num_samples(args: &Args, model: &ConsistencyModel, recorded: Option<&RecordedNoise>) -> Result<usize> {
    let available = recorded.map(RecordedNoise::num_samples);
    match (args.num.map(|num| num as usize), available) {
        (Some(num), Some(available)) if num > available => {
            Err(mistake(format!("--num {num}: the recorded noise has only {available} samples")))
        }
        (Some(num), _) | (None, Some(num)) => Ok(num),
        (None, None) => Ok(if model.sample_shape().len() == 3 { NUM_IMAGES } else { NUM_POINTS }),
    }
}

fn class_labels(
    args: &Args,
    model: &ConsistencyModel,
    recorded: Option<&RecordedNoise>,
    num: usize,
) -> Result<Option<Vec<u32>>> {
    let recorded = recorded.and_then(RecordedNoise::class_labels);
    sampling::check_class(model, args.class)?;
    match (args.class, model.num_classes()) {
        (Some(class), _) => Ok(Some(vec![class; num])),
        (None, Some(_)) if let Some(labels) = recorded => Ok(labels.get(..num).map(<[u32]>::to_vec)),
        (None, _) => Ok(sampling::classes_in_turn(model, num)),
    }
}

/// Draws the samples, with a bar if there are many.
fn draw(
    model: &ConsistencyModel,
    noise: &dyn NoiseSource,
    request: &sampling::Request<'_>,
) -> Result<Tensor> {
    if request.num <= request.batch_size {
        return Ok(sampling::draw(model, noise, request, &mut |_| ())?);
    }
    let samples = terminal::with_bar("samples", request.num, |progress| {
        sampling::draw(model, noise, request, progress)
    });
    Ok(samples?)
}

/// Writes what was asked for, and says what that was.
fn write(args: &Args, card: &Card, samples: &Tensor, sigmas: &[f64]) -> Result<Vec<String>> {
    let mut written = Vec::new();
    if let Some(path) = &args.save_tensors {
        ct_sample::save_tensors(path, samples, sigmas)?;
        written.push(path.display().to_string());
    }
    if let Some(dir) = &args.out {
        ct_sample::save_all(samples, dir, 0)?;
        written.push(format!("{}/*.png", dir.display()));
    }
    let default = written.is_empty().then(|| Path::new("samples.png"));
    if let Some(path) = args.grid.as_deref().or(default) {
        let data = data_below(card, samples);
        let drawn = picture::picture(samples, args.columns as usize, data.as_ref())?;
        ct_sample::save_png(&drawn, path)?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// The points that a model of points has learned from, where they can be made again at once.
fn data_below(card: &Card, samples: &Tensor) -> Option<Tensor> {
    if samples.rank() != 2 {
        return None;
    }
    let source @ Source::Toy(_) = card.data.as_deref()?.parse().ok()? else { return None };
    let data = source.load(&LoadOptions::default()).ok()?;
    data.tensor(&(0..data.len().min(DATA_POINTS)).collect::<Vec<_>>()).ok()
}
