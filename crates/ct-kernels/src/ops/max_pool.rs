//! The largest value under a window that moves over an image.

use candle_core::Tensor;

use super::{Place, check_dims, image_dims, place, sum_of};
use crate::cpu::conv::ConvShape;
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "max_pool2d";

/// The largest value under each window of `kernel` x `kernel` pixels, `stride` pixels apart, channel by channel.
///
/// There is no padding, and windows that would reach over the edge are left out.
/// The gradient goes to the largest value, to the first in reading order where several are equal.
/// A window that holds something that is not a number has that as its result.
///
/// # Shapes
/// `x`: [B, H, W, C] with H, W >= `kernel`; result: [B, Ho, Wo, C] with Ho = (H - kernel) / stride + 1, Wo likewise.
///
/// # Errors
/// When `x` has not four dimensions or is smaller than a window, or `kernel` or `stride` is 0.
pub fn max_pool2d(x: &Value, kernel: usize, stride: usize) -> Result<Value> {
    apply(MaxPool { kernel, stride }, &[x])
}

struct MaxPool {
    kernel: usize,
    stride: usize,
}

/// Sizes of one image and its windows.
#[derive(Clone, Copy)]
struct Windows {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    out_height: usize,
    out_width: usize,
    kernel: usize,
    stride: usize,
}

impl MaxPool {
    fn windows(&self, x: &Tensor) -> Result<Windows> {
        let &Self { kernel, stride } = self;
        if kernel == 0 || stride == 0 {
            let reason = format!("kernel and stride must be at least 1, got {kernel} and {stride}");
            return Err(Error::setting(NAME, reason));
        }
        let (batch, height, width, channels) = image_dims(NAME, "x", x, "[B, H, W, C]")?;
        if height < kernel || width < kernel {
            return Err(Error::shape(NAME, "x", format!("[B, H, W, C] with H, W >= {kernel}"), x.dims()));
        }
        let (out_height, out_width) = ((height - kernel) / stride + 1, (width - kernel) / stride + 1);
        Ok(Windows { batch, height, width, channels, out_height, out_width, kernel, stride })
    }
}

impl Windows {
    fn out_dims(&self) -> [usize; 4] {
        [self.batch, self.out_height, self.out_width, self.channels]
    }

