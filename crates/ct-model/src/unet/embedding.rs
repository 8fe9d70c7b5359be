//! Embeds the noise level and the class.

use candle_core::Tensor;
use ct_kernels::{self as ops, FourierEmbedding, PositionalEmbedding, Value};

use super::config::{TimeEmbedding, UNet2DConfig};
use crate::layers::{Embedding, TimestepEmbedding};
use crate::{Builder, Error, Init, Input, ParamId, Result, Weights};

/// Standard deviation of the random frequencies of a Fourier embedding.
const FOURIER_SCALE: f64 = 16.0;

#[derive(Debug)]
enum Projection {
    Positional(PositionalEmbedding),
    Fourier { frequencies: ParamId },
}

/// Turns `c_noise` and labels into one vector for each sample.
#[derive(Debug)]
pub(crate) struct Conditioning {
    projection: Projection,
    time: TimestepEmbedding,
    class: Option<Embedding>,
}

impl Conditioning {
    pub(crate) fn new(config: &UNet2DConfig, b: &Builder) -> Self {
        let channels = config.block_out_channels[0];
        let (projection, width) = match config.time_embedding_type {
            TimeEmbedding::Positional => {
                let positional = PositionalEmbedding {
                    flip_sin_to_cos: config.flip_sin_to_cos,
                    downscale_freq_shift: config.freq_shift,
                    ..PositionalEmbedding::new(channels)
                };
                (Projection::Positional(positional), channels)
            }
            TimeEmbedding::Fourier => {
                let init = Init::Normal { std: FOURIER_SCALE };
                let frequencies = b.pp("time_proj").param("weight", &[channels], init);
                (Projection::Fourier { frequencies }, 2 * channels)
            }
        };
        Self {
            projection,
            time: TimestepEmbedding::new(width, config.embedding_dim(), &b.pp("time_embedding")),
            class: config
                .num_class_embeds
                .map(|n| Embedding::new(n, config.embedding_dim(), &b.pp("class_embedding"))),
        }
    }

    /// The embedding after the activation that every residual block begins with: `[B, E]`.
    pub(crate) fn forward(&self, w: &Weights, input: &Input<'_>) -> Result<Value> {
        let batch = input.x.dims()[0];
        if input.c_noise.dims() != [batch] {
            return Err(Error::Shape {
                what: "c_noise",
                expected: vec![batch],
                got: input.c_noise.dims().to_vec(),
            });
        }
        let projected = match &self.projection {
            Projection::Positional(positional) => ops::positional_embedding(input.c_noise, positional)?,
            // The frequencies are drawn once and never trained.
            Projection::Fourier { frequencies } => {
                let fourier = FourierEmbedding { log: true, flip_sin_to_cos: false };
                ops::fourier_embedding(input.c_noise, w[*frequencies].tensor(), &fourier)?
            }
        };
        let mut embedding = self.time.forward(w, &projected)?;
        match &self.class {
            Some(class) => embedding = ops::add(&embedding, &class.forward(w, input.class_labels, batch)?)?,
            None if input.class_labels.is_some() => {
                return Err(Error::Labels("labels came, but the model has no classes".to_owned()));
            }
            None => {}
        }
        if let Some(extra) = input.extra_embedding {
            embedding = ops::add(&embedding, extra)?;
        }
        Ok(ops::silu(&embedding)?)
    }

    /// Networks with Fourier embeddings predict a score times sigma: diffusers divides their output by sigma.
    pub(crate) fn rescale_output(&self, output: Value, input: &Input<'_>) -> Result<Value> {
        match self.projection {
            Projection::Positional(_) => Ok(output),
            Projection::Fourier { .. } => {
                let dims = output.dims().to_vec();
                let spread = |t: &Tensor| -> Result<Tensor> {
                    let mut column = vec![1; dims.len()];
                    column[0] = dims[0];
                    Ok(t.reshape(column)?.broadcast_as(dims.as_slice())?.contiguous()?)
                };
                let inverse = input.c_noise.tensor().recip()?;
                let factor = match input.c_noise.tangent() {
                    Some(tangent) => {
                        Value::dual(spread(&inverse)?, spread(&(inverse.sqr()?.neg()? * tangent)?)?)?
                    }
                    None => Value::from(spread(&inverse)?),
                };
                Ok(ops::mul(&output, &factor)?)
            }
        }
    }
}
