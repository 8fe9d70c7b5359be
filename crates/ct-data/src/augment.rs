//! Augmentation that does not leak into samples: the network is told what was done to each image.
//!
//! Karras et al. 2022 (arXiv 2206.00364), appendix F.2 and table 6; the transformations are those of Karras et al. 2020
//! (arXiv 2006.06676). Each is applied with the same small chance and reported in a label of nine numbers; at sampling
//! the label is zero, and so nothing of it shows.
//!
//! | transformation | parameter | label |
//! |---|---|---|
//! | mirror left and right | one half | 1 where mirrored |
//! | mirror top and bottom | one half | 1 where mirrored |
//! | scale by `2^(0.2 w)` | `w ~ N(0, 1)` | `w` |
//! | turn counter-clockwise by `a` | `a ~ U(-pi, pi)` | `cos a - 1`, `sin a` |
//! | stretch by `2^(0.2 w)` along the direction `r`, shrink by as much across it | `w ~ N(0, 1)`, `r ~ U(-pi, pi)` | `w cos r`, `w sin r` |
//! | move right and down by `0.125 w` of width and height | two of `w ~ N(0, 1)` | both `w` |
//!
//! They are made in this order, the mirrorings by exchanging pixels and all others in one warp about the centre, with
//! cubic interpolation and mirrored borders. The reference code interpolates linearly on an image of twice the size.

mod warp;

use std::f64::consts::PI;

use candle_core::{DType, Device, Tensor};
use ct_random::{Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use warp::Affine;

/// Numbers in an augmentation label.
pub const AUGMENT_LABELS: usize = 9;

/// Octaves of scaling and stretching for one standard deviation.
const SCALE_OCTAVES: f64 = 0.2;
/// Share of the side of an image that one standard deviation moves it by.
const TRANSLATE_SHARE: f64 = 0.125;

/// How often each transformation is applied: with the chance `probability` times its own factor, at most 1.
///
/// A factor of 0 switches a transformation off. The reference setting is a probability of 0.12 with every factor 1,
/// and `xflip` so large that every image has an even chance to be mirrored.
///
/// ```
/// use ct_data::{AugmentConfig, augment};
///
/// let config = AugmentConfig { probability: 1.0, ..AugmentConfig::none() };
/// let mirrored = AugmentConfig { xflip: 1.0, ..config };
/// let labels = (0..8).map(|image| augment(&[-1.0, 1.0], [1, 1, 2], &mirrored, 0, image));
/// for result in labels {
///     let (x, label) = result?;
///     assert_eq!(x, if label[0] == 1.0 { [1.0, -1.0] } else { [-1.0, 1.0] });
/// }
/// # Ok::<(), ct_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// The chance of a transformation with factor 1; 0 for no augmentation. 0.12 to 0.15 is usual.
    pub probability: f64,
    /// Mirroring left and right. An image that is chosen is mirrored every other time.
    pub xflip: f64,
    /// Mirroring top and bottom. An image that is chosen is mirrored every other time.
    pub yflip: f64,
    /// Scaling.
    pub scale: f64,
    /// Turning.
    pub rotate: f64,
    /// Stretching in one direction.
    pub aniso: f64,
    /// Moving.
    pub translate: f64,
}

impl Default for AugmentConfig {
    /// No augmentation; with a probability, everything but mirroring.
    fn default() -> Self {
        Self::without_flips(0.0)
    }
}

impl AugmentConfig {
    /// Nothing is done: the probability and every factor are 0.
    pub const fn none() -> Self {
        Self { probability: 0.0, xflip: 0.0, yflip: 0.0, scale: 0.0, rotate: 0.0, aniso: 0.0, translate: 0.0 }
    }

    /// Everything but mirroring, for images that have a right side, such as digits.
    pub const fn without_flips(probability: f64) -> Self {
        Self { probability, xflip: 0.0, yflip: 0.0, scale: 1.0, rotate: 1.0, aniso: 1.0, translate: 1.0 }
    }

    /// Errors for settings that are no chances.
    ///
    /// # Errors
    /// A probability outside of [0, 1], or a factor that is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        let Self { probability, xflip, yflip, scale, rotate, aniso, translate } = *self;
        if !(0.0..=1.0).contains(&probability) {
            return Err(Error::AugmentSetting {
                name: "probability",
                value: probability,
                expected: "0 to 1",
            });
        }
        let factors = [
            ("xflip", xflip),
            ("yflip", yflip),
            ("scale", scale),
            ("rotate", rotate),
            ("aniso", aniso),
            ("translate", translate),
        ];
        let wrong = factors.into_iter().find(|(_, factor)| !(factor.is_finite() && *factor >= 0.0));
        wrong.map_or(Ok(()), |(name, value)| {
            Err(Error::AugmentSetting { name, value, expected: "a finite number of at least 0" })
        })
    }
}

