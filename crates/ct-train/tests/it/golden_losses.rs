//! The loss of each recipe against a float64 reference of our own, on a network that the test brings:
//! F(u, s) = W2 silu(W1 [u; s] + b1) + b2 with s = `c_noise` / 1000.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Device;
use ct_kernels::{Metric, Tape, Value, concat_channels, linear, reshape, scale, silu};
use ct_model::{
    Builder, Init, Input, Network, NetworkConfig, NoiseRange, ParamId, ParamLayout, Params, Weights,
};
use ct_train::{Examples, Pair, Training};

use crate::common::{Golden, assert_close};

#[derive(Debug)]
struct TwoLayers {
    layout: Arc<ParamLayout>,
    ids: [ParamId; 4],
}

impl TwoLayers {
    fn new() -> Self {
        let b = Builder::new();
        let param = |name, shape: &[usize]| b.param(name, shape, Init::Zeros);
        let ids = [param("W1", &[16, 6]), param("b1", &[16]), param("W2", &[5, 16]), param("b2", &[5])];
        Self { layout: b.finish(), ids }
    }

    fn params(&self, golden: &Golden, owner: &str) -> Params {
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
        &[5]
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn config(&self) -> NetworkConfig {
        unreachable!("the test saves no model")
    }

    fn forward(&self, w: &Weights, input: &Input<'_>) -> ct_model::Result<Value> {
        let [w1, b1, w2, b2] = self.ids.map(|id| &w[id]);
        let s = scale(&reshape(input.c_noise, &[input.x.dims()[0], 1])?, 1e-3)?;
        let h = silu(&linear(&concat_channels(&[input.x, &s])?, w1, Some(b1))?)?;
        Ok(linear(&h, w2, Some(b2))?)
    }
}

fn check(case: &str, teacher: &str, metric: Metric) {
    let golden = Golden::read("losses");
    let constants = golden.note("constants");
    let of = |key: &str| constants[key].as_f64().unwrap();
    let range = NoiseRange {
        sigma_min: of("sigma_min"),
        sigma_max: of("sigma_max"),
        sigma_data: of("sigma_data"),
        rho: of("rho"),
    };
    let name = |key: &str| format!("{case}.{key}");
    let levels = golden.f64s(&name("t")).into_iter().zip(golden.f64s(&name("r")));
    let pairs: Vec<Pair> = levels
        .zip(golden.f64s(&name("weight")))
        .map(|((sigma_hi, r), weight)| Pair { sigma_hi, sigma_lo: (r > 0.0).then_some(r), weight })
        .collect();
    let images = (0..pairs.len() as u64).collect();
    let (x0, noise) = (golden.f32(&name("x0")), golden.f32(&name("z")));
    let examples = Examples { x0, noise, pairs, labels: None, images };

    let network = TwoLayers::new();
    let (student, teacher) = (network.params(&golden, "student"), network.params(&golden, teacher));
    let training = Training { network: &network, range, seed: 0 };
    let target = training.target(&teacher.constants(), &examples).unwrap();
    let tape = Tape::new();
    let loss = training.loss(&student.watched(&tape), &examples, &target, metric).unwrap();
    let gradients = tape.backward(&loss).unwrap();

    let tolerances = golden.note("tolerances");
    assert_close(
        "target",
        &target,
        golden.get(&name("target")),
        tolerances["f32_estimates"].as_f64().unwrap(),
    );
    let tolerance = tolerances["f32_differences"].as_f64().unwrap();
    assert_close("loss", loss.tensor(), golden.get(&name("loss")), tolerance);
    for (idx, (param, _)) in student.iter().enumerate() {
        assert_close(
            param,
            gradients.leaf(idx).unwrap(),
            golden.get(&name(&format!("grads.{param}"))),
            tolerance,
        );
    }
}

fn huber(case: &str) -> Metric {
    Metric::PseudoHuber { c: Golden::read("losses").note("cases")[case]["c"].as_f64().unwrap() }
}

#[test]
fn ct_with_squared_distance() {
    check("ct_l2", "ema", Metric::L2);
}

#[test]
fn ct_with_absolute_distance() {
    check("ct_l1", "ema", Metric::L1);
}

#[test]
fn ict_with_pseudo_huber() {
    check("ict", "student", huber("ict"));
}

#[test]
fn ect_where_the_target_is_partly_the_clean_sample() {
    check("ect_first_stage", "student", huber("ect_first_stage"));
}

#[test]
fn ect_in_its_last_stage() {
    check("ect_last_stage", "student", huber("ect_last_stage"));
    check("ect_huber", "student", huber("ect_huber"));
}
