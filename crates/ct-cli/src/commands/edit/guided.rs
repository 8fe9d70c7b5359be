//! Edits that start from a picture as a whole: denoising, strokes, variations.

use anyhow::Result;
use candle_core::Tensor;
use ct_sample::{Draw, NoiseSource as _, SeededNoise, estimate_sigma, follow};

use super::output::Made;
use super::request::{Common, Editor, Pictures, rows_for};
use crate::global::Global;
use crate::mistake::mistake;
use crate::psnr::psnr;

/// The two levels of stroke-guided editing (Song et al. 2023, "Consistency Models", appendix D).
const STROKE_SIGMAS: [f64; 2] = [5.38, 2.24];
/// Where a variation of one level gets its second, beside the first: as with strokes.
const SECOND_LEVEL: f64 = 0.416;
/// The noise that is added to try denoising out lies at this step of the noise source, far from those of sampling.
const MEASURED_NOISE: usize = 1 << 20;

/// Take noise out of pictures.
#[derive(Debug, clap::Args)]
pub(super) struct Denoise {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pictures: Pictures,
    /// Standard deviation of the noise, where pixels go from -1 to 1 [default: estimated for each picture].
    #[arg(long, value_name = "SIGMA")]
    sigma: Option<f64>,
    /// The inputs are clean pictures: add noise of --sigma first, and tell how far the results are from them.
    #[arg(long, requires = "sigma")]
    measure: bool,
}

/// Make pictures of the model's kind from rough paintings, as `SDEdit` does.
#[derive(Debug, clap::Args)]
pub(super) struct Stroke {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pictures: Pictures,
    /// Results for each input.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    num: u32,
    /// Noise levels, descending; the first says how far results may go [default: 5.38,2.24].
    #[arg(long, value_name = "S,S,..", value_delimiter = ',')]
    sigmas: Vec<f64>,
}

/// Make variations of pictures.
#[derive(Debug, clap::Args)]
pub(super) struct Vary {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pictures: Pictures,
    /// Results for each input.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    num: u32,
    /// How far results may go: the noise that is added, where pixels go from -1 to 1.
    #[arg(long, value_name = "SIGMA", default_value_t = 1.5, conflicts_with = "sigmas")]
    strength: f64,
    /// Noise levels, descending, in the place of --strength.
    #[arg(long, value_name = "S,S,..", value_delimiter = ',')]
    sigmas: Vec<f64>,
}

/// Takes noise out.
pub(super) fn denoise(args: &Denoise, global: &Global) -> Result<()> {
    let editor = Editor::open(&args.common, global)?;
    args.sigma.map_or(Ok(()), |sigma| editor.check_sigmas(&[sigma]))?;
    if args.pictures.are_of_data() && args.sigma.is_none() {
        return Err(mistake(
            "pictures of --data have no noise yet: say with --sigma how much they are to get",
        ));
    }
    let inputs = editor.read(&args.pictures)?;
    let (noisy, clean) = match args.sigma {
        Some(sigma) if args.measure || args.pictures.are_of_data() => {
            let noise = SeededNoise { seed: editor.seed, first_index: 0 };
            let z = noise.noise(MEASURED_NOISE, 0..inputs.len(), &editor.shape(), inputs.x.device())?;
            ((&inputs.x + (z * sigma)?)?, Some(inputs.x))
        }
        _ => (inputs.x, None),
    };
    let sigmas = match args.sigma {
        Some(sigma) => vec![sigma; noisy.dims()[0]],
        None => estimated(&editor, &noisy)?,
    };
    // One level for all goes in whole batches; where each picture has its own, each is a batch.
    let results = editor.make(sigmas.len(), &mut |model, _, draw| {
        let batch = if args.sigma.is_some() { draw.num_samples() } else { 1 };
        let denoise = |part: Draw<'_>| {
            let noisy = noisy.narrow(0, part.samples.start, part.num_samples())?;
            ct_sample::denoise(model, &noisy, sigmas[part.samples.start], &part)
        };
        let parts = draw.batches(batch).map(denoise).collect::<ct_sample::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    })?;
    let mut summary = match (args.sigma, &sigmas[..]) {
        (None, [sigma]) => format!("noise of {sigma:.3} found and taken out"),
        (None, _) => format!("noise of {} taken out", range_of(&sigmas)),
        (Some(sigma), _) => format!("noise of {sigma} taken out of {} pictures", sigmas.len()),
    };
    if let Some(clean) = &clean {
        let (before, after) = (psnr(&noisy, clean)?, psnr(&results, clean)?);
        summary = format!("{summary}, PSNR {after:.2} dB ({before:.2} before)");
    }
    let whole = clean.iter().cloned().map(|clean| ("whole", clean));
    let columns = whole.chain([("noisy", noisy.clone())]).collect();
    let mut tensors = vec![("measured", noisy)];
    tensors.extend(clean.map(|clean| ("input", clean)));
    let made = Made { columns, results: &results, per_input: 1, results_are: "clean", tensors, summary };
    args.common.outputs.write(&editor, &made)
}

/// The noise of each picture, within what the model knows.
fn estimated(editor: &Editor, noisy: &Tensor) -> Result<Vec<f64>> {
    let found = estimate_sigma(noisy)?;
    let range = ct_model::Denoiser::noise_range(editor.model());
    if let Some(index) = found.iter().position(|&sigma| sigma <= range.sigma_min) {
        return Err(mistake(format!(
            "picture {index}: no noise was found in it (estimated {:.4}); name its level with --sigma if there is some",
            found[index]
        )));
    }
    Ok(found.into_iter().map(|sigma| sigma.min(range.sigma_max)).collect())
}

fn range_of(sigmas: &[f64]) -> String {
    let least = sigmas.iter().copied().fold(f64::INFINITY, f64::min);
    let most = sigmas.iter().copied().fold(0.0, f64::max);
    format!("{least:.3} to {most:.3}")
}

/// Follows a painting.
pub(super) fn stroke(args: &Stroke, global: &Global) -> Result<()> {
    let sigmas = if args.sigmas.is_empty() { STROKE_SIGMAS.to_vec() } else { args.sigmas.clone() };
    guided(&args.common, &args.pictures, args.num as usize, &sigmas, global)
}

/// Varies a picture.
pub(super) fn vary(args: &Vary, global: &Global) -> Result<()> {
    let sigmas = match &args.sigmas[..] {
        [] => vec![args.strength, args.strength * SECOND_LEVEL],
        sigmas => sigmas.to_vec(),
    };
    guided(&args.common, &args.pictures, args.num as usize, &sigmas, global)
}

fn guided(
    common: &Common,
    pictures: &Pictures,
    per_input: usize,
    sigmas: &[f64],
    global: &Global,
) -> Result<()> {
    let editor = Editor::open(common, global)?;
    editor.check_sigmas(sigmas)?;
    let inputs = editor.read(pictures)?;
    let num = inputs.len() * per_input;
    let results = editor.make(num, &mut |model, noise, draw| {
        follow(model, &rows_for(&inputs.x, draw.samples.clone(), per_input)?, sigmas, noise, draw)
    })?;
    let summary = format!("{num} results of {} steps", sigmas.len());
    let tensors = vec![("input", inputs.x.clone()), ("sigmas", Tensor::new(sigmas, results.device())?)];
    let columns = vec![("picture", inputs.x)];
    let made = Made { columns, results: &results, per_input, results_are: "results", tensors, summary };
    common.outputs.write(&editor, &made)
}
