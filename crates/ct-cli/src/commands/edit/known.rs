//! Edits by what is known of a picture: one projection for all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Tensor};
use ct_model::folder;
use ct_sample::{
    BayerPattern, Blur, DEFAULT_RCOND, Known, Luma, MatrixMeasurement, Measurement, PatchMeans,
    RandomCosines, bayer_mask, edit, gaussian_kernel, rectangle_mask, scattered_mask,
};

use super::inputs::{self, Inputs};
use super::output::Made;
use super::request::{Common, Editor, Effort, Pictures, rows_for};
use super::subject::{Measured, Show, Subject, numbers};
use crate::global::Global;
use crate::mistake::mistake;
use crate::psnr::psnr;

/// Options of all edits by what is known.
#[derive(Debug, clap::Args)]
pub(super) struct KnownArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    effort: Effort,
    /// The inputs are whole pictures: take from them what is to be known, and tell how far the results are from them.
    #[arg(long)]
    measure: bool,
}

impl KnownArgs {
    /// Whether the inputs are whole pictures.
    fn measures(&self) -> bool {
        self.measure || self.pictures.are_of_data()
    }
}

/// Fill a hole: a mask, a rectangle, the transparent part of the picture, or pixels here and there.
#[derive(Debug, clap::Args)]
pub(super) struct Inpaint {
    #[command(flatten)]
    known: KnownArgs,
    /// A picture that is white where pixels are to be made, or a safetensors file with `mask`, 1 where they are.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rect", "missing"])]
    mask: Option<PathBuf>,
    /// A rectangle to fill, in pixels: its left and top edges, its width and height.
    #[arg(long, value_name = "X,Y,W,H", value_delimiter = ',', conflicts_with = "missing")]
    rect: Option<Vec<usize>>,
    /// A share of the pixels that are missing, drawn from --seed.
    #[arg(long, value_name = "SHARE")]
    missing: Option<f64>,
}

/// Continue a picture that is smaller than the model's images, on all sides or on some.
#[derive(Debug, clap::Args)]
pub(super) struct Outpaint {
    #[command(flatten)]
    known: KnownArgs,
    /// Where the left and top edges of the picture come to lie [default: in the middle].
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    at: Option<Vec<usize>>,
    /// The size of the part that is known of whole pictures [default: half of each side].
    #[arg(long, value_name = "W,H", value_delimiter = ',')]
    size: Option<Vec<usize>>,
}

/// Give colours to gray pictures.
#[derive(Debug, clap::Args)]
pub(super) struct Colorize {
    #[command(flatten)]
    known: KnownArgs,
}

/// Make pictures larger that were made smaller by the means of squares.
#[derive(Debug, clap::Args)]
pub(super) struct Upscale {
    #[command(flatten)]
    known: KnownArgs,
    /// How many times larger.
    #[arg(long, value_name = "P", default_value_t = 4)]
    factor: usize,
}

/// Make blurred pictures sharp.
#[derive(Debug, clap::Args)]
pub(super) struct Deblur {
    #[command(flatten)]
    known: KnownArgs,
    /// The standard deviation of a Gaussian blur, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 1.0, conflicts_with = "kernel")]
    std: f64,
    /// A small picture, with odd sides, of what becomes of a single bright pixel.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Leave out what the blur has made weaker than this, beside what it has left strongest.
    ///
    /// Less brings back finer detail, and more of the rounding of pixels.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    rcond: f64,
}

/// Make pictures of camera mosaics, in which each pixel has one colour.
#[derive(Debug, clap::Args)]
pub(super) struct Demosaic {
    #[command(flatten)]
    known: KnownArgs,
    /// Which colours the pixels have, in blocks of 2 x 2.
    #[arg(long, value_enum, default_value_t = Pattern::Rggb)]
    pattern: Pattern,
}

/// The colours of a camera's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Pattern {
    Rggb,
    Bggr,
    Grbg,
    Gbrg,
}

/// Make pictures of few numbers, each a random mixture of all pixels (compressed sensing).
///
/// The inputs are whole pictures, which are measured first, or a safetensors file with `measured`
/// [N, m], as --save-tensors has written it with the same --share and --seed.
#[derive(Debug, clap::Args)]
pub(super) struct Sense {
    #[command(flatten)]
    known: KnownArgs,
    /// How many numbers are measured, as a share of the number of values of a picture.
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    share: f64,
}

/// Make pictures of any linear measurement of them.
///
/// The inputs are whole pictures, which are measured first, or a safetensors file with `measured`
/// [N, 1 or C, m], the matrix times the values of each picture or channel.
#[derive(Debug, clap::Args)]
pub(super) struct Linear {
    #[command(flatten)]
    known: KnownArgs,
    /// A safetensors file with `matrix` [m, d]: d values of a picture, channel by channel and row by row, or of one channel.
    #[arg(long, value_name = "FILE.safetensors")]
    matrix: PathBuf,
    /// Leave out singular values up to this share of the largest.
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_RCOND)]
    rcond: f64,
}

