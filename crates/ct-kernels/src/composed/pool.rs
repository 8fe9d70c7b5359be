//! The largest value under a window, tap by tap; for networks of features, which are small.

use candle_core::Tensor;

use super::gather::{Windows, tap};
use crate::Result;
use crate::cpu::conv::ConvShape;

/// The pixels under the first tap and under each other one, `[B, pixels, C]`, of images `[B, H, W, C]`.
fn taps(images: &Tensor, shape: &ConvShape) -> Result<(Tensor, Vec<Tensor>)> {
    let images = pixels(images)?;
    let under = |idx| tap(&images, shape, Windows::OfOutput, idx);
    let others = 1..shape.kernel[0] * shape.kernel[1];
    Ok((under(0)?, others.map(under).collect::<Result<_>>()?))
}

fn pixels(images: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    Ok(images.contiguous()?.reshape((batch, height * width, channels))?)
}

/// 1 where `largest` stays the largest when `x` comes; what is not a number wins and stays.
fn stays(largest: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok((x.le(largest)? + largest.ne(largest)?)?)
}

/// Where the largest of all taps is: for each tap but the first, whether those before it stay.
fn contests(images: &Tensor, shape: &ConvShape) -> Result<(Tensor, Vec<Tensor>)> {
    let (mut largest, others) = taps(images, shape)?;
    let mut contests = Vec::with_capacity(others.len());
    for x in others {
        let stays = stays(&largest, &x)?;
        largest = stays.where_cond(&largest, &x)?;
        contests.push(stays);
    }
    Ok((largest, contests))
}

fn output(y: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    Ok(y.reshape((shape.batch, shape.out_height(), shape.out_width(), shape.c_in))?)
}

/// The largest value under each window.
pub(crate) fn forward(shape: &ConvShape, x: &Tensor) -> Result<Tensor> {
    output(&contests(x, shape)?.0, shape)
}

/// The tangent where the largest value is.
pub(crate) fn jvp(shape: &ConvShape, x: &Tensor, tangent: &Tensor) -> Result<Tensor> {
    let (_, contests) = contests(x, shape)?;
    let (mut along, others) = taps(tangent, shape)?;
    for (stays, dot) in contests.iter().zip(&others) {
        along = stays.where_cond(&along, dot)?;
    }
    output(&along, shape)
}

/// The gradient by x: each window's goes to its largest value. Every pixel collects from the windows that it is under.
pub(crate) fn backward(shape: &ConvShape, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (_, contests) = contests(x, shape)?;
    let mut rest = pixels(grad)?;
    let zeros = rest.zeros_like()?;
    let mut sum: Option<Tensor> = None;
    // From the last tap to the first: who wins the last contest has it, and what is left goes on.
    for idx in (0..=contests.len()).rev() {
        let won = match idx.checked_sub(1).map(|idx| &contests[idx]) {
            Some(stays) => {
                let won = stays.where_cond(&zeros, &rest)?;
                rest = stays.where_cond(&rest, &zeros)?;
                won
            }
            None => rest.clone(),
        };
        let part = tap(&won, shape, Windows::OfInput, idx)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    let sum = sum.map_or_else(|| x.zeros_like(), |sum| sum.reshape(x.dims()))?;
    Ok(sum)
}
