//! 2-D distributions to look at: small enough to train in seconds, hard enough to show mistakes.
//!
//! Point `i` of a split is a pure function of `(seed, split, i)`, so held-out points come from the same code.
//! Every distribution is scaled so that `sigma_data`, the standard deviation over all coordinates, is 0.5, and no point
//! lies outside `[-1.5, 1.5]^2`.
//! Sine and cosine come from `libm`, so that the points are the same on every platform.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};
use std::fmt;

use ct_random::{Purpose, Stream};

use crate::dataset::numbered_classes;
use crate::{Dataset, Error, LoadOptions, Result, Split};

/// Points in each split.
const POINTS: u64 = 65_536;

/// A 2-D distribution. In the formulas `u` is uniform in (0, 1) and `z` is a standard normal for each coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toy {
    /// Two interlocking half circles, two classes.
    ///
    /// With `a = pi u`: `(cos a, sin a)` or `(1 - cos a, 1/2 - sin a)`, plus `0.05 z`, less the mean `(1/2, 1/4)`,
    /// divided by `sqrt 2`.
    TwoMoons,
    /// Eight small normals on a circle, eight classes.
    ///
    /// `0.7 (cos a, sin a) + 0.05 z` with `a = k pi / 4`, `k = 0..8`.
    EightGaussians,
    /// A spiral of one and a half turns, one class.
    ///
    /// With `a = pi (3/2 + 3 u)`: `(a cos a, a sin a) + 0.3 z`, less the mean `(2, 2 / (3 pi))`, times 0.0736.
    SwissRoll,
    /// The eight dark squares of a 4x4 board, one class: sharp edges, and density zero between them.
    ///
    /// The board is `[-h, h]^2` with `h = sqrt(3) / 2`.
    Checkerboard,
    /// Two spirals wound into each other, two classes.
    ///
    /// `+-sqrt(u) (cos a, sin a) + 0.02 z` with `a = 3 pi sqrt(u)`.
    Spirals,
}

impl Toy {
    /// Every toy.
    pub const ALL: [Self; 5] =
        [Self::TwoMoons, Self::EightGaussians, Self::SwissRoll, Self::Checkerboard, Self::Spirals];

    /// Its name in a spec, such as `two-moons`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoMoons => "two-moons",
            Self::EightGaussians => "eight-gaussians",
            Self::SwissRoll => "swiss-roll",
            Self::Checkerboard => "checkerboard",
            Self::Spirals => "spirals",
        }
    }

    /// Number of classes, for a toy that has more than one.
    pub fn num_classes(self) -> Option<usize> {
        match self {
            Self::TwoMoons | Self::Spirals => Some(2),
            Self::EightGaussians => Some(8),
            Self::SwissRoll | Self::Checkerboard => None,
        }
    }

    /// One point, and its class (0 for a toy without classes).
    fn point(self, stream: &mut Stream) -> ([f64; 2], u32) {
        match self {
            Self::TwoMoons => two_moons(stream),
            Self::EightGaussians => eight_gaussians(stream),
            Self::SwissRoll => (swiss_roll(stream), 0),
            Self::Checkerboard => (checkerboard(stream), 0),
            Self::Spirals => spirals(stream),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "points are kept as f32, which is rounding")]
    pub(crate) fn load(self, options: &LoadOptions) -> Result<Dataset> {
        let refused = match options {
            LoadOptions { size: Some(_), .. } => Some("size"),
            LoadOptions { channels: Some(_), .. } => Some("channels"),
            _ => None,
        };
        if let Some(option) = refused {
            return Err(Error::NotImages { name: format!("toy:{self}"), option });
        }

        let steps: &[u64] = match options.split {
            Split::Train => &[0],
            Split::Test => &[1],
            Split::All => &[0, 1],
        };
        let (points, labels): (Vec<[f32; 2]>, Vec<u32>) = steps
            .iter()
            .flat_map(|&step| (0..POINTS).map(move |i| (step, i)))
            .map(|(step, i)| {
                let mut stream = Stream::new(options.seed, Purpose::Data, step, i);
                let (point, label) = self.point(&mut stream);
                (point.map(|v| v as f32), label)
            })
            .unzip();
        let dataset = Dataset::from_vectors(self.as_str(), 2, points.into_flattened())?;
        match self.num_classes() {
            Some(classes) => dataset.with_labels(labels, numbered_classes(classes)),
            None => Ok(dataset),
        }
    }
}

