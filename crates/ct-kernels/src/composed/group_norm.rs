//! Group normalization, with what comes before and after it; the formulas are those of the operation.
//!
//! Sums over the pixels are products with ones; those over a group follow from them, and are small.
//! The mean is taken twice, the second time of what is left, so that a large one costs no digits.

use candle_core::Tensor;

use super::elementwise::{add_channels, silu, silu_slope};
use super::{sum_pixels, wide};
use crate::Result;

/// One normalization: its sizes and inputs.
pub(crate) struct Norm<'a> {
    pub(crate) batch: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    /// Whether x sigmoid(x) follows.
    pub(crate) has_silu: bool,
    pub(crate) inputs: Inputs<'a>,
}

/// The inputs, or their tangents.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) gamma: &'a Tensor,
    pub(crate) beta: &'a Tensor,
    /// scale and shift, `[B, C]`.
    pub(crate) modulation: Option<(&'a Tensor, &'a Tensor)>,
    /// What is added to x first, `[B, C]`.
    pub(crate) added: Option<&'a Tensor>,
}

/// Mean and inverse standard deviation of each group: `[B, 1, G, 1]`.
struct Stats<'a> {
    mean: &'a Tensor,
    rstd: &'a Tensor,
}

impl Norm<'_> {
    /// The output, and the mean and the inverse standard deviation of each group: `[B, 1, G, 1]`.
    pub(crate) fn forward(&self) -> Result<(Tensor, Vec<Tensor>)> {
        let x = self.image(self.inputs)?;
        let rough = self.group_mean(&x)?;
        let centred = x.broadcast_sub(&rough)?;
        let off = self.group_mean(&centred)?;
        let variance = (self.group_mean(&centred.sqr()?)? - off.sqr()?)?;
        let rstd = (variance + self.eps)?.sqrt()?.recip()?;

        let (gain, bias) = self.affine()?;
        let slope = gain.broadcast_mul(&rstd)?;
        let bias = bias.broadcast_sub(&slope.broadcast_mul(&off)?)?;
        let u = centred.broadcast_mul(&slope)?.broadcast_add(&bias)?;
        let y = if self.has_silu { silu(&u)? } else { u };
        Ok((self.round(&y)?, vec![(rough + off)?, rstd]))
    }

    /// The gradients by all inputs, in the order of the operation; `so_far` is added to that by x.
    pub(crate) fn backward(
        &self,
        saved: [&Tensor; 2],
        grad: &Tensor,
        so_far: Option<&Tensor>,
    ) -> Result<Vec<Option<Tensor>>> {
        let stats = Stats { mean: saved[0], rstd: saved[1] };
        let normal = self.normalized(&stats)?;
        let (gain, bias) = self.affine()?;
        let mut du = self.shaped(grad)?;
        if self.has_silu {
            du = silu_slope(&normal.broadcast_mul(&gain)?.broadcast_add(&bias)?, &du)?;
        }
        // The sums over the pixels of du and of du x^: [B, 1, G, K].
        let (s1, s2) = (self.channel_sums(&du)?, self.channel_sums(&(&du * &normal)?)?);
        let mean = |s: &Tensor| self.mean_of_sums(&gain.broadcast_mul(s)?);
        let through = du.broadcast_mul(&gain)?.broadcast_sub(&mean(&s1)?)?;
        let by_x = (through - normal.broadcast_mul(&mean(&s2)?)?)?.broadcast_mul(stats.rstd)?;
        let by_t = self.inputs.added.map(|_| sum_pixels(&by_x.reshape(&self.flat())?)).transpose()?;
        let by_x = match so_far {
            Some(so_far) => (self.shaped(so_far)? + by_x)?,
            None => by_x,
        };
        let mut grads = vec![Some(self.round(&by_x)?)];
        grads.extend(self.by_parameters(&s1, &s2)?.into_iter().map(Some));
        if let Some(by_t) = by_t {
            grads.push(Some(by_t.to_dtype(self.inputs.x.dtype())?));
        }
        Ok(grads)
    }

    /// The tangent of the output, given those of all inputs.
    ///
    /// x^. = rstd (x. - mean(x.) - x^ mean(x^ x.)); u. = x^. k + x^ k. + d., with u = x^ k + d.
    pub(crate) fn jvp(&self, saved: [&Tensor; 2], tangents: Inputs<'_>) -> Result<Tensor> {
        let stats = Stats { mean: saved[0], rstd: saved[1] };
        let normal = self.normalized(&stats)?;
        let dot = self.image(tangents)?;
        let along = self.group_mean(&(&dot * &normal)?)?;
        let dot = dot.broadcast_sub(&self.group_mean(&dot)?)?;
        let normal_dot = (dot - normal.broadcast_mul(&along)?)?.broadcast_mul(stats.rstd)?;

        let (gain, bias) = self.affine()?;
        let (gain_dot, bias_dot) = self.affine_dot(tangents)?;
        let through_input = normal_dot.broadcast_mul(&gain)?;
        let through_affine = normal.broadcast_mul(&gain_dot)?.broadcast_add(&bias_dot)?;
        let mut u_dot = (through_input + through_affine)?;
        if self.has_silu {
            u_dot = silu_slope(&normal.broadcast_mul(&gain)?.broadcast_add(&bias)?, &u_dot)?;
        }
        self.round(&u_dot)
    }

    fn flat(&self) -> [usize; 3] {
        [self.batch, self.pixels, self.channels]
    }

    fn grouped(&self) -> [usize; 4] {
        [self.batch, self.pixels, self.groups, self.channels / self.groups]
    }

    /// [B, P, G, K], in the type that is computed in.
    fn shaped(&self, x: &Tensor) -> Result<Tensor> {
        Ok(wide(x)?.reshape(&self.grouped())?)
    }

    /// x, with t added to it where there is one.
    fn image(&self, inputs: Inputs<'_>) -> Result<Tensor> {
        match inputs.added {
            Some(t) => self.shaped(&add_channels(&wide(inputs.x)?.reshape(&self.flat())?, &wide(t)?)?),
            None => self.shaped(inputs.x),
        }
    }

    /// In the shape and type of the input.
    fn round(&self, y: &Tensor) -> Result<Tensor> {
        Ok(y.reshape(self.inputs.x.dims())?.to_dtype(self.inputs.x.dtype())?)
    }

    fn normalized(&self, stats: &Stats<'_>) -> Result<Tensor> {
        Ok(self.image(self.inputs)?.broadcast_sub(stats.mean)?.broadcast_mul(stats.rstd)?)
    }

    /// Sums over the pixels: [B, 1, G, K].
    fn channel_sums(&self, x: &Tensor) -> Result<Tensor> {
        let [batch, _, groups, per_group] = self.grouped();
        Ok(sum_pixels(&x.reshape(&self.flat())?)?.reshape((batch, 1, groups, per_group))?)
    }

    /// Means over the groups, from sums over the pixels: [B, 1, G, 1].
    fn mean_of_sums(&self, sums: &Tensor) -> Result<Tensor> {
        let count = (self.pixels * (self.channels / self.groups)) as f64;
        Ok((sums.sum_keepdim(3)? * (1.0 / count))?)
    }

    fn group_mean(&self, x: &Tensor) -> Result<Tensor> {
        self.mean_of_sums(&self.channel_sums(x)?)
    }

    /// One number for each channel, [1, 1, G, K], or for each of each sample, [B, 1, G, K].
    fn per_channel(&self, x: &Tensor) -> Result<Tensor> {
        let [_, _, groups, per_group] = self.grouped();
        Ok(wide(x)?.reshape(((), 1, groups, per_group))?)
    }

    /// k and d of u = x^ k + d: gamma (1 + scale), and beta (1 + scale) + shift.
    fn affine(&self) -> Result<(Tensor, Tensor)> {
        let (gamma, beta) = (self.per_channel(self.inputs.gamma)?, self.per_channel(self.inputs.beta)?);
        let Some((scale, shift)) = self.inputs.modulation else { return Ok((gamma, beta)) };
        let factor = (self.per_channel(scale)? + 1.0)?;
        let bias = (factor.broadcast_mul(&beta)? + self.per_channel(shift)?)?;
        Ok((factor.broadcast_mul(&gamma)?, bias))
    }

    /// The tangents of k and d.
    fn affine_dot(&self, dot: Inputs<'_>) -> Result<(Tensor, Tensor)> {
        let (gamma_dot, beta_dot) = (self.per_channel(dot.gamma)?, self.per_channel(dot.beta)?);
        let (Some((scale, _)), Some((scale_dot, shift_dot))) = (self.inputs.modulation, dot.modulation)
        else {
            return Ok((gamma_dot, beta_dot));
        };
        let (gamma, beta) = (self.per_channel(self.inputs.gamma)?, self.per_channel(self.inputs.beta)?);
        let (factor, scale_dot) = ((self.per_channel(scale)? + 1.0)?, self.per_channel(scale_dot)?);
        let product = |dot: &Tensor, value: &Tensor| -> Result<Tensor> {
            Ok((factor.broadcast_mul(dot)? + scale_dot.broadcast_mul(value)?)?)
        };
        let bias_dot = (product(&beta_dot, &beta)? + self.per_channel(shift_dot)?)?;
        Ok((product(&gamma_dot, &gamma)?, bias_dot))
    }

    /// The gradients by gamma, beta, and scale and shift where there are some.
    fn by_parameters(&self, s1: &Tensor, s2: &Tensor) -> Result<Vec<Tensor>> {
        let dtype = self.inputs.x.dtype();
        let over_batch =
            |x: Tensor| -> Result<Tensor> { Ok(x.sum(0)?.reshape(self.channels)?.to_dtype(dtype)?) };
        let Some((scale, _)) = self.inputs.modulation else {
            return Ok(vec![over_batch(s2.clone())?, over_batch(s1.clone())?]);
        };
        let (gamma, beta) = (self.per_channel(self.inputs.gamma)?, self.per_channel(self.inputs.beta)?);
        let factor = (self.per_channel(scale)? + 1.0)?;
        let by_scale = (s2.broadcast_mul(&gamma)? + s1.broadcast_mul(&beta)?)?;
        let per_sample =
            |x: &Tensor| -> Result<Tensor> { Ok(x.reshape((self.batch, self.channels))?.to_dtype(dtype)?) };
        Ok(vec![
            over_batch((s2 * &factor)?)?,
            over_batch((s1 * &factor)?)?,
            per_sample(&by_scale)?,
            per_sample(s1)?,
        ])
    }
}
