//! The network of the recordings, and what goes with it:
//! F(u, s) = W2 silu(W1 [u; s] + b1) + b2 with s = `c_noise` times a scale.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Device;
use ct_kernels::{Metric, Value, concat_channels, linear, reshape, scale, silu};
use ct_model::{
    Builder, ConsistencyModel, Init, Input, Network, NetworkConfig, NoiseRange, ParamId, ParamLayout,
    Parameterization, Params, Weights,
};
use ct_train::{Difference, Objective, Pair};

use crate::common::Golden;

#[derive(Debug)]
pub(crate) struct TwoLayers {
    layout: Arc<ParamLayout>,
    ids: [ParamId; 4],
    time_scale: f64,
    shape: [usize; 1],
}

impl TwoLayers {
    pub(crate) fn new(time_scale: f64) -> Self {
        Self::of_dim(5, time_scale)
    }

    /// For samples of `dim` values.
    pub(crate) fn of_dim(dim: usize, time_scale: f64) -> Self {
        let b = Builder::new();
        let param = |name, shape: &[usize]| b.param(name, shape, Init::Zeros);
        let ids =
            [param("W1", &[16, dim + 1]), param("b1", &[16]), param("W2", &[dim, 16]), param("b2", &[dim])];
        Self { layout: b.finish(), ids, time_scale, shape: [dim] }
    }

    pub(crate) fn params(&self, golden: &Golden, owner: &str) -> Params {
        let names = ["W1", "b1", "W2", "b2"];
        let tensors: HashMap<_, _> =
            names.map(|name| (name.to_owned(), golden.f32(&format!("{owner}.{name}")))).into();
        Params::from_tensors(&self.layout, tensors, &Device::Cpu).unwrap().unwrap()
    }
}

impl Network for TwoLayers {
    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn config(&self) -> NetworkConfig {
        unreachable!("the test saves no model")
    }

    fn forward(&self, w: &Weights, input: &Input<'_>) -> ct_model::Result<Value> {
        let [w1, b1, w2, b2] = self.ids.map(|id| &w[id]);
        let s = scale(&reshape(input.c_noise, &[input.x.dims()[0], 1])?, self.time_scale)?;
        let h = silu(&linear(&concat_channels(&[input.x, &s])?, w1, Some(b1))?)?;
        Ok(linear(&h, w2, Some(b2))?)
    }
}

/// The constants of a recording.
pub(crate) fn range(golden: &Golden) -> NoiseRange {
    let constants = golden.note("constants");
    let of = |key: &str| constants[key].as_f64().unwrap();
    NoiseRange {
        sigma_min: of("sigma_min"),
        sigma_max: of("sigma_max"),
        sigma_data: of("sigma_data"),
        rho: of("rho"),
    }
}

/// Any objective whose target is f at the smaller noise level.
#[derive(Debug)]
pub(crate) struct Recorded(pub(crate) Metric);

impl Objective for Recorded {
    fn pairs(&self, _: u64, _: &[f64]) -> ct_train::Result<Vec<Pair>> {
        unreachable!("the pairs are recorded")
    }

    fn difference(&self, _: u64) -> Difference {
        Difference::Values(self.0)
    }

    fn describe(&self, _: u64) -> String {
        String::new()
    }
}

/// The recorded teacher of a distillation, in this parameterization.
pub(crate) fn teacher(
    golden: &Golden,
    time_scale: f64,
    parameterization: Parameterization,
) -> Arc<ConsistencyModel> {
    let network = TwoLayers::new(time_scale);
    let params = network.params(golden, "teacher");
    let model =
        ConsistencyModel::with_parameterization(Arc::new(network), params, range(golden), parameterization);
    Arc::new(model.unwrap())
}

/// How an objective compares values.
pub(crate) fn metric(objective: &dyn Objective, step: u64) -> Metric {
    match objective.difference(step) {
        Difference::Values(metric) => metric,
        Difference::Perceptual => panic!("no recording is perceptual"),
    }
}
