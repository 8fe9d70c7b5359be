//! A perceptron with residual blocks, for vectors such as points in the plane.

use std::sync::Arc;

use ct_kernels::{self as ops, PositionalEmbedding, Value};
use serde::{Deserialize, Serialize};

use crate::layers::{DropoutLayer, Embedding, Linear, Start, TimestepEmbedding};
use crate::part::{Layer, Part, Pass};
use crate::{Builder, Error, Input, Network, NetworkConfig, ParamLayout, Result, Weights};

/// The configuration of an [`Mlp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Length of one vector.
    pub dim: usize,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Number of residual blocks.
    pub num_blocks: usize,
    /// Width of the positional embedding of the noise level; even.
    pub embedding_dim: usize,
    /// Probability that a hidden value is dropped during training.
    pub dropout: f64,
    /// How many classes there are.
    pub num_class_embeds: Option<usize>,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            dim: 2,
            hidden_dim: 128,
            num_blocks: 3,
            embedding_dim: 32,
            dropout: 0.0,
            num_class_embeds: None,
        }
    }
}

impl MlpConfig {
    fn validate(&self) -> Result<()> {
        let at_least = |field, value: usize, least: usize| match value {
            value if value >= least => Ok(()),
            _ => Err(Error::Config {
                field,
                value: value.to_string(),
                reason: format!("must be at least {least}"),
            }),
        };
        at_least("dim", self.dim, 1)?;
        at_least("hidden_dim", self.hidden_dim, 1)?;
        at_least("embedding_dim", self.embedding_dim, 4)?;
        at_least("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1)?;
        if (0.0..1.0).contains(&self.dropout) {
            Ok(())
        } else {
            let reason = "must lie in [0, 1)".to_owned();
            Err(Error::Config { field: "dropout", value: self.dropout.to_string(), reason })
        }
    }
}

/// One residual block: `h + linear_2(silu(linear_1(silu(h)) + time_emb_proj(e)))`.
#[derive(Debug)]
struct Block {
    linear_1: Linear,
    time_emb_proj: Linear,
    dropout: DropoutLayer,
    linear_2: Linear,
}

impl Layer for Block {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let w = pass.weights;
        let mut h = self.linear_1.forward(w, &ops::silu(x)?)?;
        h = ops::silu(&self.time_emb_proj.forward_residual(w, pass.embedding, &h)?)?;
        h = self.dropout.forward(h, pass.dropout)?;
        self.linear_2.forward_residual(w, &h, x)
    }
}

/// A perceptron with residual blocks.
#[derive(Debug)]
pub struct Mlp {
    config: MlpConfig,
    layout: Arc<ParamLayout>,
    sample_shape: [usize; 1],
    time: TimestepEmbedding,
    class: Option<Embedding>,
    linear_in: Linear,
    blocks: Vec<Part<Block>>,
    linear_out: Linear,
}

impl Mlp {
    /// Builds the network that `config` describes.
    ///
    /// # Errors
    /// A width of zero, or a dropout outside `[0, 1)`.
    pub fn new(config: &MlpConfig) -> Result<Self> {
        config.validate()?;
        let b = Builder::new();
        let hidden = config.hidden_dim;
        let block = |idx: usize| {
            let b = b.pp("blocks").pp(idx);
            Part::new(&b, || Block {
                linear_1: Linear::new(hidden, hidden, Start::Random, &b.pp("linear_1")),
                time_emb_proj: Linear::new(hidden, hidden, Start::Random, &b.pp("time_emb_proj")),
                dropout: DropoutLayer::new(config.dropout, &b),
                linear_2: Linear::new(hidden, hidden, Start::Zero, &b.pp("linear_2")),
            })
        };
        Ok(Self {
            sample_shape: [config.dim],
            time: TimestepEmbedding::new(config.embedding_dim, hidden, &b.pp("time_embedding")),
            class: config.num_class_embeds.map(|n| Embedding::new(n, hidden, &b.pp("class_embedding"))),
            linear_in: Linear::new(config.dim, hidden, Start::Random, &b.pp("linear_in")),
            blocks: (0..config.num_blocks).map(block).collect(),
            linear_out: Linear::new(hidden, config.dim, Start::Zero, &b.pp("linear_out")),
            config: config.clone(),
            layout: b.finish(),
        })
    }
}

impl Network for Mlp {
    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    fn num_classes(&self) -> Option<usize> {
        self.config.num_class_embeds
    }

    fn embedding_dim(&self) -> Option<usize> {
        Some(self.config.hidden_dim)
    }

    fn config(&self) -> NetworkConfig {
        NetworkConfig::Mlp(self.config.clone())
    }

    fn forward(&self, w: &Weights, input: &Input<'_>) -> Result<Value> {
        let &[batch, dim] = input.x.dims() else {
            return Err(Error::Shape {
                what: "input of the MLP",
                expected: vec![0, self.config.dim],
                got: input.x.dims().to_vec(),
            });
        };
        if dim != self.config.dim || input.c_noise.dims() != [batch] {
            let got = [input.x.dims(), input.c_noise.dims()].concat();
            return Err(Error::Shape {
                what: "input and c_noise of the MLP",
                expected: vec![batch, self.config.dim, batch],
                got,
            });
        }
        let positional = PositionalEmbedding::new(self.config.embedding_dim);
        let projected = ops::positional_embedding(input.c_noise, &positional)?;
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
        let precision = w.precision();
        let embedding = precision.inside(&ops::silu(&embedding)?)?;

        let mut x = self.linear_in.forward(w, &precision.inside(input.x)?)?;
        let pass = Pass { weights: w, embedding: &embedding, dropout: input.dropout };
        for block in &self.blocks {
            x = block.forward(&pass, &[&x])?;
        }
        let output = self.linear_out.forward(w, &ops::silu(&x)?)?;
        Ok(ops::cast(&output, input.x.tensor().dtype())?)
    }
}
