//! The noise behind a sample of a consistency model.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ct_model::{ConsistencyModel, MlpConfig, NetworkConfig, NoiseRange, Params};
use ct_sample::{Draw, Error, InversionConfig, NoiseSource, SeededNoise, invert, one_step};

use crate::moments::largest_difference;

const NOISE: SeededNoise = SeededNoise { seed: 2, first_index: 0 };

/// An untrained perceptron, whose map from noise to samples is smooth.
fn model() -> ConsistencyModel {
    let config = MlpConfig { dim: 6, hidden_dim: 16, num_blocks: 1, ..MlpConfig::default() };
    let network = NetworkConfig::Mlp(config).build().unwrap();
    let params = Params::init(network.layout(), 4, &Device::Cpu).unwrap();
    ConsistencyModel::new(
        Arc::clone(&network),
        params,
        NoiseRange { sigma_max: 2.0, ..NoiseRange::default() },
    )
    .unwrap()
}

#[test]
fn a_sample_is_found_again() {
    let model = model();
    let draw = Draw::new(&model, 3);
    let y = one_step(&model, &SeededNoise { seed: 9, first_index: 0 }, &draw).unwrap();
    let config = InversionConfig { num_steps: 400, lr: 0.1 };
    let mut left = Vec::new();
    let z = invert(&model, &y, &config, &NOISE, &draw, &mut |_, error| left.push(error)).unwrap();
    let lengths = z.sqr().unwrap().mean(1).unwrap().to_vec1::<f32>().unwrap();
    assert!(lengths.iter().all(|length| (length - 1.0).abs() < 1e-5), "{lengths:?}");
    assert_eq!(left.len(), 400);
    // The noise behind y has another length than z may have, so a little is left.
    assert!(left[399] < 0.05 * left[0], "{} from {}", left[399], left[0]);
}

#[test]
fn a_sample_is_inverted_the_same_way_in_any_batch() {
    let model = model();
    let y = one_step(&model, &SeededNoise { seed: 9, first_index: 0 }, &Draw::new(&model, 3)).unwrap();
    let config = InversionConfig { num_steps: 20, lr: 0.1 };
    let all = invert(&model, &y, &config, &NOISE, &Draw::new(&model, 3), &mut |_, _| ()).unwrap();
    let part = Draw { samples: 1..2, ..Draw::new(&model, 1) };
    let one = invert(&model, &y.narrow(0, 1, 1).unwrap(), &config, &NOISE, &part, &mut |_, _| ()).unwrap();
    assert!(largest_difference(&one, &all.narrow(0, 1, 1).unwrap()) < 1e-5);
}

#[test]
fn misfits_are_refused() {
    let model = model();
    let draw = Draw::new(&model, 1);
    let y = NOISE.noise(0, 0..1, &[6], &Device::Cpu).unwrap();
    let try_with = |y: &Tensor, num_steps, lr| {
        invert(&model, y, &InversionConfig { num_steps, lr }, &NOISE, &draw, &mut |_, _| ())
    };
    assert!(matches!(try_with(&y, 0, 0.1), Err(Error::Zero { .. })));
    assert!(matches!(try_with(&y, 1, 0.0), Err(Error::Setting { what: "lr", .. })));
    assert!(matches!(try_with(&y.narrow(1, 0, 5).unwrap(), 1, 0.1), Err(Error::Shape { .. })));
}
