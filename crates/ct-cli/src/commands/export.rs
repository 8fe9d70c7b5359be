//! `ct export`: a model for other programs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use candle_core::{DType, Device};
use ct_model::folder;

use crate::mistake::mistake;
use crate::model_path::{self, Kind};
use crate::{output, terminal};

/// Write a model for other programs: a folder in the layout of diffusers, or the weights as one file.
///
/// A run and a checkpoint hold a model for each average of the weights; the first is taken, or the one that --ema names.
/// In f16 or bf16 a model takes half the space; ct and diffusers read all three.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct export --model runs/digits --out models/digits                        a folder for ConsistencyModelPipeline
  ct export --model runs/digits --dtype f16 --out models/digits-f16
  ct export --model runs/digits --ema ema-0.9999 --out digits.safetensors   the weights alone")]
pub(crate) struct Args {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Which average of the weights, such as ema-0.999 [default: the first].
    #[arg(long, value_name = "NAME")]
    ema: Option<String>,
    /// How numbers are written.
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    dtype: Numbers,
    /// A new folder, or a file whose name ends in .safetensors.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Numbers {
    /// 32 bits, as they were trained.
    F32,
    /// 16 bits, with ten for the fraction.
    F16,
    /// 16 bits, with the range of f32 and seven for the fraction.
    Bf16,
}

/// Writes a model.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let is_file = args.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
    if is_file {
        output::check_file(&args.out)?;
    } else {
        output::check_new_dir(&args.out)?;
    }
    let dir = find(&args.model, args.ema.as_deref())?;
    let loaded = folder::load(&dir, &Device::Cpu)?;
    let dtype = match args.dtype {
        Numbers::F32 => DType::F32,
        Numbers::F16 => DType::F16,
        Numbers::Bf16 => DType::BF16,
    };
    if is_file {
        folder::write_weights(&args.out, loaded.model.params(), dtype)?;
    } else {
        folder::save_as(&args.out, &loaded.model, &loaded.card, dtype)?;
    }
    let num: usize = loaded.model.params().iter().map(|(_, tensor)| tensor.elem_count()).sum();
    terminal::say(format_args!("{num} parameters of {} in {}", dir.display(), args.out.display()));
    say_who_reads_it(&loaded, args, is_file);
    Ok(ExitCode::SUCCESS)
}

/// A folder that diffusers cannot run must not look as if it could.
fn say_who_reads_it(loaded: &folder::Loaded, args: &Args, is_file: bool) {
    let network = loaded.model.network();
    let config = network.config();
    if config.package() == "diffusers" || is_file {
        return;
    }
    let why = match network.translation() {
        Some(translation) => format!("its network is {translation}, and no pipeline translates that"),
        None => "it does not have such networks".to_owned(),
    };
    let (class, out) = (config.class_name(), args.out.display());
    terminal::note(format_args!("note: diffusers cannot run {out}, a {class}: {why}; ct reads it"));
}

/// The model folder of an average.
fn find(model: &Path, ema: Option<&str>) -> Result<PathBuf> {
    let first = model_path::find(model)?;
    let Some(name) = ema else { return Ok(first) };
    if model_path::kind(model)? == Kind::Model {
        return Err(mistake(format!(
            "--ema {name}: {} is one model; a run or a checkpoint holds several averages",
            model.display()
        )));
    }
    let checkpoint = first.parent().unwrap_or(Path::new("."));
    let dir = checkpoint.join(name);
    if dir.join("ct.json").is_file() {
        return Ok(dir);
    }
    let mut known: Vec<String> = std::fs::read_dir(checkpoint)?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.join("ct.json").is_file()))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    known.sort();
    Err(mistake(format!("--ema {name}: {} holds {}", checkpoint.display(), known.join(", "))))
}
