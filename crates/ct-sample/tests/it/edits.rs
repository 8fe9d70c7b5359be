use candle_core::{Device, Tensor};
use ct_sample::{
    Draw, Error, SeededNoise, multistep, multistep_from,
    testing::{Gaussian, GaussianConsistency},
};

use crate::moments::largest_difference;

const SIGMAS: [f64; 3] = [80.0, 5.0, 0.5];
const NOISE: SeededNoise = SeededNoise { seed: 1, first_index: 0 };

#[test]
fn a_projection_sees_every_estimate_and_has_the_last_word() {
    let model = GaussianConsistency::new(Gaussian::isotropic(&[1, 2, 2], 0.0, 0.1).unwrap());
    let draw = Draw::new(&model, 1);
    let known = Tensor::new(&[[[[0.25f32, 0.0], [0.0, -0.5]]]], &Device::Cpu).unwrap();
    let generated = Tensor::new(&[[[[0f32, 1.0], [1.0, 0.0]]]], &Device::Cpu).unwrap();
    let mut calls = 0;
    let edited = multistep_from(&model, &known, &SIGMAS, &NOISE, &draw, &mut |x| {
        calls += 1;
        Ok(((x * &generated)? + &known)?)
    })
    .unwrap();
    assert_eq!(calls, SIGMAS.len());
    let values = edited.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((values[0].to_bits(), values[3].to_bits()), (0.25f32.to_bits(), (-0.5f32).to_bits()));
    assert!(values[1] != 0.0 && values[2] != 0.0);
}

#[test]
fn the_start_is_the_centre_of_the_first_noise() {
    let model = GaussianConsistency::new(Gaussian::isotropic(&[2], 0.0, 1.0).unwrap());
    let draw = Draw::new(&model, 2);
    let start = Tensor::new(&[[10f32, 20.0], [30.0, 40.0]], &Device::Cpu).unwrap();
    let moved = multistep_from(&model, &start, &[2.0], &NOISE, &draw, &mut Ok).unwrap();
    let origin = multistep(&model, &[2.0], &NOISE, &draw).unwrap();
    // The consistency function is linear, so the difference is that of the starts.
    let expected = model.gaussian().flow(&start, 2.0, 0.002).unwrap();
    assert!(largest_difference(&(moved - origin).unwrap(), &expected) < 1e-5);
    let misfit = multistep_from(&model, &start, &[2.0], &NOISE, &Draw::new(&model, 3), &mut Ok);
    assert!(matches!(misfit, Err(Error::Shape { .. })));
}

#[test]
fn an_error_of_the_projection_ends_the_loop() {
    let model = GaussianConsistency::new(Gaussian::isotropic(&[2], 0.0, 1.0).unwrap());
    let draw = Draw::new(&model, 1);
    let start = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut fail = |_| Err(Error::Zero { what: "the operator" });
    let ended = multistep_from(&model, &start, &SIGMAS, &NOISE, &draw, &mut fail);
    assert!(matches!(ended, Err(Error::Zero { .. })));
}
