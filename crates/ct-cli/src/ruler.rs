//! What samples are compared in: features of a network, pixels, or coordinates.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use ct_data::Dataset;
use ct_eval::{Features, Samples, Space};

use crate::terminal;

/// Values of an image in pixels. Larger images are first halved: the work grows with the third power.
const MOST_VALUES: usize = 1024;
/// Real images that are compared with; more make the figures hardly better and slow.
const MOST_IMAGES: usize = 10_000;
/// Points, real or drawn: sixteen sets of those that are compared at once (`ct_eval::Settings::set_size`).
pub(crate) const MOST_POINTS: usize = 64_000;
/// Values of a data set that are turned into rows at once.
const PART_VALUES: usize = 1 << 22;

/// What samples of one shape are compared in.
#[derive(Clone, Debug)]
pub(crate) enum Ruler {
    /// The coordinates of points.
    Points,
    /// The pixels of images of this shape.
    Pixels([usize; 3]),
    /// The features of a network.
    Network(Box<Features>),
}

impl Ruler {
    /// Coordinates for vectors, pixels for images of the shape `[C, H, W]`.
    pub(crate) fn plain(sample_shape: &[usize]) -> Self {
        match *sample_shape {
            [c, h, w] => Self::Pixels([c, h, w]),
            _ => Self::Points,
        }
    }

    /// The features of the network in the program that suits this shape, if there is one.
    pub(crate) fn embedded(sample_shape: &[usize]) -> Result<Option<Self>> {
        Ok(Features::embedded(sample_shape)?.map(|network| Self::Network(Box::new(network))))
    }

    /// The features of a network in a file.
    fn load(path: &Path) -> Result<Self> {
        Ok(Self::Network(Box::new(Features::load(path)?)))
    }

    /// What `--features` names, for samples of this shape: `auto`, `pixels`, or the file of a network.
    pub(crate) fn choose(features: &str, sample_shape: &[usize]) -> Result<Self> {
        let ruler = match features {
            "pixels" => Self::plain(sample_shape),
            "auto" => Self::embedded(sample_shape)?.unwrap_or_else(|| Self::plain_for_want(sample_shape)),
            path => Self::load(Path::new(path))?,
        };
        ruler.check(sample_shape)?;
        Ok(ruler)
    }

    /// Pixels because there is no better, which is told.
    fn plain_for_want(sample_shape: &[usize]) -> Self {
        if sample_shape.len() == 3 {
            terminal::note(format_args!(
                "no feature network in ct suits images of shape {sample_shape:?}, so pixels are compared; \
                 --features FILE with the weights of EfficientNet-Lite0 tells more (docs/MATH.md)"
            ));
        }
        Self::plain(sample_shape)
    }

    /// Whether samples of this shape can be compared so.
    fn check(&self, sample_shape: &[usize]) -> Result<()> {
        match self {
            Self::Network(network) => Ok(network.check(sample_shape)?),
            Self::Points | Self::Pixels(_) => Ok(()),
        }
    }

    /// The space that figures are named after; of halved images it names the size.
    pub(crate) fn space(&self) -> Space {
        match self {
            Self::Points => Space::Points,
            Self::Pixels([c, h, w]) => match halvings(*c, *h, *w) {
                0 => Space::Pixels,
                times => Space::Features(format!("pixels-{}x{}", h >> times, w >> times)),
            },
            Self::Network(network) => network.space(),
        }
    }

    /// The rows that samples are compared by; `progress` is told how many are done.
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` in [-1, 1], or `[N, D]`.
    pub(crate) fn rows(&self, x: &Tensor, progress: &mut dyn FnMut(usize)) -> Result<Samples> {
        let x = x.to_device(&Device::Cpu)?;
        Ok(match self {
            Self::Points => Samples::from_tensor(&x)?,
            Self::Pixels([c, h, w]) => {
                let halved = (0..halvings(*c, *h, *w)).try_fold(x, |x, _| x.avg_pool2d(2))?;
                Samples::from_tensor(&halved)?
            }
            Self::Network(network) => network.of(&x, progress)?,
        })
    }

    /// The rows of data, of an even part if there is more than serves the comparison.
    pub(crate) fn rows_of_data(&self, data: &Dataset, progress: &mut dyn FnMut(usize)) -> Result<Samples> {
        self.rows_of(data, &spread(data.len(), self.most_real()), progress)
    }

    /// How many real samples are compared with at most.
    pub(crate) fn most_real(&self) -> usize {
        if matches!(self, Self::Points) { MOST_POINTS } else { MOST_IMAGES }
    }

    /// The rows of the samples of `data` with these indices.
    pub(crate) fn rows_of(
        &self,
        data: &Dataset,
        indices: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Samples> {
        let (mut values, mut dim) = (Vec::new(), 1);
        let part = (PART_VALUES / data.sample_shape().iter().product::<usize>().max(1)).max(1);
        for (number, indices) in indices.chunks(part).enumerate() {
            let rows = self.rows(&data.tensor(indices)?, &mut |done| progress(number * part + done))?;
            dim = rows.dim();
            values.extend(rows.rows().flatten());
        }
        Ok(Samples::new(values, dim)?)
    }
}

/// At most `most` indices, evenly over a set of `len`.
pub(crate) fn spread(len: usize, most: usize) -> Vec<usize> {
    let num = len.min(most);
    (0..num).map(|i| i * len / num).collect()
}

/// How often images are halved, by averaging, until they have at most [`MOST_VALUES`] values.
fn halvings(channels: usize, height: usize, width: usize) -> u32 {
    let fits = channels * height * width <= MOST_VALUES;
    if fits || height % 2 == 1 || width % 2 == 1 { 0 } else { 1 + halvings(channels, height / 2, width / 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_are_halved_and_say_so() {
        let space = |shape: &[usize]| Ruler::plain(shape).space().to_string();
        assert_eq!(space(&[1, 28, 28]), "pixels");
        assert_eq!(space(&[3, 64, 64]), "pixels-16x16");
        assert_eq!(space(&[3, 33, 33]), "pixels");
        assert_eq!(space(&[2]), "points");
        let x = Tensor::ones((2, 3, 64, 64), candle_core::DType::F32, &Device::Cpu).unwrap();
        let rows = Ruler::plain(&[3, 64, 64]).rows(&x, &mut |_| ()).unwrap();
        assert_eq!((rows.len(), rows.dim()), (2, 768));
    }

    #[test]
    fn a_part_is_spread_over_the_whole() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 3), [0, 1]);
    }
}