/// An edit by what is known.
pub(super) trait KnownEdit {
    fn args(&self) -> &KnownArgs;
    fn subject(&self, editor: &Editor) -> Result<Subject>;
}

/// Measures or reads what is known, and makes up the rest.
pub(super) fn run(edit_args: &dyn KnownEdit, global: &Global) -> Result<()> {
    let args = edit_args.args();
    let editor = Editor::open(&args.common, global)?;
    let sigmas = args.effort.sigmas(&editor)?;
    let subject = edit_args.subject(&editor)?;
    let per_input = args.effort.per_input as usize;
    let num = subject.observed.dims()[0] * per_input;
    let shape = editor.shape();
    let results = editor.make(num, &mut |model, noise, draw| {
        let observed = rows_for(&subject.observed, draw.samples.clone(), per_input)?;
        let measurement = subject.measurement.of(draw.samples.clone(), per_input, &shape)?;
        edit(model, &Known::observed(&*measurement, &observed)?, &sigmas, noise, draw)
    })?;

    let num_inputs = subject.observed.dims()[0];
    let measurement = subject.measurement.of(0..num_inputs, 1, &shape)?;
    let least = Known::observed(&*measurement, &subject.observed)?.least()?;
    let mut summary = format!("{num} results of {} steps", sigmas.len());
    if let Some(clean) = &subject.clean {
        let (ours, without) = (psnr(&results, clean)?, psnr(&least, clean)?);
        summary = format!("{summary}, PSNR {ours:.2} dB ({without:.2} without the model)");
    }
    let whole = subject.clean.iter().cloned().map(|clean| ("whole", clean));
    let columns = whole.chain([("known", subject.picture)]).collect();
    let sigmas = Tensor::new(&sigmas[..], results.device())?;
    let mut tensors = vec![("measured", subject.observed), ("least", least), ("sigmas", sigmas)];
    tensors.extend(subject.clean.map(|clean| ("input", clean)));
    args.common.outputs.write(
        &editor,
        &Made { columns, results: &results, per_input, results_are: "results", tensors, summary },
    )
}

impl KnownEdit for Inpaint {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let inputs = editor.read(&self.known.pictures)?;
        let shape = editor.shape();
        let masks = match (&self.mask, &self.rect, self.missing) {
            (Some(path), ..) if inputs::is_tensor_file(path) => {
                let mut tensors = folder::read_tensors(path, inputs.x.device())?;
                let Some(mask) = tensors.remove("mask") else {
                    return Err(mistake(format!("{} holds no tensor named `mask`", path.display())));
                };
                mask.to_dtype(DType::F32)?
            }
            (Some(path), ..) => inputs::mask_image(path, shape[1], shape[2], inputs.x.device())?,
            (None, Some(rect), _) => {
                let [left, top, width, height] = four(rect)?;
                rectangle_mask(&shape, left, top, width, height)?
            }
            (None, None, Some(share)) => scattered_mask(&shape, inputs.len(), share, editor.seed)?,
            (None, None, None) => match inputs.mask.as_ref().or(inputs.transparent.as_ref()) {
                Some(mask) => mask.clone(),
                None => {
                    return Err(mistake(
                        "nothing says what to fill: give --mask FILE, --rect X,Y,W,H or --missing SHARE, or make a part of the picture transparent",
                    ));
                }
            },
        };
        Subject::masked(&masks, inputs, &shape, self.known.measures())
    }
}

impl KnownEdit for Outpaint {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let pictures = &self.known.pictures;
        let [channels, height, width] = editor.shape();
        if self.known.measures() {
            let [w, h] = self.size.as_deref().map_or(Ok([width / 2, height / 2]), two)?;
            let inputs = editor.read(pictures)?;
            let known = self.place([w.min(width), h.min(height)], [width, height])?;
            let mask = (1.0 - rectangle_mask(&editor.shape(), known.0, known.1, w, h)?)?;
            return Subject::masked(&mask, inputs, &editor.shape(), true);
        }
        if self.size.is_some() {
            return Err(mistake(
                "--size goes with whole pictures (--measure or --data): other pictures have their own",
            ));
        }
        let (w, h) = match pictures.input.first() {
            Some(path) if pictures.tensor_file().is_none() => {
                let image = inputs::open(path)?;
                (image.width() as usize, image.height() as usize)
            }
            _ => return Err(mistake("outpaint takes pictures; with tensors, use inpaint and a mask")),
        };
        if w > width || h > height {
            return Err(mistake(format!(
                "the picture has {w}x{h} pixels, and the model makes {width}x{height}: only a smaller one can be continued"
            )));
        }
        let (left, top) = self.place([w, h], [width, height])?;
        let small = Inputs::read(&pictures.input, [channels, h, w], false, editor.device())?;
        let x =
            small.x.pad_with_zeros(2, top, height - h - top)?.pad_with_zeros(3, left, width - w - left)?;
        let mask = (1.0 - rectangle_mask(&editor.shape(), left, top, w, h)?)?;
        Subject::masked(&mask, Inputs { x, ..small }, &editor.shape(), false)
    }
}

