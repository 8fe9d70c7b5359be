//! `ct eval --pairs`: pictures beside those that they should be.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ct_model::folder;
use serde_json::json;

use crate::mistake::mistake;
use crate::psnr::psnr;
use crate::ruler::Ruler;
use crate::terminal;

/// How far pictures are from those that they should be, the means over all.
struct Distances {
    /// Peak signal-to-noise ratio in decibels, for pictures in [-1, 1].
    psnr: f64,
    /// Euclidean distance in the space of the ruler.
    distance: f64,
}

/// Compares the tensor `samples` of a file with `input`, picture by picture, and `least` too if it is there.
///
/// There may be several samples for each input, one after the other.
pub(super) fn run(path: &Path, features: &str, as_json: bool) -> Result<ExitCode> {
    let tensors = folder::read_tensors(path, &Device::Cpu)?;
    let wrong = |what: String| mistake(format!("{}: {what}", path.display()));
    let images = |name: &str| -> Result<Option<Tensor>> {
        let Some(x) = tensors.get(name) else { return Ok(None) };
        match x.dims() {
            [num, _, _, _] if *num > 0 => Ok(Some(x.to_dtype(DType::F32)?)),
            dims => Err(wrong(format!("`{name}` has shape {dims:?}, expected images [N, C, H, W]"))),
        }
    };
    let missing = |name: &str| {
        wrong(format!(
            "it holds no tensor named `{name}`; `ct edit --measure --save-tensors FILE` writes such files"
        ))
    };
    let input = images("input")?.ok_or_else(|| missing("input"))?;
    let samples = images("samples")?.ok_or_else(|| missing("samples"))?;
    let fits = |x: &Tensor| x.dims()[1..] == input.dims()[1..] && x.dims()[0].is_multiple_of(input.dims()[0]);
    let least = images("least")?;
    if let Some(x) = [Some(&samples), least.as_ref()].into_iter().flatten().find(|x| !fits(x)) {
        return Err(wrong(format!("{:?} samples for inputs of shape {:?}", x.dims(), input.dims())));
    }

    let ruler = Ruler::choose(features, &input.dims()[1..])?;
    let found = distances(&ruler, &samples, &input)?;
    let without = least.map(|least| distances(&ruler, &least, &input)).transpose()?;
    let space = ruler.space();
    if as_json {
        let object = |of: &Distances| json!({ "PSNR": of.psnr, format!("distance-{space}"): of.distance });
        let report = json!({
            "num_inputs": input.dims()[0],
            "num_samples": samples.dims()[0],
            "samples": object(&found),
            "least": without.as_ref().map(object),
        });
        terminal::say(format_args!("{report:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let row = |name: &str, of: &Distances| {
        terminal::say(format_args!(
            "{name:<24} PSNR {:>6.2} dB   distance-{space} {:.4}",
            of.psnr, of.distance
        ));
    };
    row(&format!("{} samples", samples.dims()[0]), &found);
    if let Some(without) = &without {
        row("what is known, alone", without);
    }
    Ok(ExitCode::SUCCESS)
}

fn distances(ruler: &Ruler, x: &Tensor, input: &Tensor) -> Result<Distances> {
    let per_input = x.dims()[0] / input.dims()[0];
    let x = x.clamp(-1.0, 1.0)?;
    let (rows, goals) = (ruler.rows(&x, &mut |_| ())?, ruler.rows(input, &mut |_| ())?);
    let goals: Vec<&[f32]> = goals.rows().collect();
    let distance = |row: &[f32], goal: &[f32]| {
        row.iter().zip(goal).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let total: f64 = rows.rows().enumerate().map(|(i, row)| distance(row, goals[i / per_input])).sum();
    Ok(Distances { psnr: psnr(&x, input)?, distance: total / rows.len() as f64 })
}
