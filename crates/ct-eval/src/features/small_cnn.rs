//! A small classifier of gray images, for its inner values.
//!
//! Four times a convolution of 3x3, group normalization and SiLU, with means over squares of 2x2 between them;
//! then a layer of 64 values with SiLU, which are the features, and a layer of scores, which only training needs.
//! It is trained to bring the scores near 1 for the right class and near 0 for the others.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{
    Activation, Conv2d, GroupNorm, Padding, Value, avg_pool2x, conv2d, group_norm, linear, reshape, silu,
    to_channels_last,
};
use ct_random::{Purpose, Stream, hash_name};
use safetensors::serialize;

use super::weights::Weights;
use crate::error::{Error, Result};

/// In the header of a file: the name of the network, a space, and the side of its images.
const KEY: &str = "feature_network";
/// Channels after each convolution.
const CHANNELS: [usize; 4] = [16, 32, 64, 48];
/// Number of features.
const DIM: usize = 64;
/// Number of classes.
const CLASSES: usize = 10;
/// Groups of a normalization.
const GROUPS: usize = 8;
/// Images with sides from here on are halved after the first convolution already.
const LARGE: usize = 16;

/// A small classifier of square gray images, for its inner values.
#[derive(Debug, Clone)]
pub struct SmallCnn {
    name: String,
    side: usize,
    parameters: Vec<Tensor>,
}

impl SmallCnn {
    /// An untrained network for images of `side` by `side`, its weights drawn by `seed`.
    ///
    /// # Errors
    /// [`Error::Setting`] when the side is less than 4.
    pub fn new(name: impl Into<String>, side: usize, seed: u64) -> Result<Self> {
        if side < 4 {
            let got = side as f64;
            return Err(Error::Setting { setting: "the side of images", expected: "at least 4", got });
        }
        let parameters = shapes(side).into_iter().map(|(name, shape)| initial(&name, &shape, seed));
        Ok(Self { name: name.into(), side, parameters: parameters.collect::<Result<_>>()? })
    }

    /// The network of a file.
    pub(crate) fn from_weights(weights: &Weights) -> Result<Self> {
        let label = weights.metadata(KEY)?;
        let (name, side) = label
            .rsplit_once(' ')
            .and_then(|(name, side)| {
                Some((name, side.parse().ok().filter(|side| (4..=1024).contains(side))?))
            })
            .ok_or_else(|| weights.error(format!("`{label}` in its header is no name and side")))?;
        let parameters = shapes(side).into_iter().map(|(name, shape)| weights.shaped(&name, &shape).cloned());
        Ok(Self { name: name.to_owned(), side, parameters: parameters.collect::<Result<_>>()? })
    }

