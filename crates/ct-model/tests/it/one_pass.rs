//! One forward and backward pass of a small model, which tests run in several ways.

use candle_core::{Device, Tensor};
use ct_kernels::{Metric, Tape, Value, distance};
use ct_model::{
    Activations, Conditions, Dropout, NetworkConfig, NoiseRange, Parameterization, Precision,
    consistency_function, normal,
};
use ct_random::Purpose;

use crate::parameterization::small_model;

/// What a pass gives.
pub(crate) struct OnePass {
    pub(crate) f: Tensor,
    /// In the order of the parameters' names; `None` where nothing depends on one.
    pub(crate) gradients: Vec<Option<Tensor>>,
    /// What the tape keeps between the two passes.
    pub(crate) kept_bytes: usize,
}

/// A loss on f with dropout, of `batch` samples, a multiple of 3.
pub(crate) fn one_pass(
    config: &NetworkConfig,
    batch: usize,
    activations: Activations,
    precision: Precision,
) -> OnePass {
    let range = NoiseRange::default();
    let model = small_model(config, range);
    let shape = model.network().sample_shape();
    let draw = |step| normal(1, Purpose::Noise, step, 0, batch, shape, &Device::Cpu).unwrap();
    let labels = model.network().num_classes().map(|_| [0, 1, 1].repeat(batch / 3));

    let images: Vec<u64> = (7..).take(batch).collect();

    let tape = Tape::new();
    let weights = model.params().watched(&tape).with_activations(activations).with_precision(precision);
    let f = consistency_function(
        &**model.network(),
        &weights,
        &Parameterization::Consistency.preconditioning(&range).unwrap(),
        &Value::from(draw(0)),
        &[0.01, 0.5, 20.0].repeat(batch / 3),
        &Conditions {
            class_labels: labels.as_deref(),
            dropout: Some(Dropout { seed: 4, images: &images }),
            extra_embedding: None,
        },
    )
    .unwrap();
    let loss = distance(&f, &draw(1), Metric::L2, &[1.0, 0.5, 2.0].repeat(batch / 3)).unwrap();
    let kept_bytes = tape.kept_bytes();
    let gradients = tape.backward(&loss).unwrap().into_vec();
    OnePass { f: f.tensor().clone(), gradients, kept_bytes }
}
