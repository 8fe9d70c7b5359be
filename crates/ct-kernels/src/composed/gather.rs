//! Pixels under windows, picked by a table of their places: one launch, channels read as they lie, no padding copied.
//!
//! candle's `index_select` gives zeros where an index is the largest of its type, on every device:
//! that is a pixel outside of the image.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use crate::Result;
use crate::cpu::conv::ConvShape;

/// A place outside of the image.
const OUTSIDE: u32 = u32::MAX;

/// Tables that are kept; a network has a few for each of its sizes.
const MAX_TABLES: usize = 256;

/// Which pixels a table names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// For each pixel of the output, the pixels of the input that it is computed from.
    OfOutput,
    /// For each pixel of the input, the pixels of the output that are computed from it.
    OfInput,
}

/// All that a table depends on.
type Key = (Windows, [usize; 2], [usize; 2], usize, [usize; 4]);

static TABLES: Mutex<Vec<(Key, Tensor)>> = Mutex::new(Vec::new());

/// Every pixel's window, `[B, pixels, kh kw, C]`, from images of `[B, pixels, C]`.
pub(crate) fn windows(x: &Tensor, shape: &ConvShape, windows: Windows) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    let taps = shape.kernel[0] * shape.kernel[1];
    let picked = x.contiguous()?.index_select(&table(shape, windows, x.device())?, 1)?;
    let pixels = picked.dim(1)? / taps;
    Ok(picked.reshape((batch, pixels, taps, channels))?)
}

/// One pixel of every window, `[B, pixels, C]`: the one under tap `tap`, counted row by row.
pub(crate) fn tap(x: &Tensor, shape: &ConvShape, windows: Windows, tap: usize) -> Result<Tensor> {
    let taps = shape.kernel[0] * shape.kernel[1];
    let table = table(shape, windows, x.device())?;
    let table = table.reshape(((), taps))?.narrow(1, tap, 1)?.contiguous()?.flatten_all()?;
    Ok(x.contiguous()?.index_select(&table, 1)?)
}

fn table(shape: &ConvShape, windows: Windows, device: &Device) -> Result<Tensor> {
    let key = (windows, [shape.height, shape.width], shape.kernel, shape.stride, shape.padding);
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = tables.iter().find(|(other, table)| *other == key && table.device().same_device(device));
    if let Some((_, table)) = known {
        return Ok(table.clone());
    }
    if tables.len() >= MAX_TABLES {
        tables.clear();
    }
    let places = places(shape, windows);
    let len = places.len();
    let table = Tensor::from_vec(places, len, device)?;
    tables.push((key, table.clone()));
    Ok(table)
}

/// The table on the host, window after window.
fn places(shape: &ConvShape, windows: Windows) -> Vec<u32> {
    let input = [shape.height, shape.width];
    let output = [shape.out_height(), shape.out_width()];
    let padding = [shape.padding[0], shape.padding[2]];
    let (of, from) = match windows {
        Windows::OfOutput => (output, input),
        Windows::OfInput => (input, output),
    };
    let along = |axis: usize, at: usize, tap: usize| match windows {
        Windows::OfOutput => (at * shape.stride + tap).checked_sub(padding[axis]),
        Windows::OfInput => {
            let ahead = (at + padding[axis]).checked_sub(tap);
            ahead.filter(|ahead| ahead.is_multiple_of(shape.stride)).map(|ahead| ahead / shape.stride)
        }
    };
    let place = |axis: usize, at: usize, tap: usize| along(axis, at, tap).filter(|&at| at < from[axis]);
    let mut table = Vec::with_capacity(of[0] * of[1] * shape.kernel[0] * shape.kernel[1]);
    for y in 0..of[0] {
        for x in 0..of[1] {
            for ky in 0..shape.kernel[0] {
                for kx in 0..shape.kernel[1] {
                    let pixel = place(0, y, ky).zip(place(1, x, kx)).map(|(y, x)| y * from[1] + x);
                    table.push(pixel.and_then(|pixel| u32::try_from(pixel).ok()).unwrap_or(OUTSIDE));
                }
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(
        height: usize,
        width: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 4],
    ) -> ConvShape {
        ConvShape { batch: 1, height, width, c_in: 1, c_out: 1, kernel, stride, padding }
    }

    #[test]
    fn places_of_a_row() {
        let row = shape(1, 3, [1, 3], 1, [0, 0, 1, 1]);
        let expected = [OUTSIDE, 0, 1, 0, 1, 2, 1, 2, OUTSIDE];
        assert_eq!(places(&row, Windows::OfOutput), expected);
        // A pixel is under the last tap of the output before it, and under the first of the one behind it.
        assert_eq!(places(&row, Windows::OfInput), [1, 0, OUTSIDE, 2, 1, 0, OUTSIDE, 2, 1]);
        let halved = shape(1, 4, [1, 2], 2, [0; 4]);
        assert_eq!(places(&halved, Windows::OfOutput), [0, 1, 2, 3]);
        assert_eq!(places(&halved, Windows::OfInput), [0, OUTSIDE, OUTSIDE, 0, 1, OUTSIDE, OUTSIDE, 1]);
    }
}
