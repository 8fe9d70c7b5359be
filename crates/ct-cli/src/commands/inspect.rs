//! `ct inspect`: what a folder holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use candle_core::Device;
use ct_model::{Denoiser as _, folder};
use ct_train::RunFolder;
use serde_json::{Map, Value, json};

use crate::model_path::{self, Kind};
use crate::terminal;

/// Say what a model folder, a checkpoint or a run folder holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct inspect runs/digits
  ct inspect runs/digits/checkpoints/step-00001000
  ct inspect downloads/some-model --tensors
  ct inspect runs/digits --json")]
pub(crate) struct Args {
    /// The folder.
    dir: PathBuf,
    /// Name and shape of every tensor, too.
    #[arg(long)]
    tensors: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Says what a folder holds.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let report = match model_path::kind(&args.dir)? {
        Kind::Model => model(&args.dir, args.tensors)?,
        Kind::Checkpoint => checkpoint(&args.dir, args.tensors)?,
        Kind::Run => run_folder(&args.dir, args.tensors)?,
    };
    if args.json {
        terminal::say(format_args!("{report:#}"));
    } else {
        terminal::say(readable(&report, 0).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn model(dir: &Path, with_tensors: bool) -> Result<Value> {
    let folder::Loaded { model, card } = folder::load(dir, &Device::Cpu)?;
    let (network, range) = (model.network(), model.noise_range());
    let layout = network.layout();
    let mut report = json!({
        "kind": "model folder",
        "path": dir,
        "class": network.config().class_name(),
        "translated": network.translation().map(ToString::to_string),
        "parameters": layout.num_elements(),
        "tensors": layout.len(),
        "sample_shape": network.sample_shape(),
        "num_classes": network.num_classes(),
        "class_names": card.class_names,
        "sigma_min": range.sigma_min,
        "sigma_max": range.sigma_max,
        "sigma_data": range.sigma_data,
        "rho": range.rho,
        "clip_denoised": card.clip_denoised,
        "num_train_timesteps": card.num_train_timesteps,
        "data": card.data,
        "recipe": card.recipe,
        "step": card.step,
        "images_seen": card.images_seen,
        "average": card.ema,
        "written_by": card.written_by,
        "format_version": card.format_version,
        "network": network.config(),
    });
    if with_tensors {
        report["shapes"] = layout.iter().map(|(_, spec)| (spec.name.clone(), json!(spec.shape))).collect();
    }
    Ok(report)
}

fn checkpoint(dir: &Path, with_tensors: bool) -> Result<Value> {
    let path = dir.join("state.json");
    let state = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let state: Map<String, Value> = serde_json::from_str(&state).unwrap_or_default();
    let field = |name: &str| state.get(name).cloned().unwrap_or_default();
    let mut report = json!({
        "kind": "checkpoint",
        "path": dir,
        "format_version": field("format_version"),
        "step": field("step"),
        "images_seen": field("images_seen"),
        "averages": field("averages"),
    });
    match ct_train::first_average(dir) {
        Ok(average) => {
            report["whole"] = true.into();
            report["model"] = model(&average, with_tensors)?;
        }
        Err(error) => {
            report["whole"] = false.into();
            report["problem"] = error.to_string().into();
        }
    }
    Ok(report)
}

fn run_folder(dir: &Path, with_tensors: bool) -> Result<Value> {
    let run = RunFolder::open(dir)?;
    let config: toml::Table = run.config_toml()?.parse().context("config.toml is not valid TOML")?;
    let setting = |section: &str, key: &str| {
        let value = config.get(section).and_then(|section| section.get(key));
        value.map_or(Value::Null, |value| json!(value))
    };
    let metrics = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default();
    let last_metrics = metrics.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let score = std::fs::read_to_string(dir.join("score.json")).ok();
    let mut report = json!({
        "kind": "run folder",
        "path": dir,
        "data": setting("data", "source"),
        "recipe": setting("train", "recipe"),
        "steps": setting("train", "steps"),
        "batch_size": setting("train", "batch_size"),
        "last_metrics": last_metrics,
        "score": score.and_then(|score| serde_json::from_str::<Value>(&score).ok()),
    });
    let mut checkpoints = Map::new();
    for place in run.checkpoint_dirs()? {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let state =
            ct_train::first_average(&place).map_or_else(|error| error.to_string(), |_| "whole".to_owned());
        checkpoints.insert(name, state.into());
    }
    report["checkpoints"] = checkpoints.into();
    if let Ok(newest) = run.model() {
        report["model"] = model(&newest, with_tensors)?;
    }
    Ok(report)
}

/// A report as lines of names and values; what says nothing is left out.
fn readable(report: &Value, indent: usize) -> String {
    let mut text = String::new();
    let Some(map) = report.as_object() else { return report.to_string() };
    let width = map.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in map {
        let line = match value {
            Value::Null => continue,
            Value::Object(inner) if inner.is_empty() => continue,
            Value::Object(_) => format!("{key}\n{}", readable(value, indent + 2).trim_end()),
            Value::String(value) => format!("{key:<width$}  {value}"),
            value => format!("{key:<width$}  {value}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_readable() {
        let report =
            json!({ "kind": "run", "score": null, "model": { "class": "UNet2DModel", "shape": [1, 8] } });
        assert_eq!(readable(&report, 0), "kind   run\nmodel\n  class  UNet2DModel\n  shape  [1,8]\n");
    }
}
