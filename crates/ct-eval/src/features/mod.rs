//! Networks whose inner values stand for an image, so that distances between sets mean more than in pixels.
//!
//! | network | images | features | weights |
//! |---|---|---|---|
//! | [`SmallCnn`] `digits` | gray, 8x8 | 64 | in the binary, trained on the embedded digits |
//! | [`SmallCnn`] `fashion` | gray, 28x28 | 64 | in the binary, trained on Fashion-MNIST |
//! | [`EfficientNet`] `efflite0` | colour or gray, any size | 112 | a file that the user brings |
//! | [`Inception`] `inception` | colour or gray, any size | 2048 | a file that the user brings |
//!
//! A figure is called by its network: `FD-digits`, `KID-efflite0`.
//! Figures of different networks cannot be compared with each other, and only the Fréchet distance in the features of
//! Inception is called FID.

mod efficientnet;
mod inception;
mod small_cnn;
mod weights;

use std::path::Path;

use candle_core::{DType, Tensor};

pub use efficientnet::EfficientNet;
pub use inception::Inception;
pub use small_cnn::SmallCnn;

use crate::{
    error::{Error, Result},
    report::Space,
    samples::Samples,
};
use weights::Weights;

/// Images that go through a network at once, and their pixels.
const BATCH: usize = 64;
const BATCH_PIXELS: usize = 1 << 16;
/// Images that go through Inception at once, which sees them large.
const INCEPTION_BATCH: usize = 4;

const DIGITS: &[u8] = include_bytes!("../../data/digits.safetensors");
const FASHION: &[u8] = include_bytes!("../../data/fashion.safetensors");

/// A network that turns images into features.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use ct_eval::Features;
///
/// let network = Features::embedded(&[1, 8, 8])?.expect("there is one for 8x8 gray");
/// assert_eq!((network.name(), network.dim()), ("digits", 64));
/// let images = Tensor::zeros((3, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let features = network.of(&images, &mut |_| ())?;
/// assert_eq!((features.len(), features.dim()), (3, 64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Features {
    /// A classifier of small gray images.
    Small(SmallCnn),
    /// The first blocks of EfficientNet-Lite0.
    EfficientNet(EfficientNet),
    /// Inception-v3 in the variant of FID.
    Inception(Inception),
}

impl Features {
    /// The network in the binary that suits images of this shape, `[C, H, W]`; none for other shapes.
    ///
    /// # Errors
    /// [`Error::Weights`] when the embedded weights are damaged, a fault of the build.
    pub fn embedded(sample_shape: &[usize]) -> Result<Option<Self>> {
        let bytes = match sample_shape {
            [1, 8, 8] => DIGITS,
            [1, 28, 28] => FASHION,
            _ => return Ok(None),
        };
        Ok(Some(Self::Small(SmallCnn::from_weights(&Weights::parse(bytes, "the embedded weights")?)?)))
    }

    /// A network from a safetensors file, or a state dict of PyTorch 1.6 or later (`.pth`, `.pt`), recognized by the names of its tensors.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when it holds no network that is known.
    pub fn load(path: &Path) -> Result<Self> {
        let is_pickle = path.extension().is_some_and(|extension| extension == "pth" || extension == "pt");
        let weights = if is_pickle {
            Weights::read_state_dict(path)?
        } else {
            let bytes =
                std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
            Weights::parse(&bytes, &path.display().to_string())?
        };
        if weights.has("_conv_stem.weight") {
            EfficientNet::from_weights(&weights).map(Self::EfficientNet)
        } else if weights.has("Conv2d_1a_3x3.conv.weight") {
            Inception::from_weights(&weights).map(Self::Inception)
        } else if weights.has("conv1.weight") && weights.has("scores.weight") {
            SmallCnn::from_weights(&weights).map(Self::Small)
        } else {
            Err(weights.error(
                "it holds no network that is known: expected EfficientNet-Lite0 \
                 (`_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, ..), Inception-v3 of pytorch-fid \
                 (`Conv2d_1a_3x3.conv.weight`, ..) or a small classifier of this project",
            ))
        }
    }

    /// The name of the network, a part of the name of every figure.
    pub fn name(&self) -> &str {
        match self {
            Self::Small(network) => network.name(),
            Self::EfficientNet(_) => "efflite0",
            Self::Inception(_) => "inception",
        }
    }

    /// Values per image.
    pub fn dim(&self) -> usize {
        match self {
            Self::Small(network) => network.dim(),
            Self::EfficientNet(network) => network.dim(),
            Self::Inception(network) => network.dim(),
        }
    }

    /// The space of the features.
    pub fn space(&self) -> Space {
        Space::Features(self.name().to_owned())
    }

    /// Whether images of this shape, `[C, H, W]`, can be given to the network.
    ///
    /// # Errors
    /// [`Error::Images`], which says what it takes.
    pub fn check(&self, sample_shape: &[usize]) -> Result<()> {
        let (fits, expected) = match (self, sample_shape) {
            (Self::Small(network), &[c, h, w]) => {
                let side = network.side();
                (c == 1 && h == side && w == side, format!("[1, {side}, {side}]"))
            }
            (Self::EfficientNet(_) | Self::Inception(_), &[c, h, w]) => {
                (matches!(c, 1 | 3) && h.min(w) >= 1, "[1, H, W] or [3, H, W]".to_owned())
            }
            _ => (false, "images, [C, H, W]".to_owned()),
        };
        if fits {
            return Ok(());
        }
        Err(Error::Images { network: self.name().to_owned(), expected, got: sample_shape.to_vec() })
    }

    /// The features of images; `progress` is told how many are done.
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` in [-1, 1].
    ///
    /// # Errors
    /// [`Error::Images`] for images that the network does not take, or when a kernel fails.
    pub fn of(&self, x: &Tensor, progress: &mut dyn FnMut(usize)) -> Result<Samples> {
        self.check(x.dims().get(1..).unwrap_or_default())?;
        let num = x.dims().first().copied().unwrap_or(0);
        let x = x.to_dtype(DType::F32)?.contiguous()?;
        let mut values = Vec::with_capacity(num * self.dim());
        let pixels: usize = x.dims().iter().skip(2).product();
        let batch = match self {
            Self::Inception(_) => INCEPTION_BATCH,
            _ => (BATCH_PIXELS / pixels.max(1)).clamp(1, BATCH),
        };
        for start in (0..num).step_by(batch) {
            let end = (start + batch).min(num);
            let part = x.narrow(0, start, end - start)?;
            let features = match self {
                Self::Small(network) => network.features(&part)?,
                Self::EfficientNet(network) => network.features(&part)?,
                Self::Inception(network) => network.features(&part)?,
            };
            values.extend(features.flatten_all()?.to_vec1::<f32>()?);
            progress(end);
        }
        Samples::new(values, self.dim())
    }
}
