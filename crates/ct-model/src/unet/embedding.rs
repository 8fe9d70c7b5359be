//! Embeds the noise level and the class.

use candle_core::{DType, Tensor};
use ct_kernels::{self as ops, FourierEmbedding, PositionalEmbedding, Value};

use super::config::{ClassEmbedding, TimeEmbedding, UNet2DConfig};
use crate::act::Act;
use crate::layers::{Embedding, TimestepEmbedding};
use crate::{Builder, Error, Init, Input, ParamId, Result, Weights};

/// Standard deviation of the random frequencies of a Fourier embedding.
const FOURIER_SCALE: f64 = 16.0;

#[derive(Debug)]
enum Projection {
    Positional(PositionalEmbedding),
    Fourier { frequencies: ParamId },
    Learned { rows: ParamId, num_rows: usize },
}

impl Projection {
    /// The projection and how many numbers it gives.
    fn new(config: &UNet2DConfig, b: &Builder) -> (Self, usize) {
        let channels = config.block_out_channels[0];
        let b = b.pp("time_proj");
        match config.time_embedding_type {
            TimeEmbedding::Positional => {
                let positional = PositionalEmbedding {
                    flip_sin_to_cos: config.flip_sin_to_cos,
                    downscale_freq_shift: config.freq_shift,
                    ..PositionalEmbedding::new(channels)
                };
                (Self::Positional(positional), channels)
            }
            TimeEmbedding::Fourier => {
                let init = Init::Normal { std: FOURIER_SCALE };
                (Self::Fourier { frequencies: b.param("weight", &[channels], init) }, 2 * channels)
            }
            TimeEmbedding::Learned => {
                let num_rows = config.num_train_timesteps.unwrap_or(0);
                let rows = b.param("weight", &[num_rows, channels], Init::Normal { std: 1.0 });
                (Self::Learned { rows, num_rows }, channels)
            }
        }
    }

    fn forward(&self, w: &Weights, times: &Value) -> Result<Value> {
        Ok(match self {
            Self::Positional(positional) => ops::positional_embedding(times, positional)?,
            // The frequencies are drawn once and never trained.
            Self::Fourier { frequencies } => {
                let fourier = FourierEmbedding { log: true, flip_sin_to_cos: false };
                ops::fourier_embedding(times, w[*frequencies].tensor(), &fourier)?
            }
            Self::Learned { rows, num_rows } => ops::embedding(&w[*rows], &steps(times, *num_rows)?)?,
        })
    }
}

/// The rows of a learned embedding: whole numbers, by which nothing can be differentiated.
fn steps(times: &Value, num_rows: usize) -> Result<Vec<u32>> {
    let error = |what: String| {
        let last = num_rows.saturating_sub(1);
        Error::Time(format!("{what}, but the network has a learned embedding of the time steps 0 to {last}"))
    };
    if times.tangent().is_some() {
        return Err(error("a derivative by the noise level is asked for".to_owned()));
    }
    let step = |time: f64| {
        if time.fract() != 0.0 || !(0.0..num_rows as f64).contains(&time) {
            return Err(error(format!("the time is {time}")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
        Ok(time as u32)
    };
    times.tensor().to_dtype(DType::F64)?.to_vec1::<f64>()?.into_iter().map(step).collect()
}

#[derive(Debug)]
enum Class {
    Nothing,
    Table(Embedding),
    Timestep(TimestepEmbedding),
    /// The caller embeds it.
    Identity,
}

/// Turns `c_noise` and labels into one vector for each sample.
#[derive(Debug)]
pub(crate) struct Conditioning {
    projection: Projection,
    time: TimestepEmbedding,
    class: Class,
    act: Act,
}

impl Conditioning {
    pub(crate) fn new(config: &UNet2DConfig, b: &Builder) -> Self {
        let (projection, width) = Projection::new(config, b);
        let dim = config.embedding_dim();
        let time = TimestepEmbedding::new(width, dim, &b.pp("time_embedding"));
        let b = b.pp("class_embedding");
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (None, None) => Class::Nothing,
            (None, Some(num_classes)) => Class::Table(Embedding::new(num_classes, dim, &b)),
            (Some(ClassEmbedding::Timestep), _) => Class::Timestep(TimestepEmbedding::new(width, dim, &b)),
            (Some(ClassEmbedding::Identity), _) => Class::Identity,
        };
        Self { projection, time, class, act: config.act() }
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
        let mut embedding = self.time.forward(w, &self.projection.forward(w, input.c_noise)?)?;
        if let Some(class) = self.class(w, input, batch)? {
            embedding = ops::add(&embedding, &class)?;
        }
        if let Some(extra) = input.extra_embedding {
            embedding = ops::add(&embedding, extra)?;
        }
        self.act.forward(&embedding)
    }

    fn class(&self, w: &Weights, input: &Input<'_>, batch: usize) -> Result<Option<Value>> {
        let fail = |reason: &str| Err(Error::Labels(reason.to_owned()));
        match (&self.class, input.class_labels) {
            (Class::Nothing, None) => Ok(None),
            (Class::Nothing, Some(_)) => fail("labels came, but the model has no classes"),
            (Class::Table(table), labels) => Ok(Some(table.forward(w, labels, batch)?)),
            (Class::Timestep(_), None) => {
                fail("the model embeds labels as it does times, but no labels came")
            }
            (Class::Timestep(_), Some(labels)) if labels.len() != batch => {
                fail(&format!("{} labels for a batch of {batch}", labels.len()))
            }
            (Class::Timestep(embedding), Some(labels)) => {
                let c_noise = input.c_noise.tensor();
                let labels = Tensor::new(labels, c_noise.device())?.to_dtype(c_noise.dtype())?;
                Ok(Some(embedding.forward(w, &self.projection.forward(w, &labels.into())?)?))
            }
            // It is added where every extra embedding is.
            (Class::Identity, None) if input.extra_embedding.is_some() => Ok(None),
            (Class::Identity, _) => fail(
                "the model takes the embedding of the class itself (class_embed_type identity): give it as the extra embedding, without labels",
            ),
        }
    }

    /// Networks with Fourier embeddings predict a score times sigma: diffusers divides their output by sigma.
    pub(crate) fn rescale_output(&self, output: Value, input: &Input<'_>) -> Result<Value> {
        match self.projection {
            Projection::Positional(_) | Projection::Learned { .. } => Ok(output),
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