/// Augments image number `image` of the run with this seed; what is done depends on nothing else.
///
/// # Shapes
/// `x`: f32 in [-1, 1], the values of an image of `shape` = `[C, H, W]`; the result is as long, and in [-1, 1] too.
/// Where no transformation is chosen the image keeps its bits, and the label is zero.
///
/// # Errors
/// A setting out of its range, or a number of values that is not that of the shape.
pub fn augment(
    x: &[f32],
    shape: [usize; 3],
    config: &AugmentConfig,
    seed: u64,
    image: u64,
) -> Result<(Vec<f32>, [f32; AUGMENT_LABELS])> {
    config.validate()?;
    if x.is_empty() || x.len() != shape.iter().product::<usize>() {
        let got = format!("{} values", x.len());
        return Err(Error::AugmentShape { expected: format!("an image of {shape:?}"), got });
    }
    let draws = Draws::new(config, seed, image);
    Ok((draws.apply(x, shape), draws.label()))
}

/// [`augment`] for each image of a batch; `images` are their numbers.
///
/// # Shapes
/// `x`: `[B, C, H, W]` f32 in [-1, 1]; the results, on the same device, are as large and `[B, 9]`.
///
/// # Errors
/// A setting out of its range, another shape, or a number of `images` that is not B.
pub fn augment_batch(
    x: &Tensor,
    config: &AugmentConfig,
    seed: u64,
    images: &[u64],
) -> Result<(Tensor, Tensor)> {
    let &[batch, channels, height, width] = x.dims() else {
        let got = format!("{:?}", x.dims());
        return Err(Error::AugmentShape { expected: "images [B, C, H, W]".to_owned(), got });
    };
    if images.len() != batch {
        let got = format!("{} numbers of images", images.len());
        return Err(Error::AugmentShape { expected: format!("one for each of {batch} images"), got });
    }
    let values: Vec<f32> = x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let shape = [channels, height, width];
    let done: Vec<(Vec<f32>, [f32; AUGMENT_LABELS])> = values
        .par_chunks_exact((channels * height * width).max(1))
        .zip(images)
        .map(|(x, &image)| augment(x, shape, config, seed, image))
        .collect::<Result<_>>()?;
    let (pixels, labels): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let augmented = Tensor::from_vec(pixels.concat(), x.dims(), x.device())?;
    Ok((augmented, Tensor::from_vec(labels.concat(), (batch, AUGMENT_LABELS), x.device())?))
}

/// What was drawn for an image; all zero where nothing is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Draws {
    xflip: bool,
    yflip: bool,
    scale: f64,
    angle: f64,
    stretch: f64,
    direction: f64,
    /// Right and down.
    shift: [f64; 2],
}

impl Draws {
    /// All numbers are drawn in a fixed order, used or not: switching one transformation off leaves the others alone.
    fn new(config: &AugmentConfig, seed: u64, image: u64) -> Self {
        let mut stream = Stream::new(seed, Purpose::Augment, 0, image);
        let chosen = |factor: f64, stream: &mut Stream| stream.uniform() < config.probability * factor;
        let angle = |stream: &mut Stream| PI * (2.0 * stream.uniform() - 1.0);

        let xflip = chosen(config.xflip, &mut stream) & (stream.below(2) == 1);
        let yflip = chosen(config.yflip, &mut stream) & (stream.below(2) == 1);
        let scale = (chosen(config.scale, &mut stream), stream.normal());
        let turn = (chosen(config.rotate, &mut stream), angle(&mut stream));
        let stretch = (chosen(config.aniso, &mut stream), stream.normal(), angle(&mut stream));
        let shift = (chosen(config.translate, &mut stream), [stream.normal(), stream.normal()]);

        let mut draws = Self { xflip, yflip, ..Self::default() };
        if scale.0 {
            draws.scale = scale.1;
        }
        if turn.0 {
            draws.angle = turn.1;
        }
        if stretch.0 {
            (draws.stretch, draws.direction) = (stretch.1, stretch.2);
        }
        if shift.0 {
            draws.shift = shift.1;
        }
        draws
    }

    #[expect(clippy::cast_possible_truncation, reason = "a label is f32, as all that the network is fed")]
    fn label(&self) -> [f32; AUGMENT_LABELS] {
        let (sin, cos) = libm::sincos(self.angle);
        let (across, along) = libm::sincos(self.direction);
        [
            f64::from(self.xflip),
            f64::from(self.yflip),
            self.scale,
            cos - 1.0,
            sin,
            self.stretch * along,
            self.stretch * across,
            self.shift[0],
            self.shift[1],
        ]
        .map(|value| value as f32)
    }

