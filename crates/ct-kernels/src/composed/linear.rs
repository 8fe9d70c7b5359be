//! Fully connected layers, on matrices.

use candle_core::Tensor;

use super::{add_bias, matmul, rows, sum_rows};
use crate::Result;

/// x w^T + bias + residual, for x of `[rows, in]`; the result and the residual are `[rows, out]`.
pub(crate) fn forward(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let y = add_bias(matmul(x, &w.contiguous()?.t()?)?, bias)?;
    match residual {
        Some(residual) => Ok((y + rows(residual, w.dim(0)?)?)?),
        None => Ok(y),
    }
}

/// The gradients by x, w and bias that are needed; `so_far` is added to that by x.
pub(crate) fn backward(
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    so_far: Option<&Tensor>,
    [by_x, by_w, by_bias]: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let by_x = by_x.then(|| matmul(grad, &w.contiguous()?)).transpose()?;
    let by_x = match (by_x, so_far) {
        (Some(by_x), Some(so_far)) => Some((by_x + rows(so_far, w.dim(1)?)?)?),
        (by_x, _) => by_x,
    };
    Ok([by_x, by_w.then(|| matmul(&grad.t()?, x)).transpose()?, by_bias.then(|| sum_rows(grad)).transpose()?])
}
