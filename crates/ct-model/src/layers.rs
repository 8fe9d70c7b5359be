//! The layers that networks are made of: each holds indices of its parameters and knows how to run.
//!
//! A layer computes in the type of its input: its parameters are brought to it.

use candle_core::{DType, Tensor};
use ct_kernels::{self as ops, Conv2d, GroupNorm, Padding, Value};
use ct_random::{Purpose, Stream};

use crate::act::Act;
use crate::{Builder, Dropout, Init, ParamId, Result, Weights};

/// How the last layer of a residual branch begins: at zero, so that the branch adds nothing at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Random,
    Zero,
}

impl Start {
    fn init(self, fan_in: usize) -> Init {
        match self {
            Self::Random => Init::Uniform { fan_in },
            Self::Zero => Init::Zeros,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    pub(crate) fn new(d_in: usize, d_out: usize, start: Start, b: &Builder) -> Self {
        Self {
            weight: b.param("weight", &[d_out, d_in], start.init(d_in)),
            bias: b.param("bias", &[d_out], start.init(d_in)),
        }
    }

    /// Random, around 1.
    pub(crate) fn around_one(d_in: usize, d_out: usize, b: &Builder) -> Self {
        Self {
            weight: b.param("weight", &[d_out, d_in], Init::Uniform { fan_in: d_in }),
            bias: b.param("bias", &[d_out], Init::Ones),
        }
    }

    pub(crate) fn forward(&self, w: &Weights, x: &Value) -> Result<Value> {
        Ok(ops::linear(x, &w.beside(x, self.weight)?, Some(&w.beside(x, self.bias)?))?)
    }

    /// The layer's output for x, plus a residual.
    pub(crate) fn forward_residual(&self, w: &Weights, x: &Value, residual: &Value) -> Result<Value> {
        Ok(ops::linear_residual(x, &w.beside(x, self.weight)?, &w.beside(x, self.bias)?, residual)?)
    }
}

#[derive(Debug)]
pub(crate) struct Conv {
    weight: ParamId,
    bias: ParamId,
    config: Conv2d,
}

impl Conv {
    pub(crate) fn new(
        c_in: usize,
        c_out: usize,
        kernel: usize,
        config: Conv2d,
        start: Start,
        b: &Builder,
    ) -> Self {
        let fan_in = c_in * kernel * kernel;
        Self {
            weight: b.param("weight", &[c_out, c_in, kernel, kernel], start.init(fan_in)),
            bias: b.param("bias", &[c_out], start.init(fan_in)),
            config,
        }
    }

    /// 3x3 that keeps the size.
    pub(crate) fn same(c_in: usize, c_out: usize, start: Start, b: &Builder) -> Self {
        Self::new(c_in, c_out, 3, Conv2d { stride: 1, padding: Padding::all(1) }, start, b)
    }

    /// 1x1.
    pub(crate) fn pointwise(c_in: usize, c_out: usize, b: &Builder) -> Self {
        Self::new(c_in, c_out, 1, Conv2d { stride: 1, padding: Padding::all(0) }, Start::Random, b)
    }

    pub(crate) fn forward(&self, w: &Weights, x: &Value) -> Result<Value> {
        Ok(ops::conv2d(x, &w.beside(x, self.weight)?, Some(&w.beside(x, self.bias)?), &self.config)?)
    }

    /// The convolution of x, plus a residual.
    pub(crate) fn forward_residual(&self, w: &Weights, x: &Value, residual: &Value) -> Result<Value> {
        let (weight, bias) = (w.beside(x, self.weight)?, w.beside(x, self.bias)?);
        Ok(ops::conv2d_residual(x, &weight, &bias, residual, &self.config)?)
    }
}

#[derive(Debug)]
pub(crate) struct Norm {
    weight: ParamId,
    bias: ParamId,
    config: GroupNorm,
    act: Act,
}

impl Norm {
    pub(crate) fn new(channels: usize, num_groups: usize, eps: f64, act: Act, b: &Builder) -> Self {
        Self {
            weight: b.param("weight", &[channels], Init::Ones),
            bias: b.param("bias", &[channels], Init::Zeros),
            config: GroupNorm { num_groups, eps, activation: act.fused() },
            act,
        }
    }

    pub(crate) fn forward(&self, w: &Weights, x: &Value) -> Result<Value> {
        let (gamma, beta) = self.affine(w, x)?;
        self.act.after_norm(ops::group_norm(x, &gamma, &beta, &self.config)?)
    }

    /// Normalizes x + t.
    pub(crate) fn forward_added(&self, w: &Weights, x: &Value, t: &Value) -> Result<Value> {
        let (gamma, beta) = self.affine(w, x)?;
        self.act.after_norm(ops::group_norm_added(x, t, &gamma, &beta, &self.config)?)
    }

    pub(crate) fn forward_modulated(
        &self,
        w: &Weights,
        x: &Value,
        scale: &Value,
        shift: &Value,
    ) -> Result<Value> {
        let (gamma, beta) = self.affine(w, x)?;
        self.act.after_norm(ops::group_norm_modulated(x, &gamma, &beta, scale, shift, &self.config)?)
    }

    fn affine(&self, w: &Weights, x: &Value) -> Result<(Value, Value)> {
        Ok((w.beside(x, self.weight)?, w.beside(x, self.bias)?))
    }
}

#[derive(Debug)]
pub(crate) struct Embedding {
    weight: ParamId,
    num_rows: usize,
}

impl Embedding {
    pub(crate) fn new(num_rows: usize, width: usize, b: &Builder) -> Self {
        Self { weight: b.param("weight", &[num_rows, width], Init::Normal { std: 1.0 }), num_rows }
    }

    pub(crate) fn forward(&self, w: &Weights, labels: Option<&[u32]>, batch: usize) -> Result<Value> {
        let labels = labels.ok_or_else(|| {
            crate::Error::Labels(format!("the model has {} classes, but no labels came", self.num_rows))
        })?;
        if labels.len() != batch {
            return Err(crate::Error::Labels(format!("{} labels for a batch of {batch}", labels.len())));
        }
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= self.num_rows) {
            return Err(crate::Error::Labels(format!(
                "label {label}, but the classes are 0 to {}",
                self.num_rows - 1
            )));
        }
        Ok(ops::embedding(&w[self.weight], labels)?)
    }
}

/// Two linear layers with `SiLU` between them: embeds what `time_proj` gives.
#[derive(Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    pub(crate) fn new(d_in: usize, d_out: usize, b: &Builder) -> Self {
        Self {
            linear_1: Linear::new(d_in, d_out, Start::Random, &b.pp("linear_1")),
            linear_2: Linear::new(d_out, d_out, Start::Random, &b.pp("linear_2")),
        }
    }

    pub(crate) fn forward(&self, w: &Weights, x: &Value) -> Result<Value> {
        let h = ops::silu(&self.linear_1.forward(w, x)?)?;
        self.linear_2.forward(w, &h)
    }
}

