//! Edits of the noise that a picture is made of: interpolation and inversion.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::Tensor;
use ct_model::Denoiser as _;
use ct_sample::{
    Draw, InversionConfig, NoiseSource as _, RecordedNoise, SeededNoise, heun, ode_sigmas, one_step, slerp,
};

use super::inputs::Inputs;
use super::output::Made;
use super::request::{Common, Editor};
use crate::global::Global;
use crate::mistake::mistake;
use crate::psnr::psnr;
use crate::terminal;

/// Steps of the ODE, there and back.
const ODE_STEPS: usize = 18;

/// Go from one sample to another, or from one picture to another, by way of their noises.
#[derive(Debug, clap::Args)]
pub(super) struct Interpolate {
    #[command(flatten)]
    common: Common,
    /// The samples of two seeds.
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    seeds: Option<Vec<u64>>,
    /// Two pictures, whose noises are found first (as `ct edit invert` does), or a safetensors file with `input`.
    #[arg(long, num_args = 1..=2, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Cut pictures of another size to the model's proportions and resize them.
    #[arg(long)]
    fit: bool,
    /// Pictures on the way, both ends included.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..))]
    frames: u32,
    /// Steps of the search for the noise of a picture.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
}

/// Find the noise that pictures are made of, and show what the model makes of it.
///
/// With --save-tensors the noise is written as `noise.0`, from which `ct sample --noise` makes the pictures again.
/// For a denoiser its ODE is followed backwards; for a consistency model the noise is searched for.
#[derive(Debug, clap::Args)]
pub(super) struct Invert {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pictures: super::request::Pictures,
    /// Steps of the search.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
}

/// Goes from one noise to another.
pub(super) fn interpolate(args: &Interpolate, global: &Global) -> Result<()> {
    let editor = Editor::open(&args.common, global)?;
    let (z_1, z_2, ends) = ends(args, &editor)?;
    let last = args.frames - 1;
    let frames: Vec<Tensor> = (0..=last)
        .map(|frame| slerp(&z_1, &z_2, f64::from(frame) / f64::from(last)))
        .collect::<ct_sample::Result<_>>()?;
    let z = Tensor::cat(&frames, 0)?;
    let results = made_of(&editor, &z)?;
    // The pictures themselves stand at both ends of the row.
    let is_found = ends.is_some();
    let mut row = vec![results.clone()];
    if let Some(ends) = ends {
        row = vec![ends.narrow(0, 0, 1)?, results.clone(), ends.narrow(0, 1, 1)?];
    }
    let shown = Tensor::cat(&row, 0)?;
    let made = Made {
        columns: Vec::new(),
        results_are: if is_found { "picture | on the way | picture" } else { "on the way" },
        per_input: shown.dims()[0],
        results: &shown,
        tensors: vec![("noise.0", z)],
        summary: format!("{} pictures on the way", args.frames),
    };
    args.common.outputs.write(&editor, &made)
}

/// The noises to go between, and the pictures that they were found for.
fn ends(args: &Interpolate, editor: &Editor) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let shape = editor.shape();
    if let Some(seeds) = &args.seeds {
        let &[a, b] = &seeds[..] else {
            return Err(mistake(format!("--seeds: expected two numbers A,B, found {}", seeds.len())));
        };
        let noise = |seed| SeededNoise { seed, first_index: 0 }.noise(0, 0..1, &shape, editor.device());
        return Ok((noise(a)?, noise(b)?, None));
    }
    let inputs = Inputs::read(&args.input, shape, args.fit, editor.device())?;
    if inputs.len() != 2 {
        return Err(mistake(format!("{} pictures: it takes two to go from one to another", inputs.len())));
    }
    let z = noise_of(editor, &inputs.x, args.iterations)?;
    Ok((z.narrow(0, 0, 1)?, z.narrow(0, 1, 1)?, Some(inputs.x)))
}

/// Finds noise.
pub(super) fn invert(args: &Invert, global: &Global) -> Result<()> {
    let editor = Editor::open(&args.common, global)?;
    let inputs = editor.read(&args.pictures)?;
    let z = noise_of(&editor, &inputs.x, args.iterations)?;
    let results = made_of(&editor, &z)?;
    let decibels = psnr(&results, &inputs.x)?;
    let made = Made {
        columns: vec![("picture", inputs.x.clone())],
        results_are: "made again",
        results: &results,
        per_input: 1,
        tensors: vec![("noise.0", z), ("input", inputs.x)],
        summary: format!(
            "the noise of {} pictures, made again with PSNR {decibels:.2} dB",
            results.dims()[0]
        ),
    };
    args.common.outputs.write(&editor, &made)
}

/// The noise behind pictures.
fn noise_of(editor: &Editor, x: &Tensor, iterations: u32) -> Result<Tensor> {
    let num = x.dims()[0];
    if editor.is_denoiser() {
        return editor.make(num, &mut |model, _, draw| {
            ct_sample::invert_ode(
                model,
                &x.narrow(0, draw.samples.start, draw.num_samples())?,
                ODE_STEPS,
                draw,
            )
        });
    }
    let config = InversionConfig { num_steps: iterations as usize, ..InversionConfig::default() };
    editor.make(num, &mut |_, noise, draw| {
        let y = x.narrow(0, draw.samples.start, draw.num_samples())?;
        // Guidance is not differentiated: the model itself is.
        terminal::with_bar("steps of the search", config.num_steps, |progress| {
            let mut progress = |done, _| progress(done);
            ct_sample::invert(editor.model(), &y, &config, noise, draw, &mut progress)
        })
    })
}

/// What the model makes of noise: one step of a consistency model, the ODE of a denoiser.
fn made_of(editor: &Editor, z: &Tensor) -> Result<Tensor> {
    let noise = RecordedNoise::new(std::slice::from_ref(z), None)?;
    let sigmas = ode_sigmas(editor.model().noise_range(), ODE_STEPS)?;
    let is_denoiser = editor.is_denoiser();
    editor.make(z.dims()[0], &mut |model, _, draw: &Draw<'_>| {
        if is_denoiser { heun(model, &sigmas, &noise, draw) } else { one_step(model, &noise, draw) }
    })
}