    /// The bytes of a safetensors file with the weights in half precision.
    ///
    /// # Errors
    /// When the tensors cannot be converted.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let names = shapes(self.side).into_iter().map(|(name, _)| name);
        let halves: Vec<(String, Tensor)> = names
            .zip(&self.parameters)
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F16)?)))
            .collect::<Result<_>>()?;
        // One key: several would be written in any order, and the bytes shall be the same every time.
        let metadata = HashMap::from([(KEY.to_owned(), format!("{} {}", self.name, self.side))]);
        let bytes = serialize(halves.iter().map(|(name, tensor)| (name, tensor)), Some(metadata));
        bytes.map_err(|error| Error::Weights { origin: self.name.clone(), reason: error.to_string() })
    }

    /// The same network with its weights rounded to half precision, as a file keeps them.
    ///
    /// # Errors
    /// When the tensors cannot be converted.
    pub fn rounded(&self) -> Result<Self> {
        let round = |tensor: &Tensor| Ok(tensor.to_dtype(DType::F16)?.to_dtype(DType::F32)?);
        let parameters = self.parameters.iter().map(round).collect::<Result<_>>()?;
        Ok(Self { name: self.name.clone(), side: self.side, parameters })
    }

    /// What the network was trained on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Height and width of its images.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Number of features.
    pub fn dim(&self) -> usize {
        DIM
    }

    /// The weights, in the order that [`SmallCnn::forward`] takes them; training changes them in place.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Features and scores with the given weights in the place of its own.
    ///
    /// # Shapes
    /// `x`: `[B, 1, S, S]` in [-1, 1]; results: `[B, 64]` and `[B, 10]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, parameters: &[Value], x: &Value) -> Result<(Value, Value)> {
        let [layers @ .., hidden_w, hidden_b, scores_w, scores_b] = parameters else {
            return Err(Error::Weights { origin: self.name.clone(), reason: "weights are missing".into() });
        };
        let same = Conv2d { stride: 1, padding: Padding::all(1) };
        let norm = GroupNorm { num_groups: GROUPS, eps: 1e-5, activation: Activation::Silu };
        let mut x = to_channels_last(x)?;
        for (idx, layer) in layers.chunks_exact(3).enumerate() {
            x = group_norm(&conv2d(&x, &layer[0], None, &same)?, &layer[1], &layer[2], &norm)?;
            if is_halved(self.side, idx) {
                x = avg_pool2x(&x)?;
            }
        }
        let batch = x.dims().first().copied().unwrap_or(0);
        let flat = reshape(&x, &[batch, last_side(self.side).pow(2) * CHANNELS[3]])?;
        let features = silu(&linear(&flat, hidden_w, Some(hidden_b))?)?;
        let scores = linear(&features, scores_w, Some(scores_b))?;
        Ok((features, scores))
    }

    /// The features of images.
    ///
    /// # Shapes
    /// `x`: `[B, 1, S, S]` in [-1, 1]; result: `[B, 64]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(&self.constants(), &Value::from(x))?.0.into_tensor())
    }

    /// The scores of images: the largest is that of the class they are taken for.
    ///
    /// # Shapes
    /// `x`: `[B, 1, S, S]` in [-1, 1]; result: `[B, 10]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(&self.constants(), &Value::from(x))?.1.into_tensor())
    }

    fn constants(&self) -> Vec<Value> {
        self.parameters.iter().map(Value::from).collect()
    }
}

/// Whether the image is halved after convolution number `idx`.
fn is_halved(side: usize, idx: usize) -> bool {
    matches!(idx, 1 | 3) || (idx == 0 && side >= LARGE)
}

/// Height and width of what the last convolution leaves.
fn last_side(side: usize) -> usize {
    (0..CHANNELS.len()).filter(|&idx| is_halved(side, idx)).fold(side, |side, _| side / 2)
}

/// Names and shapes of the weights.
fn shapes(side: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    let mut channels_in = 1;
    for (idx, channels) in CHANNELS.into_iter().enumerate() {
        let number = idx + 1;
        shapes.push((format!("conv{number}.weight"), vec![channels, channels_in, 3, 3]));
        shapes.push((format!("norm{number}.weight"), vec![channels]));
        shapes.push((format!("norm{number}.bias"), vec![channels]));
        channels_in = channels;
    }
    shapes.push(("hidden.weight".to_owned(), vec![DIM, last_side(side).pow(2) * channels_in]));
    shapes.push(("hidden.bias".to_owned(), vec![DIM]));
    shapes.push(("scores.weight".to_owned(), vec![CLASSES, DIM]));
    shapes.push(("scores.bias".to_owned(), vec![CLASSES]));
    shapes
}

/// Normal numbers of variance 2 / inputs for what is multiplied, 1 for what scales, 0 for what is added.
fn initial(name: &str, shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut values = vec![0f32; shape.iter().product()];
    if shape.len() > 1 {
        Stream::new(seed, Purpose::Init, 0, hash_name(name)).fill_normal(&mut values);
        let inputs: usize = shape[1..].iter().product();
        let scale = (2.0 / inputs as f32).sqrt();
        for value in &mut values {
            *value *= scale;
        }
    } else if name.ends_with(".weight") {
        values.fill(1.0);
    }
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
