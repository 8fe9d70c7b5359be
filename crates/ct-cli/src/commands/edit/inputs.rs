//! The pictures that go into an edit.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use ct_model::folder;
use image::DynamicImage;

use crate::mistake::mistake;

/// The largest value that pictures in [-1, 1] have with noise that leaves something to see.
const LARGEST: f32 = 8.0;

/// Pictures of one size, and what came with them.
#[derive(Debug)]
pub(super) struct Inputs {
    /// `[N, C, H, W]` f32 in [-1, 1].
    pub(super) x: Tensor,
    /// 1 where a picture is transparent, `[N, 1, H, W]`, if one is.
    pub(super) transparent: Option<Tensor>,
    /// `mask` of a safetensors file.
    pub(super) mask: Option<Tensor>,
}

impl Inputs {
    /// Reads pictures of the shape `[C, H, W]`, or the tensor `input` of a file.
    pub(super) fn read(paths: &[PathBuf], shape: [usize; 3], fit: bool, device: &Device) -> Result<Self> {
        if let [path] = paths
            && is_tensor_file(path)
        {
            let mut tensors = folder::read_tensors(path, device)?;
            let x = take(&mut tensors, path, "input", &shape)?;
            let largest = x.abs()?.max_all()?.to_scalar::<f32>()?;
            if largest.is_nan() || largest > LARGEST {
                return Err(mistake(format!(
                    "{}: `input` reaches to {largest}, expected images in [-1, 1], perhaps with noise",
                    path.display()
                )));
            }
            let mask = tensors.remove("mask").map(|mask| mask.to_dtype(DType::F32)).transpose()?;
            return Ok(Self { x, transparent: None, mask });
        }
        let mut all = Vec::with_capacity(paths.len());
        let mut alphas = Vec::with_capacity(paths.len());
        for path in paths {
            let image = open(path)?;
            let (width, height) = (image.width() as usize, image.height() as usize);
            if !fit && [height, width] != shape[1..] {
                return Err(mistake(format!(
                    "{} has {width}x{height} pixels, expected {}x{}: resize it, or let --fit do so",
                    path.display(),
                    shape[2],
                    shape[1]
                )));
            }
            all.push(ct_sample::from_image(&image, &shape, device)?);
            // A picture that is resized has its transparency resized with it.
            let alpha = DynamicImage::ImageLuma8(alpha_of(&image));
            alphas.push(ct_sample::from_image(&alpha, &[1, shape[1], shape[2]], device)?.lt(0.0)?);
        }
        let transparent = Tensor::cat(&alphas, 0)?.to_dtype(DType::F32)?;
        let is_any = transparent.sum_all()?.to_scalar::<f32>()? > 0.0;
        Ok(Self { x: Tensor::cat(&all, 0)?, transparent: is_any.then_some(transparent), mask: None })
    }

    /// How many pictures there are.
    pub(super) fn len(&self) -> usize {
        self.x.dims()[0]
    }
}

/// Takes a tensor of samples out of what a file holds.
///
/// # Shapes
/// The result is `[N, ..shape]` f32.
pub(super) fn take(
    tensors: &mut std::collections::HashMap<String, Tensor>,
    path: &Path,
    name: &str,
    shape: &[usize],
) -> Result<Tensor> {
    let wrong = |what: String| mistake(format!("{}: {what}", path.display()));
    let Some(x) = tensors.remove(name) else {
        return Err(wrong(format!("it holds no tensor named `{name}`")));
    };
    match x.dims() {
        [num, rest @ ..] if rest == shape && *num > 0 => Ok(x.to_dtype(DType::F32)?),
        dims => Err(wrong(format!("`{name}` has shape {dims:?}, expected [N, ..{shape:?}]"))),
    }
}

/// Whether a file holds tensors and not a picture.
pub(super) fn is_tensor_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"))
}

/// Decodes a picture; its content says what it is.
pub(super) fn open(path: &Path) -> Result<DynamicImage> {
    ct_sample::open_image(path).map_err(|error| match error {
        ct_sample::Error::Io { source, .. } => mistake(format!("cannot read {}: {source}", path.display())),
        ct_sample::Error::Image { source, .. } => {
            mistake(format!("{} is no picture that ct can read: {source}", path.display()))
        }
        error => error.into(),
    })
}

/// A mask as a picture: white is to be generated, black is known.
///
/// # Shapes
/// The result is `[1, 1, H, W]` f32, 0 or 1.
pub(super) fn mask_image(path: &Path, height: usize, width: usize, device: &Device) -> Result<Tensor> {
    let image = open(path)?;
    if (image.height() as usize, image.width() as usize) != (height, width) {
        return Err(mistake(format!(
            "the mask {} has {}x{} pixels, and the model makes {width}x{height}: they must be the same",
            path.display(),
            image.width(),
            image.height()
        )));
    }
    let values = ct_sample::from_image(&image, &[1, height, width], device).context("cannot use the mask")?;
    Ok(values.gt(0.0)?.to_dtype(DType::F32)?)
}

fn alpha_of(image: &DynamicImage) -> image::GrayImage {
    let rgba = image.to_rgba8();
    image::GrayImage::from_fn(rgba.width(), rgba.height(), |x, y| image::Luma([rgba.get_pixel(x, y).0[3]]))
}
