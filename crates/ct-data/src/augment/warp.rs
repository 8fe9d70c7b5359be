//! Moving the pixels of an image about its centre.
//!
//! Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing", with a = -1/2: it goes through the pixels,
//! so a move by whole pixels is exact.

/// `p -> matrix p + shift`, in pixels from the centre of the image; x goes right and y goes down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    matrix: [[f64; 2]; 2],
    shift: [f64; 2],
}

impl Affine {
    pub(super) fn scale(x: f64, y: f64) -> Self {
        Self { matrix: [[x, 0.0], [0.0, y]], shift: [0.0; 2] }
    }

    /// Counter-clockwise, as one looks at it.
    pub(super) fn turn(angle: f64) -> Self {
        let (sin, cos) = libm::sincos(angle);
        Self { matrix: [[cos, sin], [-sin, cos]], shift: [0.0; 2] }
    }

    pub(super) fn shift(right: f64, down: f64) -> Self {
        Self { shift: [right, down], ..Self::scale(1.0, 1.0) }
    }

    /// First `self`, then `next`.
    pub(super) fn then(&self, next: &Self) -> Self {
        let column = |j: usize| next.linear([self.matrix[0][j], self.matrix[1][j]]);
        let ([a, c], [b, d]) = (column(0), column(1));
        let [x, y] = next.linear(self.shift);
        Self { matrix: [[a, b], [c, d]], shift: [x + next.shift[0], y + next.shift[1]] }
    }

    fn linear(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.matrix.map(|[a, b]| a * x + b * y)
    }

    /// The point that goes to `p`. Scales and turns have no zero determinant.
    fn source(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [[a, b], [c, d]] = self.matrix;
        let determinant = a * d - b * c;
        let (x, y) = (x - self.shift[0], y - self.shift[1]);
        [(d * x - b * y) / determinant, (a * y - c * x) / determinant]
    }
}

/// The image that an affine map makes of `image`, cut off at [-1, 1].
pub(super) fn warp(image: &[f32], [channels, height, width]: [usize; 3], map: &Affine) -> Vec<f32> {
    let centre = [(width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0];
    let plane_len = height * width;
    let mut out = vec![0.0; channels * plane_len];
    for i in 0..plane_len {
        let (row, column) = (i / width, i % width);
        let [x, y] = map.source([column as f64 - centre[0], row as f64 - centre[1]]);
        let (columns, rows) = (taps(x + centre[0], width), taps(y + centre[1], height));
        for channel in 0..channels {
            let plane = &image[channel * plane_len..][..plane_len];
            let sum: f64 =
                rows.iter().map(|&(row, weight)| weight * across(plane, row * width, &columns)).sum();
            #[expect(clippy::cast_possible_truncation, reason = "f32 in, f32 out")]
            let value = sum.clamp(-1.0, 1.0) as f32;
            out[channel * plane_len + i] = value;
        }
    }
    out
}

fn across(plane: &[f32], start: usize, columns: &[(usize, f64); 4]) -> f64 {
    columns.iter().map(|&(column, weight)| weight * f64::from(plane[start + column])).sum()
}

/// The four pixels about a place on a line, with their weights.
fn taps(at: f64, len: usize) -> [(usize, f64); 4] {
    let (floor, u) = (at.floor(), at - at.floor());
    let weights = [
        u * (u * (1.0 - 0.5 * u) - 0.5),
        1.0 + u * u * (1.5 * u - 2.5),
        u * (0.5 + u * (2.0 - 1.5 * u)),
        u * u * (0.5 * u - 0.5),
    ];
    std::array::from_fn(|i| (reflect(floor + i as f64 - 1.0, len), weights[i]))
}

/// The pixel at a place beyond the ends, where a line is mirrored about its outermost pixels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 0 to len - 1"
)]
fn reflect(at: f64, len: usize) -> usize {
    let last = len as f64 - 1.0;
    if last < 1.0 {
        return 0;
    }
    let folded = at.rem_euclid(2.0 * last);
    folded.min(2.0 * last - folded) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mirrored_about_their_ends() {
        let places: Vec<usize> = (-5..9).map(|at| reflect(f64::from(at), 4)).collect();
        assert_eq!(places, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!([reflect(-3.0, 1), reflect(2.0, 1)], [0, 0]);
    }

    #[test]
    fn weights_reproduce_parabolas() {
        for at in [3.0, 3.2, 3.5, 3.9] {
            let sum = |f: fn(f64) -> f64| taps(at, 100).iter().map(|&(i, w)| w * f(i as f64)).sum::<f64>();
            assert!((sum(|_| 1.0) - 1.0).abs() < 1e-12);
            assert!((sum(|x| x) - at).abs() < 1e-12);
            assert!((sum(|x| x * x) - at * at).abs() < 1e-12);
        }
    }

    #[test]
    fn the_source_of_where_a_point_goes_is_the_point() {
        let map = Affine::scale(1.3, 0.7).then(&Affine::turn(0.4)).then(&Affine::shift(2.0, -1.0));
        let [x, y] = map.linear([3.0, 5.0]);
        let [x, y] = map.source([x + map.shift[0], y + map.shift[1]]);
        assert!((x - 3.0).abs() < 1e-12 && (y - 5.0).abs() < 1e-12);
        // Scaled by (1.3, 0.7) to (3.9, 3.5), turned, then moved.
        let (sin, cos) = libm::sincos(0.4);
        let [x, _] = map.linear([3.0, 5.0]);
        assert!((x - (3.9 * cos + 3.5 * sin)).abs() < 1e-12);
    }
}