    fn composed(&self) -> ConvShape {
        ConvShape {
            batch: self.batch,
            height: self.height,
            width: self.width,
            c_in: self.channels,
            c_out: self.channels,
            kernel: [self.kernel; 2],
            stride: self.stride,
            padding: [0; 4],
        }
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn out_len(&self) -> usize {
        self.out_height * self.out_width * self.channels
    }

    /// Where the pixels under window number `window` of an image begin.
    #[inline(always)]
    fn pixels(&self, window: usize) -> impl Iterator<Item = usize> {
        let s = *self;
        let (top, left) = (window / s.out_width * s.stride, window % s.out_width * s.stride);
        (0..s.kernel * s.kernel)
            .map(move |at| ((top + at / s.kernel) * s.width + left + at % s.kernel) * s.channels)
    }

    /// Writes into `largest` the largest value of each channel under a window, and into `place` which pixel it is.
    #[inline(always)]
    fn find<T: Real>(&self, image: &[T], window: usize, largest: &mut [T], place: &mut [usize]) {
        for (number, start) in self.pixels(window).enumerate() {
            let pixel = &image[start..][..self.channels];
            for ((largest, place), &x) in largest.iter_mut().zip(place.iter_mut()).zip(pixel) {
                if number == 0 || !stays(*largest, x) {
                    (*largest, *place) = (x, start);
                }
            }
        }
    }
}

/// Whether `largest` stays the largest when `x` comes; what is not a number wins and stays.
#[inline(always)]
fn stays<T: Real>(largest: T, x: T) -> bool {
    x <= largest || largest.to_f64().is_nan()
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let windows = self.windows(inputs[0])?;
        let output = match place(NAME, inputs)? {
            Place::CpuF32 => forward::<f32>(&windows, inputs[0]),
            Place::CpuF64 => forward::<f64>(&windows, inputs[0]),
            Place::Composed => composed::pool::forward(&windows.composed(), inputs[0]),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = ctx.input(0)?;
        let windows = self.windows(x)?;
        check_dims(NAME, "grad", grad, &windows.out_dims())?;
        Ok(vec![Some(match place(NAME, &[x, grad])? {
            Place::CpuF32 => backward::<f32>(&windows, x, grad),
            Place::CpuF64 => backward::<f64>(&windows, x, grad),
            Place::Composed => composed::pool::backward(&windows.composed(), x, grad),
        }?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let x = ctx.input(0)?;
        let windows = self.windows(x)?;
        let tangent = sum_of(NAME, tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        match place(NAME, &[x, &tangent])? {
            Place::CpuF32 => jvp::<f32>(&windows, x, &tangent),
            Place::CpuF64 => jvp::<f64>(&windows, x, &tangent),
            Place::Composed => composed::pool::jvp(&windows.composed(), x, &tangent),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

fn forward<T: Real>(windows: &Windows, x: &Tensor) -> Result<Tensor> {
    let xc = x.contiguous()?;
    let xs = cpu::read::<T>(&xc)?;
    let xs: &[T] = &xs;
    let (image_len, c) = (windows.image_len(), windows.channels);
    let out = cpu::build(
        windows.batch * windows.out_len(),
        windows.out_len(),
        #[inline(always)]
        |b, out: &mut [T]| {
            let image = &xs[b * image_len..][..image_len];
            for (window, out) in out.chunks_exact_mut(c.max(1)).enumerate() {
                for (number, start) in windows.pixels(window).enumerate() {
                    for (out, &x) in out.iter_mut().zip(&image[start..][..c]) {
                        *out = if number > 0 && stays(*out, x) { *out } else { x };
                    }
                }
            }
        },
    );
    cpu::tensor(out, &windows.out_dims())
}

fn backward<T: Real>(windows: &Windows, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (xc, gc) = (x.contiguous()?, grad.contiguous()?);
    let (xs, gs) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&gc)?);
    let (xs, gs): (&[T], &[T]) = (&xs, &gs);
    let (image_len, out_len, c) = (windows.image_len(), windows.out_len(), windows.channels);
    let out = cpu::build(
        xs.len(),
        image_len,
        #[inline(always)]
        |b, out: &mut [T]| {
            let (image, grads) = (&xs[b * image_len..][..image_len], &gs[b * out_len..][..out_len]);
            let (mut largest, mut place) = (vec![T::ZERO; c], vec![0; c]);
            for (window, grads) in grads.chunks_exact(c.max(1)).enumerate() {
                windows.find(image, window, &mut largest, &mut place);
                for (channel, (&start, &grad)) in place.iter().zip(grads).enumerate() {
                    out[start + channel] += grad;
                }
            }
        },
    );
    cpu::tensor(out, x.dims())
}

fn jvp<T: Real>(windows: &Windows, x: &Tensor, tangent: &Tensor) -> Result<Tensor> {
    let (xc, vc) = (x.contiguous()?, tangent.contiguous()?);
    let (xs, vs) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&vc)?);
    let (xs, vs): (&[T], &[T]) = (&xs, &vs);
    let (image_len, c) = (windows.image_len(), windows.channels);
    let out = cpu::build(
        windows.batch * windows.out_len(),
        windows.out_len(),
        #[inline(always)]
        |b, out: &mut [T]| {
            let (image, tangents) = (&xs[b * image_len..][..image_len], &vs[b * image_len..][..image_len]);
            let (mut largest, mut place) = (vec![T::ZERO; c], vec![0; c]);
            for (window, out) in out.chunks_exact_mut(c.max(1)).enumerate() {
                windows.find(image, window, &mut largest, &mut place);
                for (channel, (out, &start)) in out.iter_mut().zip(&place).enumerate() {
                    *out = tangents[start + channel];
                }
            }
        },
    );
    cpu::tensor(out, &windows.out_dims())
}