impl fmt::Display for Toy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The two coordinates plus a normal of this standard deviation.
fn jitter([x, y]: [f64; 2], sigma: f64, stream: &mut Stream) -> [f64; 2] {
    [x + sigma * stream.normal(), y + sigma * stream.normal()]
}

fn two_moons(stream: &mut Stream) -> ([f64; 2], u32) {
    let moon = stream.below(2);
    let (sin, cos) = libm::sincos(PI * stream.uniform());
    let on_moon = match moon {
        0 => [cos, sin],
        _ => [1.0 - cos, 0.5 - sin],
    };
    // The variances of x and y are 0.7525 and 0.2466, so dividing by sqrt 2 leaves 0.5^2 on average.
    let [x, y] = jitter(on_moon, 0.05, stream);
    ([(x - 0.5) * FRAC_1_SQRT_2, (y - 0.25) * FRAC_1_SQRT_2], moon)
}

fn eight_gaussians(stream: &mut Stream) -> ([f64; 2], u32) {
    let mode = stream.below(8);
    let (sin, cos) = libm::sincos(TAU * f64::from(mode) / 8.0);
    // 0.7^2 / 2 + 0.05^2 = 0.4975^2.
    (jitter([0.7 * cos, 0.7 * sin], 0.05, stream), mode)
}

fn swiss_roll(stream: &mut Stream) -> [f64; 2] {
    let angle = PI * (1.5 + 3.0 * stream.uniform());
    let (sin, cos) = libm::sincos(angle);
    let [x, y] = jitter([angle * cos, angle * sin], 0.3, stream);
    // With a uniform in [3 pi / 2, 9 pi / 2]: E[a cos a] = 2, E[a sin a] = 2 / (3 pi), mean variance 46.18 = (0.5 / 0.0736)^2.
    [(x - 2.0) * 0.0736, (y - 2.0 / (3.0 * PI)) * 0.0736]
}

fn checkerboard(stream: &mut Stream) -> [f64; 2] {
    let column = stream.below(4);
    let row = 2 * stream.below(2) + column % 2;
    // A uniform on [-h, h] has variance h^2 / 3.
    let half_width = libm::sqrt(3.0) / 2.0;
    let mut coordinate = |square: u32| half_width * (0.5 * (f64::from(square) + stream.uniform()) - 1.0);
    let x = coordinate(column);
    [x, coordinate(row)]
}

fn spirals(stream: &mut Stream) -> ([f64; 2], u32) {
    let arm = stream.below(2);
    let radius = libm::sqrt(stream.uniform());
    let (sin, cos) = libm::sincos(3.0 * PI * radius);
    let signed = if arm == 0 { radius } else { -radius };
    // The radius squared is uniform, so each coordinate has variance 1/4.
    (jitter([signed * cos, signed * sin], 0.02, stream), arm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_as_documented() {
        // The mean of 131072 coordinates of std 0.5 has a standard error of 0.002, and their std a smaller one.
        const TOLERANCE: f64 = 0.01;
        for toy in Toy::ALL {
            let data = toy.load(&LoadOptions::default()).unwrap();
            assert_eq!(data.len(), 65_536);
            assert!((data.std() - 0.5).abs() < TOLERANCE, "{toy}: std {}", data.std());
            assert!(data.mean().abs() < TOLERANCE, "{toy}: mean {}", data.mean());
            let indices: Vec<usize> = (0..data.len()).collect();
            let x = data.tensor(&indices).unwrap().flatten_all().unwrap();
            let x: Vec<f32> = x.to_vec1().unwrap();
            assert!(x.iter().all(|v| v.abs() <= 1.5), "{toy}");
        }
    }

    #[test]
    fn checkerboard_squares_alternate() {
        let half_width = 3.0_f64.sqrt() / 2.0;
        let square = |v: f64| (0..4).find(|&i| (v / half_width + 1.0) * 2.0 < f64::from(i + 1));
        let mut counts = [[0_u32; 4]; 4];
        for i in 0..4000 {
            let point = checkerboard(&mut Stream::new(1, Purpose::Data, 0, i));
            let [x, y] = point.map(|v| usize::try_from(square(v).unwrap()).unwrap());
            counts[y][x] += 1;
        }
        for (y, row) in counts.iter().enumerate() {
            for (x, &count) in row.iter().enumerate() {
                // 500 each, standard deviation 21; five of them.
                let expected = if (x + y) % 2 == 0 { 395..605 } else { 0..1 };
                assert!(expected.contains(&count), "{counts:?}");
            }
        }
    }
}