impl Outpaint {
    /// The left and top edges of the part that is known.
    fn place(&self, [w, h]: [usize; 2], [width, height]: [usize; 2]) -> Result<(usize, usize)> {
        let [left, top] = self.at.as_deref().map_or(Ok([(width - w) / 2, (height - h) / 2]), two)?;
        if left + w > width || top + h > height {
            return Err(mistake(format!(
                "--at {left},{top}: a part of {w}x{h} pixels would leave the canvas of {width}x{height}"
            )));
        }
        Ok((left, top))
    }
}

impl KnownEdit for Colorize {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    /// A picture in colours counts by its gray version, so it makes no difference whether it is measured.
    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let luma = Luma::new(Luma::BT601, &editor.shape())?;
        let inputs = editor.read(&self.known.pictures)?;
        let gray = luma.observe(&inputs.x)?;
        let clean = self.known.measures().then_some(inputs.x);
        let picture = Show::Observation(editor.shape()).picture(&luma, &gray)?;
        Ok(Subject { measurement: Measured::Alike(Arc::new(luma)), observed: gray, picture, clean })
    }
}

impl KnownEdit for Upscale {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let means = PatchMeans::new(self.factor, &editor.shape())?;
        let (pictures, device) = (&self.known.pictures, editor.device());
        let inputs = if self.known.measures() {
            editor.read(pictures)?
        } else {
            Inputs::read(&pictures.input, means.small_shape(), pictures.fit, device).map_err(|error| {
                error.context(format!(
                    "upscaling by {} takes pictures of {}x{} pixels; whole pictures go with --measure",
                    self.factor,
                    means.small_shape()[2],
                    means.small_shape()[1]
                ))
            })?
        };
        Subject::alike(Arc::new(means), inputs, self.known.measures(), Show::Observation(editor.shape()))
    }
}

impl KnownEdit for Deblur {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let kernel = match &self.kernel {
            Some(path) => kernel_image(path)?,
            None => gaussian_kernel(self.std)?,
        };
        let blur = Blur::new(&kernel, &editor.shape(), self.rcond)?;
        let inputs = editor.read(&self.known.pictures)?;
        Subject::alike(Arc::new(blur), inputs, self.known.measures(), Show::Observation(editor.shape()))
    }
}

impl KnownEdit for Demosaic {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    /// A gray mosaic has the value of each pixel in all channels, of which the mask takes the right one.
    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let pattern = match self.pattern {
            Pattern::Rggb => BayerPattern::Rggb,
            Pattern::Bggr => BayerPattern::Bggr,
            Pattern::Grbg => BayerPattern::Grbg,
            Pattern::Gbrg => BayerPattern::Gbrg,
        };
        let mask = bayer_mask(pattern, &editor.shape())?;
        let inputs = editor.read(&self.known.pictures)?;
        Subject::masked(&mask, inputs, &editor.shape(), self.known.measures())
    }
}

impl KnownEdit for Sense {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let cosines = RandomCosines::new(self.share, &editor.shape(), editor.seed)?;
        let shape = [cosines.num_measured()];
        numbers(editor, &self.known.pictures, self.known.measures(), Arc::new(cosines), &shape)
    }
}

impl KnownEdit for Linear {
    fn args(&self) -> &KnownArgs {
        &self.known
    }

    fn subject(&self, editor: &Editor) -> Result<Subject> {
        let path = &self.matrix;
        let mut tensors = folder::read_tensors(path, editor.device())?;
        let Some(matrix) = tensors.remove("matrix") else {
            return Err(mistake(format!("{} holds no tensor named `matrix`", path.display())));
        };
        let measurement = MatrixMeasurement::new(&matrix, &editor.shape(), self.rcond)?;
        let [rows, columns] = [matrix.dims()[0], matrix.dims()[1]];
        let parts = editor.shape().iter().product::<usize>() / columns;
        numbers(editor, &self.known.pictures, self.known.measures(), Arc::new(measurement), &[parts, rows])
    }
}

/// A picture of a kernel: black is nothing.
fn kernel_image(path: &Path) -> Result<Tensor> {
    let image = inputs::open(path)?.into_luma8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    let values: Vec<f64> = image.into_raw().into_iter().map(f64::from).collect();
    Ok(Tensor::from_vec(values, (height, width), &candle_core::Device::Cpu)?)
}

fn two(values: &[usize]) -> Result<[usize; 2]> {
    values
        .try_into()
        .map_err(|_| mistake(format!("expected two numbers with a comma, found {}", values.len())))
}

fn four(values: &[usize]) -> Result<[usize; 4]> {
    values.try_into().map_err(|_| {
        mistake(format!("--rect: expected four numbers X,Y,W,H with commas, found {}", values.len()))
    })
}
