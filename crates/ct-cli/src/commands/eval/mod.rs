//! `ct eval`: how far samples are from data.

mod neighbours;
mod pairs;
mod recorded;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use candle_core::Tensor;
use ct_data::Dataset;
use ct_eval::{Metric, Samples, Settings, evaluate};
use ct_model::folder::Loaded;
use ct_model::{ConsistencyModel, Denoiser as _};
use ct_sample::SeededNoise;

use self::report::{Evaluation, Origin};
use crate::global::Global;
use crate::mistake::mistake;
use crate::real_data::{self, LEAST, RealData};
use crate::ruler::{MOST_POINTS, Ruler};
use crate::sampling::{self, SamplerArgs, Way};
use crate::{model_path, output, terminal};

/// Images without --num.
const NUM_IMAGES: usize = 5000;

/// Compare samples with data, beside what held-out data would get.
///
/// Images are compared with the training data in the features of a small network that is part of ct (gray images of 8x8 and 28x28),
/// of a network from a file, or in pixels; points are compared with held-out points.
/// Each figure is named after its measure and what it was taken in: FD-digits, KID-efflite0, precision-pixels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct eval --model runs/digits                                  5000 one-step samples, all images of the training data
  ct eval --model runs/digits --steps 2 --metrics fd,kid,pr,swd,mmd
  ct eval --model runs/icons --data folder:icons --features efflite0.safetensors
  ct eval --model runs/digits --neighbours neighbours.png      has it learned images by heart?
  ct eval --samples samples.safetensors --data digits --json   samples of any program
  ct eval --pairs edited.safetensors                           edits, each against its whole picture")]
pub(crate) struct Args {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["samples", "pairs"])]
    model: Option<PathBuf>,
    /// Samples that were recorded, in the place of a model: `samples` [N, C, H, W] in [-1, 1].
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["model", "sampler", "steps", "sigmas", "guidance"])]
    samples: Option<PathBuf>,
    /// Pictures of which each has one to be like: `samples` and `input`, and perhaps `least`, as `ct edit` writes them.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["model", "samples", "data", "num", "metrics", "neighbours"])]
    pairs: Option<PathBuf>,
    /// The data to compare with, such as digits or idx:PATH [default: what the model has learned from].
    #[arg(long, value_name = "SPEC", required_unless_present_any = ["model", "pairs"])]
    data: Option<String>,
    /// Number of samples [default: 5000 images, 64000 points, or all of the file].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..))]
    num: Option<u32>,
    #[command(flatten)]
    way: SamplerArgs,
    /// Measures: fd, kid, pr (precision and recall), swd, mmd [default: fd,kid,pr for images, swd,mmd for points].
    #[arg(long, value_name = "M,M,..", value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// What images are compared in: auto, pixels, or a file with the weights of a feature network.
    #[arg(long, value_name = "auto|pixels|FILE", default_value = "auto")]
    features: String,
    /// A picture of the first samples, each beside the training images that are nearest to it.
    #[arg(long, value_name = "FILE.png")]
    neighbours: Option<PathBuf>,
    /// One JSON object in the place of the table.
    #[arg(long)]
    json: bool,
}

