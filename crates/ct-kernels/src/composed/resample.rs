//! Twice as many pixels, or half as many, each way; with a filter, as a product along each axis.

use candle_core::Tensor;

use super::{matmul, upload, wide, wide_dtype};
use crate::Result;

/// Each pixel times `factor`, in a square of four; rows and columns beyond are zero.
pub(crate) fn spread(x: &Tensor, height: usize, width: usize, factor: f64) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let squares = x.contiguous()?.reshape(&[b, h, 1, w, 1, c])?.broadcast_as(&[b, h, 2, w, 2, c])?;
    let squares = squares.contiguous()?.reshape((b, 2 * h, 2 * w, c))?;
    // A power of two, which rounds nothing.
    let squares = squares.affine(factor, 0.0)?;
    let squares = if height > 2 * h { squares.pad_with_zeros(1, 0, height - 2 * h)? } else { squares };
    Ok(if width > 2 * w { squares.pad_with_zeros(2, 0, width - 2 * w)? } else { squares })
}

/// The sum of each square of four pixels, times `factor`; an odd last row or column is left out.
pub(crate) fn gather(x: &Tensor, factor: f64) -> Result<Tensor> {
    let (b, height, width, c) = x.dims4()?;
    let (h, w) = (height / 2, width / 2);
    let even = wide(&x.narrow(1, 0, 2 * h)?.narrow(2, 0, 2 * w)?)?;
    let sums = even.reshape(&[b, h, 2, w, 2, c])?.sum(4)?.sum(2)?;
    Ok(sums.affine(factor, 0.0)?.to_dtype(x.dtype())?)
}

/// Each output pixel is the weighted sum of the input pixels that its row and column name.
pub(crate) fn filter(
    x: &Tensor,
    rows: &[Vec<(usize, f64)>],
    columns: &[Vec<(usize, f64)>],
) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let image = wide(x)?.reshape((b, h, w * c))?;
    let image = matmul(&matrix(rows, h, b, x)?, &image)?.reshape((b * rows.len(), w, c))?;
    let image = matmul(&matrix(columns, w, b * rows.len(), x)?, &image)?;
    Ok(image.reshape((b, rows.len(), columns.len(), c))?.to_dtype(x.dtype())?)
}

/// The weights as a matrix `[out, in]`, seen `batch` times.
fn matrix(taps: &[Vec<(usize, f64)>], len_in: usize, batch: usize, like: &Tensor) -> Result<Tensor> {
    let mut entries = vec![0.0; taps.len() * len_in];
    for (row, taps) in entries.chunks_exact_mut(len_in.max(1)).zip(taps) {
        for &(at, weight) in taps {
            row[at] += weight;
        }
    }
    let matrix = upload(entries, (1, taps.len(), len_in), wide_dtype(like.dtype()), like)?;
    Ok(matrix.broadcast_as((batch, taps.len(), len_in))?)
}
