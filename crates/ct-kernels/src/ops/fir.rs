//! Twice as many pixels, or half as many, each way, through the filter (1, 3, 3, 1)
//! (Zhang 2019, "Making convolutional networks shift-invariant again";
//! Song et al. 2021, "Score-based generative modeling through stochastic differential equations", appendix H).
//!
//! With w = (1, 3, 3, 1) and zeros outside the image, along each axis:
//! down: y\[i\] = sum over k of w\[k\] x\[2i + k - 1\] / 8;
//! up: y\[2i\] = (3 x\[i\] + x\[i-1\]) / 4, y\[2i+1\] = (3 x\[i\] + x\[i+1\]) / 4.
//! Each is the other's transpose, up to a factor of 2.

use candle_core::Tensor;

use super::{Place, image_dims, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

/// Half as many pixels each way; an odd last row or column is seen by the filter alone.
///
/// # Shapes
/// `x`: [B, H, W, C] with H, W >= 2; result: [B, H / 2, W / 2, C].
///
/// # Errors
/// When `x` has not four dimensions, or fewer than two rows or columns.
pub fn fir_down2x(x: &Value) -> Result<Value> {
    apply(Fir::Down, &[x])
}

/// Twice as many pixels each way.
///
/// # Shapes
/// `x`: [B, H, W, C]; result: [B, 2H, 2W, C].
///
/// # Errors
/// When `x` has not four dimensions.
pub fn fir_up2x(x: &Value) -> Result<Value> {
    apply(Fir::Up, &[x])
}

#[derive(Clone, Copy)]
enum Fir {
    Down,
    Up,
}

/// For each output: the inputs that it is a sum of, and their weights.
type Taps = Vec<Vec<(usize, f64)>>;

/// `len` pixels from `len_in`, two for each.
fn taps_up(len_in: usize, len: usize, factor: f64) -> Taps {
    let taps = |idx: usize| {
        let near = idx / 2;
        let far = if idx.is_multiple_of(2) { near.checked_sub(1) } else { Some(near + 1) };
        let pair = [(Some(near), 0.75 * factor), (far, 0.25 * factor)];
        pair.into_iter()
            .filter_map(|(idx, weight)| Some((idx.filter(|&idx| idx < len_in)?, weight)))
            .collect()
    };
    (0..len).map(taps).collect()
}

/// `len` pixels from `len_in`, one for two.
fn taps_down(len_in: usize, len: usize, factor: f64) -> Taps {
    let taps = |idx: usize| {
        let weights = [0.125, 0.375, 0.375, 0.125].into_iter().enumerate();
        let tap = |(k, weight): (usize, f64)| {
            Some(((2 * idx + k).checked_sub(1).filter(|&idx| idx < len_in)?, weight * factor))
        };
        weights.filter_map(tap).collect()
    };
    (0..len).map(taps).collect()
}

impl Fir {
    fn run(self, x: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = image_dims(self.name(), "x", x, "[B, H, W, C]")?;
        match self {
            Self::Down if h < 2 || w < 2 => {
                Err(Error::shape(self.name(), "x", "[B, H, W, C] with H, W >= 2", x.dims()))
            }
            Self::Down => filter(self.name(), x, &taps_down(h, h / 2, 1.0), &taps_down(w, w / 2, 1.0)),
            Self::Up => filter(self.name(), x, &taps_up(h, 2 * h, 1.0), &taps_up(w, 2 * w, 1.0)),
        }
    }
}

impl Op for Fir {
    fn name(&self) -> &'static str {
        match self {
            Self::Down => "fir_down2x",
            Self::Up => "fir_up2x",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.run(inputs[0])?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (_, h_out, w_out, _) = image_dims(self.name(), "gradient", grad, "[B, H, W, C]")?;
        let (h, w) = (ctx.input_dims(0)[1], ctx.input_dims(0)[2]);
        let (rows, columns) = match self {
            Self::Down => (taps_up(h_out, h, 0.5), taps_up(w_out, w, 0.5)),
            Self::Up => (taps_down(h_out, h, 2.0), taps_down(w_out, w, 2.0)),
        };
        Ok(vec![Some(filter(self.name(), grad, &rows, &columns)?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        self.run(&sum_of(self.name(), tangents.iter().map(|tangent| tangent.cloned()).collect())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// Each output pixel is the weighted sum of the input pixels that its row and column name.
fn filter(op: &'static str, x: &Tensor, rows: &Taps, columns: &Taps) -> Result<Tensor> {
    match place(op, &[x])? {
        Place::CpuF32 => filter_cpu::<f32>(op, x, rows, columns),
        Place::CpuF64 => filter_cpu::<f64>(op, x, rows, columns),
        Place::Composed => composed::resample::filter(x, rows, columns),
    }
}

fn filter_cpu<T: Real>(op: &'static str, x: &Tensor, rows: &Taps, columns: &Taps) -> Result<Tensor> {
    let (b, h, w, c) = image_dims(op, "x", x, "[B, H, W, C]")?;
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let sample = rows.len() * columns.len() * c;
    let out = cpu::build(
        b * sample,
        sample,
        #[inline(always)]
        |b, out: &mut [T]| {
            let x = &elements[b * h * w * c..][..h * w * c];
            for (taps_y, out) in rows.iter().zip(out.chunks_exact_mut(columns.len() * c)) {
                for (taps_x, out) in columns.iter().zip(out.chunks_exact_mut(c)) {
                    for &(row, weight_y) in taps_y {
                        for &(column, weight_x) in taps_x {
                            let weight = T::from_f64(weight_y * weight_x);
                            let x = &x[(row * w + column) * c..][..c];
                            for (out, &x) in out.iter_mut().zip(x) {
                                *out += x * weight;
                            }
                        }
                    }
                }
            }
        },
    );
    cpu::tensor(out, &[b, rows.len(), columns.len(), c])
}
