//! Scaled dot-product attention of several heads (Vaswani et al., section 3.2).
//!
//! For each head, with s = 1 / sqrt(dim): P = softmax(s Q K^T) over the keys, O = P V.
//! The probabilities are not stored: the backward pass computes them again from the logarithm of
//! each row's normalizer.
//!
//! [`generic`] is the plain form, which f64 and heads of odd sizes use;
//! [`fast`] is for f32, and [`fast_jvp`] its forward-mode derivative.

mod fast;
mod fast_jvp;
mod generic;

use candle_core::Tensor;

use super::{Place, check_dims, place};
use crate::cpu::Real;
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "attention";

/// Attention; every head reads and writes its own block of channels.
///
/// # Shapes
/// `q`: [B, N, heads dim]; `k`, `v`: [B, M, heads dim]; result: [B, N, heads dim].
///
/// # Errors
/// When shapes do not fit, or the channels do not divide into the heads.
pub fn attention(q: &Value, k: &Value, v: &Value, num_heads: usize) -> Result<Value> {
    apply(Attention { num_heads }, &[q, k, v])
}

struct Attention {
    num_heads: usize,
}

/// The sizes of one attention.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    channels: usize,
    heads: usize,
}

impl Attention {
    fn sizes(&self, q: &[usize], k: &[usize]) -> Result<Sizes> {
        let (&[batch, queries, channels], &[_, keys, _]) = (q, k) else {
            return Err(Error::shape(NAME, "q", "[B, N, C] beside k [B, M, C]", q));
        };
        let heads = self.num_heads;
        if heads == 0 || !channels.is_multiple_of(heads) {
            let reason = format!("{channels} channels do not divide into {heads} heads");
            return Err(Error::setting(NAME, reason));
        }
        if keys == 0 {
            return Err(Error::shape(NAME, "k", "at least one key", k));
        }
        Ok(Sizes { batch, queries, keys, channels, heads })
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let sizes = self.sizes(inputs[0].dims(), inputs[1].dims())?;
        check_dims(NAME, "k", inputs[1], &[sizes.batch, sizes.keys, sizes.channels])?;
        check_dims(NAME, "v", inputs[2], inputs[1].dims())?;
        match place(NAME, inputs)? {
            Place::CpuF32 => match fast::isa(sizes) {
                Some(isa) => fast::forward(isa, sizes, inputs),
                None => generic::forward::<f32>(sizes, inputs),
            },
            Place::CpuF64 => generic::forward::<f64>(sizes, inputs),
            Place::Composed => composed::attention::forward(sizes.composed(), inputs),
        }
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let inputs = [ctx.input(0)?, ctx.input(1)?, ctx.input(2)?];
        let sizes = self.sizes(inputs[0].dims(), inputs[1].dims())?;
        match place(NAME, &[inputs[0], grad])? {
            Place::CpuF32 => match fast::isa(sizes) {
                Some(isa) => fast::backward(isa, sizes, inputs, ctx.saved(0)?, grad),
                None => generic::backward::<f32>(sizes, &inputs, ctx.saved(0)?, grad),
            },
            Place::CpuF64 => generic::backward::<f64>(sizes, &inputs, ctx.saved(0)?, grad),
            Place::Composed => composed::attention::backward(sizes.composed(), &inputs, ctx.saved(0)?, grad),
        }
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let inputs = [ctx.input(0)?, ctx.input(1)?, ctx.input(2)?];
        let sizes = self.sizes(inputs[0].dims(), inputs[1].dims())?;
        let tangents = tangents
            .iter()
            .zip(inputs)
            .map(|(tangent, input)| tangent.cloned().map_or_else(|| Ok(input.zeros_like()?), Ok))
            .collect::<Result<Vec<_>>>()?;
        match place(NAME, &inputs)? {
            Place::CpuF32 => match fast::isa(sizes) {
                Some(isa) => fast_jvp::jvp(isa, sizes, inputs, ctx.saved(0)?, &tangents),
                None => generic::jvp::<f32>(sizes, &inputs, ctx.saved(0)?, &tangents),
            },
            Place::CpuF64 => generic::jvp::<f64>(sizes, &inputs, ctx.saved(0)?, &tangents),
            Place::Composed => composed::attention::jvp(sizes.composed(), &inputs, ctx.saved(0)?, &tangents),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

impl Sizes {
    fn dim(&self) -> usize {
        self.channels / self.heads
    }

    fn composed(self) -> composed::attention::Sizes {
        composed::attention::Sizes::new([self.batch, self.queries, self.keys], self.heads, self.dim())
    }

    fn scale<T: Real>(&self) -> T {
        T::from_f64(1.0 / (self.dim() as f64).sqrt())
    }
}
