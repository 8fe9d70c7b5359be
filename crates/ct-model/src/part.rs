//! A part of a network that can be run again in place of keeping what it computes.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use ct_kernels::{self as ops, Value};

use crate::params::Activations;
use crate::{Builder, Dropout, Error, Result, Weights};

/// What every layer of one forward pass shares.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    /// The numbers of the network, or of the part that is run again.
    pub(crate) weights: &'a Weights,
    /// The embedding of noise level and class after its activation, `[B, E]`.
    pub(crate) embedding: &'a Value,
    /// Key of the dropout masks.
    pub(crate) dropout: Option<Dropout<'a>>,
}

/// A function of one activation.
pub(crate) trait Layer: Debug + Send + Sync + 'static {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value>;
}

/// A layer, and which parameters are its own.
#[derive(Debug)]
pub(crate) struct Part<L> {
    layer: Arc<L>,
    params: Range<usize>,
}

impl<L: Layer> Part<L> {
    /// Everything that `build` adds to the layout belongs to the layer.
    pub(crate) fn new(b: &Builder, build: impl FnOnce() -> L) -> Self {
        let first = b.num_params();
        let layer = Arc::new(build());
        Self { layer, params: first..b.num_params() }
    }

    /// Runs the layer on `inputs`, the channels of which are put side by side.
    pub(crate) fn forward(&self, pass: &Pass<'_>, inputs: &[&Value]) -> Result<Value> {
        match pass.weights.activations() {
            Activations::Kept => self.layer.forward(pass, &side_by_side(inputs)?),
            Activations::Recomputed => self.forward_recomputed(pass, inputs),
        }
    }

    /// What the layer reads goes in as values of the block: embedding, inputs, parameters.
    fn forward_recomputed(&self, pass: &Pass<'_>, inputs: &[&Value]) -> Result<Value> {
        let mut values = vec![pass.embedding];
        values.extend(inputs);
        values.extend(pass.weights.part(self.params.clone()));

        let (layer, first_param, num_inputs) = (Arc::clone(&self.layer), self.params.start, inputs.len());
        let dropout = pass.dropout.map(|dropout| (dropout.seed, dropout.images.to_vec()));
        let run = move |values: &[Value]| -> Result<Value> {
            let (embedding, rest) = (&values[0], &values[1..]);
            let (inputs, params) = rest.split_at(num_inputs);
            let weights = Weights::of_part(first_param, params.to_vec());
            let dropout = dropout.as_ref().map(|(seed, images)| Dropout { seed: *seed, images });
            let x = side_by_side(&inputs.iter().collect::<Vec<_>>())?;
            layer.forward(&Pass { weights: &weights, embedding, dropout }, &x)
        };
        Ok(ops::checkpoint(move |values| run(values).map_err(into_kernel_error), &values)?)
    }
}

fn side_by_side(inputs: &[&Value]) -> Result<Value> {
    Ok(match inputs {
        [x] => (*x).clone(),
        several => ops::concat_channels(several)?,
    })
}

fn into_kernel_error(error: Error) -> ct_kernels::Error {
    match error {
        Error::Kernel(error) => error,
        Error::Candle(error) => error.into(),
        other => candle_core::Error::wrap(other).into(),
    }
}
