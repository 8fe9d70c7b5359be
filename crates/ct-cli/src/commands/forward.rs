//! `ct forward`: a network on recorded tensors, so that two programs can be compared number by number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ct_model::{Denoiser as _, folder};

use crate::global::Global;
use crate::mistake::mistake;
use crate::{model_path, output, terminal};

/// Run a network on recorded tensors.
///
/// Reads `sample` and `timestep` (what the network is fed) and writes `output`,
/// or reads `x` and `sigma` and writes `f` = f(x, sigma).
/// `class_labels` are read where the network knows classes; other tensors are ignored.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct forward --model runs/digits --input case.safetensors --output ours.safetensors")]
pub(crate) struct Args {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The recorded tensors: `sample` (N, C, H, W) and `timestep` (N, or one number), or `x` and `sigma`.
    #[arg(long, value_name = "CASE.safetensors")]
    input: PathBuf,
    /// Where `output` or `f` goes.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs a network on recorded tensors.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    output::check_file(&args.output)?;
    let case = Case { path: &args.input, tensors: folder::read_tensors(&args.input, &Device::Cpu)? };
    let model = global.load(&model_path::find(&args.model)?)?.model;
    let labels = case.class_labels()?;
    let (labels, device) = (labels.as_deref(), model.device().clone());

    let (name, result) = match (case.has("sample"), case.has("x")) {
        (true, false) => {
            let sample = case.get("sample", DType::F32)?.to_device(&device)?;
            let timestep = case.for_each_of(&sample, "timestep")?.to_dtype(DType::F32)?.to_device(&device)?;
            ("output", model.raw(&sample, &timestep, labels)?)
        }
        (false, true) => {
            let x = case.get("x", DType::F32)?.to_device(&device)?;
            let sigma = case.for_each_of(&x, "sigma")?.to_vec1::<f64>()?;
            ("f", model.f(&x, &sigma, labels)?)
        }
        _ => {
            let shown = args.input.display();
            return Err(mistake(format!(
                "{shown}: expected either `sample` and `timestep`, or `x` and `sigma`"
            )));
        }
    };
    let result = result.contiguous()?;
    folder::write_tensors(&args.output, std::iter::once((name, &result)))?;
    terminal::say(format_args!("{name} {:?}: {}", result.dims(), args.output.display()));
    Ok(ExitCode::SUCCESS)
}

/// The recorded tensors.
struct Case<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl Case<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn get(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let missing = || mistake(format!("{} holds no tensor named `{name}`", self.path.display()));
        Ok(self.tensors.get(name).ok_or_else(missing)?.to_dtype(dtype)?.contiguous()?)
    }

    /// One f64 for each sample of `x`; a single number is meant for all of them.
    fn for_each_of(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let samples = x.dims().first().copied().unwrap_or(0);
        let values = self.get(name, DType::F64)?.flatten_all()?;
        match values.elem_count() {
            1 => Ok(values.broadcast_as(samples)?.contiguous()?),
            count if count == samples => Ok(values),
            count => Err(mistake(format!(
                "{}: {count} values in `{name}` for {samples} samples",
                self.path.display()
            ))),
        }
    }

    fn class_labels(&self) -> Result<Option<Vec<u32>>> {
        if !self.has("class_labels") {
            return Ok(None);
        }
        Ok(Some(self.get("class_labels", DType::U32)?.flatten_all()?.to_vec1()?))
    }
}