/// Compares samples with data.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    if let Some(path) = &args.pairs {
        return pairs::run(path, &args.features, args.json);
    }
    let Plan { subject, ruler, spec, data, seed } = plan(args, global)?;
    let is_image = !matches!(ruler, Ruler::Points);
    let (samples, origin) = subject.samples(args, seed)?;
    let rows = terminal::with_bar("features of samples", samples.dims()[0], |progress| {
        ruler.rows(&samples, progress)
    })?;
    let real = rows_of(&ruler, &data.train)?;
    let held_out = data.held_out.as_ref().map(|data| rows_of(&ruler, data)).transpose()?;

    let metrics = metrics(args, is_image);
    let settings = Settings { seed, ..Settings::default() };
    let compare = |with: &Samples, to: &Samples| {
        evaluate(to, with, &metrics, &ruler.space(), &settings).context("cannot compare the samples")
    };
    // Points are made up and new ones are free, so samples are compared with what no training has seen.
    let reference = held_out.as_ref().filter(|_| !is_image);
    let evaluation = Evaluation {
        origin,
        data: spec,
        reference: if reference.is_some() { "held-out" } else { "train" },
        space: ruler.space().to_string(),
        samples: compare(&rows, reference.unwrap_or(&real))?,
        floor: held_out.as_ref().map(|held_out| compare(held_out, &real)).transpose()?,
    };
    if args.json {
        terminal::say(format_args!("{:#}", evaluation.to_json()));
    } else {
        terminal::say(&evaluation);
    }
    if let Some(path) = &args.neighbours {
        let train = &data.train;
        let all = if real.len() == train.len() { real } else { all_rows_of(&ruler, train)? };
        ct_sample::save_png(&neighbours::neighbours(&samples, &rows, train, &all)?, path)?;
        terminal::note(format_args!(
            "{}: in each row a sample and the training images nearest to it",
            path.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is needed, opened and checked.
struct Plan {
    subject: Subject,
    ruler: Ruler,
    spec: String,
    data: RealData,
    seed: u64,
}

/// Finds whatever can be wrong before the long work.
fn plan(args: &Args, global: &Global) -> Result<Plan> {
    args.neighbours.as_deref().map_or(Ok(()), |path| output::check_png("--neighbours", path))?;
    let seed = global.seed.unwrap_or(0);
    let subject = Subject::open(args, global)?;
    let shape = subject.sample_shape();
    if args.neighbours.is_some() && shape.len() != 3 {
        return Err(mistake("--neighbours draws images, and these samples are vectors"));
    }
    let ruler = Ruler::choose(&args.features, &shape)?;
    let spec = data_spec(args, &subject)?;
    let data = real_data::load(&spec, &shape, seed)?;
    Ok(Plan { subject, ruler, spec, data, seed })
}

/// Where samples come from, opened and checked.
enum Subject {
    Model { path: PathBuf, loaded: Box<Loaded>, way: Way },
    File { path: PathBuf, samples: Tensor },
}

impl Subject {
    fn open(args: &Args, global: &Global) -> Result<Self> {
        if let Some(path) = &args.samples {
            let samples = recorded::samples(path, args.num.map(|num| num as usize))?;
            let num = samples.dims()[0];
            if num < LEAST || args.num.is_some_and(|wanted| wanted as usize > num) {
                let wanted = args.num.map_or(LEAST, |num| num as usize);
                return Err(mistake(format!("{} has {num} samples, {wanted} are needed", path.display())));
            }
            return Ok(Self::File { path: path.clone(), samples });
        }
        let path = args.model.clone().unwrap_or_default();
        let loaded = global.load(&model_path::find(&path)?)?;
        let way = args.way.way(&loaded)?;
        Ok(Self::Model { path, loaded: Box::new(loaded), way })
    }

    fn sample_shape(&self) -> Vec<usize> {
        match self {
            Self::Model { loaded, .. } => loaded.model.sample_shape().to_vec(),
            Self::File { samples, .. } => samples.dims()[1..].to_vec(),
        }
    }

    /// The samples, drawn now if they come from a model.
    fn samples(self, args: &Args, seed: u64) -> Result<(Tensor, Origin)> {
        match self {
            Self::File { path, samples } => Ok((samples, Origin::File(path))),
            Self::Model { path, loaded, way } => {
                let usual = if loaded.model.sample_shape().len() == 3 { NUM_IMAGES } else { MOST_POINTS };
                let num = args.num.map_or(usual, |num| num as usize);
                let clip = sampling::clips(&loaded.model) && loaded.card.clip_denoised;
                let samples = draw(&loaded.model, num, &way, clip, seed)?;
                Ok((samples, Origin::Model(path, way)))
            }
        }
    }
}

fn draw(model: &ConsistencyModel, num: usize, way: &Way, clip: bool, seed: u64) -> Result<Tensor> {
    let class_labels = sampling::classes_in_turn(model, num);
    let request = sampling::Request {
        num,
        sampler: way.sampler,
        sigmas: &way.sigmas,
        class_labels: class_labels.as_deref(),
        guidance: way.guidance,
        gamma: way.gamma,
        clip,
        batch_size: sampling::batch_size(model.sample_shape()),
    };
    let noise = SeededNoise { seed, first_index: 0 };
    terminal::with_bar("samples", num, |progress| Ok(sampling::draw(model, &noise, &request, progress)?))
}

fn data_spec(args: &Args, subject: &Subject) -> Result<String> {
    let of_model = match subject {
        Subject::Model { loaded, .. } => loaded.card.data.as_deref(),
        Subject::File { .. } => None,
    };
    real_data::spec(args.data.as_deref(), of_model)
}

fn metrics(args: &Args, is_image: bool) -> Vec<Metric> {
    match (args.metrics.is_empty(), is_image) {
        (false, _) => args.metrics.clone(),
        (true, true) => vec![Metric::Frechet, Metric::Kid, Metric::PrecisionRecall],
        (true, false) => vec![Metric::SlicedWasserstein, Metric::Mmd],
    }
}

fn rows_of(ruler: &Ruler, data: &Dataset) -> Result<Samples> {
    let num = data.len().min(ruler.most_real());
    terminal::with_bar("features of data", num, |progress| ruler.rows_of_data(data, progress))
}

fn all_rows_of(ruler: &Ruler, data: &Dataset) -> Result<Samples> {
    let all: Vec<usize> = (0..data.len()).collect();
    terminal::with_bar("features of data", all.len(), |progress| ruler.rows_of(data, &all, progress))
}