/// Dropout whose mask is a function of the run's seed, the layer's name and the image's number.
#[derive(Debug)]
pub(crate) struct DropoutLayer {
    rate: f64,
    key: u64,
}

impl DropoutLayer {
    pub(crate) fn new(rate: f64, b: &Builder) -> Self {
        Self { rate, key: b.key() }
    }

    pub(crate) fn forward(&self, x: Value, dropout: Option<Dropout<'_>>) -> Result<Value> {
        match dropout {
            Some(dropout) if self.rate > 0.0 => Ok(ops::dropout(&x, &self.mask(x.tensor(), dropout)?)?),
            _ => Ok(x),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
    fn mask(&self, x: &Tensor, dropout: Dropout<'_>) -> Result<Tensor> {
        let keep = 1.0 / (1.0 - self.rate) as f32;
        let batch = x.dim(0)?;
        let size = x.elem_count() / batch.max(1);
        let mut mask = vec![0f32; batch * size];
        for (sample, image) in mask.chunks_exact_mut(size.max(1)).zip(dropout.images) {
            Stream::new(dropout.seed ^ self.key, Purpose::Dropout, *image, 0).fill_uniform(sample);
            for value in sample {
                *value = if f64::from(*value) < self.rate { 0.0 } else { keep };
            }
        }
        Ok(Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(DType::F32)?.to_dtype(x.dtype())?)
    }
}