    fn apply(&self, x: &[f32], shape: [usize; 3]) -> Vec<f32> {
        let [_, height, width] = shape;
        let mut image = x.to_vec();
        if self.xflip {
            image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        if self.yflip {
            for plane in image.chunks_exact_mut(height * width) {
                plane.reverse();
                plane.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            }
        }
        let moves = Self { xflip: false, yflip: false, ..*self } != Self::default();
        if moves { warp::warp(&image, shape, &self.affine(height, width)) } else { image }
    }

    /// Where the pixels go.
    fn affine(&self, height: usize, width: usize) -> Affine {
        let size = libm::exp2(SCALE_OCTAVES * self.scale);
        let stretch = libm::exp2(SCALE_OCTAVES * self.stretch);
        let [right, down] = self.shift.map(|w| TRANSLATE_SHARE * w);
        Affine::scale(size, size)
            .then(&Affine::turn(self.angle))
            .then(&Affine::turn(-self.direction))
            .then(&Affine::scale(stretch, stretch.recip()))
            .then(&Affine::turn(self.direction))
            .then(&Affine::shift(right * width as f64, down * height as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 5, 4];

    fn picture() -> Vec<f32> {
        (0..40_u16).map(|i| f32::from(i * 29 % 41) / 20.5 - 1.0).collect()
    }

    #[test]
    fn labels_are_those_of_the_table() {
        let draws = Draws {
            xflip: true,
            yflip: false,
            scale: -0.5,
            angle: PI / 2.0,
            stretch: 2.0,
            direction: PI,
            shift: [0.25, -1.5],
        };
        let expected = [1.0, 0.0, -0.5, -1.0, 1.0, -2.0, 0.0, 0.25, -1.5];
        for (got, expected) in draws.label().into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
        assert!(Draws::default().label().iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_move_by_whole_pixels_is_exact() {
        let x = picture();
        // One pixel right and two up: the label times an eighth of 4 and 5 pixels.
        let draws = Draws { shift: [2.0, -3.2], ..Draws::default() };
        let y = draws.apply(&x, SHAPE);
        let at = |c: usize, row: usize, column: usize| x[(c * 5 + row) * 4 + column];
        for (i, y) in y.into_iter().enumerate() {
            let (c, row, column) = (i / 20, i / 4 % 5, i % 4);
            // Mirrored about the outermost pixels.
            let from_row = [2, 3, 4, 3, 2][row];
            let from_column = [1, 0, 1, 2][column];
            assert_eq!(y.to_bits(), at(c, from_row, from_column).to_bits(), "at {c} {row} {column}");
        }
    }

    #[test]
    fn a_quarter_turn_goes_counter_clockwise() {
        let x: Vec<f32> = (0..16_u8).map(|i| f32::from(i) / 16.0).collect();
        let y = Draws { angle: PI / 2.0, ..Draws::default() }.apply(&x, [1, 4, 4]);
        for (i, y) in y.into_iter().enumerate() {
            // The right edge becomes the top edge.
            let (row, column) = (i / 4, i % 4);
            assert!((y - x[column * 4 + 3 - row]).abs() < 1e-6, "at {row} {column}");
        }
    }

    #[test]
    fn a_stretch_along_x_widens_and_one_along_y_narrows() {
        // A band two columns wide; five standard deviations are an octave.
        let x: Vec<f32> = (0..64).map(|i| if (3..5).contains(&(i % 8)) { 1.0 } else { -1.0 }).collect();
        // The mean of the inner four columns, which the mirrored borders do not reach.
        let inner = |direction| {
            let draws = Draws { stretch: 5.0, direction, ..Draws::default() };
            let y = draws.apply(&x, [1, 8, 8]);
            y.chunks(8).flat_map(|row| &row[2..6]).sum::<f32>() / 32.0
        };
        // By the cubic's weights at quarters: 1 and 19/32 from the middle outwards.
        assert!((inner(0.0) - 51.0 / 64.0).abs() < 1e-5, "{}", inner(0.0));
        // At halves: 0 and -1.
        assert!((inner(PI / 2.0) + 0.5).abs() < 1e-5, "{}", inner(PI / 2.0));
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "a wave in f32")]
    fn a_smooth_picture_is_scaled_about_its_centre() {
        let wave = |x: f64, y: f64| 0.8 * libm::sin(0.35 * x) * libm::cos(0.3 * y);
        let centred = |i: usize| i as f64 - 7.5;
        let draws = Draws { scale: 1.5, ..Draws::default() };
        let x: Vec<f32> = (0..256).map(|i| wave(centred(i % 16), centred(i / 16)) as f32).collect();
        let factor = libm::exp2(0.3);
        for (i, y) in draws.apply(&x, [1, 16, 16]).into_iter().enumerate() {
            let expected = wave(centred(i % 16) / factor, centred(i / 16) / factor);
            // Generous to the interpolation, and far below what scaling the wrong way would give.
            assert!((f64::from(y) - expected).abs() < 0.01, "{y} at {i}, expected {expected}");
        }
    }

    #[test]
    fn switching_one_off_leaves_the_others_alone() {
        let all =
            AugmentConfig { probability: 1.0, xflip: 1.0, yflip: 1.0, ..AugmentConfig::without_flips(1.0) };
        let fewer = AugmentConfig { rotate: 0.0, ..all };
        let (all, fewer) = (Draws::new(&all, 3, 5), Draws::new(&fewer, 3, 5));
        assert!(all.angle != 0.0);
        assert_eq!(fewer, Draws { angle: 0.0, ..all });
    }
}
