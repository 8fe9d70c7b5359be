//! `ct import`: a model of another program as a model folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use candle_core::Device;
use ct_model::folder::{self, Card, Loaded};
use ct_model::{ConsistencyModel, Denoiser as _, Network, NoiseRange, Parameterization, Params};
use ct_train::Recipe;

use crate::mistake::mistake;
use crate::{output, terminal};

/// Make a model folder of a network that another program has trained.
///
/// A folder in the layout of diffusers with a scheduler that ct knows needs nothing more (and needs no import: ct reads it
/// where it lies). Networks of DDPM, DDIM, EDM and related schedulers are told of the noise and predict it in other words,
/// which are translated: they become denoisers that ct samples, edits with and trains on.
/// Where nothing says what the network predicts, --as does, with the noise levels that it was trained for.
/// A network is fed `c_in` x and told 250 ln(sigma); docs/interop.md says which files are read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct import cd_imagenet64_l2 --out models/imagenet64                a consistency model of diffusers
  ct import ddpm-cifar10-32 --out models/ddpm                       a DDPM, as a denoiser
  ct import unet_folder --as denoiser --sigma-data 0.5 --out models/teacher
  ct import model.pt --config config.json --as consistency --out models/mine
  ct train icons --data folder:pictures --set init.model=models/teacher")]
pub(crate) struct Args {
    /// A model folder, a folder with config.json and weights, or a file of weights (safetensors, .bin, .pt, .pth).
    source: PathBuf,
    /// The network's config.json, for a file of weights.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the network is.
    #[arg(long = "as", value_enum)]
    kind: Option<Kind>,
    /// The least noise that it was trained for [default: 0.002].
    #[arg(long, value_name = "SIGMA", requires = "kind")]
    sigma_min: Option<f64>,
    /// The most noise that it was trained for [default: 80].
    #[arg(long, value_name = "SIGMA", requires = "kind")]
    sigma_max: Option<f64>,
    /// The standard deviation of its data [default: 0.5].
    #[arg(long, value_name = "SIGMA", requires = "kind")]
    sigma_data: Option<f64>,
    /// A new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A consistency model, with the boundary at `sigma_min`.
    Consistency,
    /// A denoiser with the coefficients of EDM.
    Denoiser,
}

/// Makes a model folder.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    output::check_new_dir(&args.out)?;
    let Loaded { model, card } = match args.kind {
        None if args.source.is_dir() => folder::load(&args.source, &Device::Cpu)?,
        None => {
            return Err(mistake(format!(
                "{}: nothing says what this network predicts; --as consistency or --as denoiser does",
                args.source.display()
            )));
        }
        Some(kind) => described(args, kind)?,
    };
    folder::save(&args.out, &model, &card)?;
    if let Some(translation) = model.network().translation() {
        terminal::say(format_args!("translated       a network that is {translation}"));
    }
    let num: usize = model.params().iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let out = args.out.display();
    terminal::say(format_args!(
        "{num} parameters for samples of {:?} in {out}\nsample it        ct sample --model {out}\nstart from it    ct train PRESET --set init.model={out}",
        model.sample_shape()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A network that is what the command line says.
fn described(args: &Args, kind: Kind) -> Result<Loaded> {
    let usual = NoiseRange::default();
    let range = NoiseRange {
        sigma_min: args.sigma_min.unwrap_or(usual.sigma_min),
        sigma_max: args.sigma_max.unwrap_or(usual.sigma_max),
        sigma_data: args.sigma_data.unwrap_or(usual.sigma_data),
        ..usual
    };
    let (network, params) = network(args)?;
    let (parameterization, recipe) = match kind {
        Kind::Consistency => (Parameterization::Consistency, None),
        Kind::Denoiser => (Parameterization::Edm, Some(Recipe::Diffusion.name().to_owned())),
    };
    let model = ConsistencyModel::with_parameterization(network, params, range, parameterization)?;
    Ok(Loaded { model, card: Card { recipe, ..Card::default() } })
}

fn network(args: &Args) -> Result<(Arc<dyn Network>, Params)> {
    let source: &Path = &args.source;
    match &args.config {
        None if source.is_dir() => Ok(folder::load_network(source, &Device::Cpu)?),
        None => {
            Err(mistake(format!("{}: a file of weights needs the network's --config FILE", source.display())))
        }
        Some(_) if source.is_dir() => Err(mistake(format!(
            "{} is a folder, which has its own config.json; leave --config out",
            source.display()
        ))),
        Some(config) => Ok(folder::load_network_file(config, source, &Device::Cpu)?),
    }
}
