use candle_core::{Device, Tensor};
use ct_sample::{
    Draw, Error, NoiseSource as _, SeededNoise, denoise, estimate_sigma, follow, multistep, multistep_from,
    multistep_with_gamma,
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

#[test]
fn a_guide_is_followed_as_far_as_the_first_level_allows() {
    let model = GaussianConsistency::new(Gaussian::isotropic(&[1, 4, 4], 0.0, 0.04).unwrap());
    let draw = Draw::new(&model, 1);
    let guide = Tensor::full(0.3f32, (1, 1, 4, 4), &Device::Cpu).unwrap();
    let distance = |sigma: f64| {
        let found = follow(&model, &guide, &[sigma], &NOISE, &draw).unwrap();
        (found - &guide).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let distances = [0.02, 0.2, 2.0].map(distance);
    assert!(distances[0] < distances[1] && distances[1] < distances[2], "{distances:?}");
    assert!(distances[0] < 1e-3, "{distances:?}");
}

#[test]
fn noise_is_measured_and_taken_out() {
    // A smooth picture of 32 x 32, and noise: 256 coefficients, whose median is within 15 % of the truth.
    let ramp = Tensor::arange(0f32, 1024.0, &Device::Cpu).unwrap().reshape((1, 1, 32, 32)).unwrap();
    let clean = (ramp / 2048.0).unwrap();
    let z = NOISE.noise(0, 0..1, &[1, 32, 32], &Device::Cpu).unwrap();
    for sigma in [0.05, 0.4] {
        let noisy = (&clean + (&z * sigma).unwrap()).unwrap();
        let found = estimate_sigma(&noisy).unwrap()[0];
        assert!((found / sigma - 1.0).abs() < 0.15, "{found} for {sigma}");
    }
    assert!(estimate_sigma(&clean).unwrap()[0] < 1e-6);
    assert!(matches!(estimate_sigma(&clean.narrow(2, 0, 1).unwrap()), Err(Error::Shape { .. })));

    let model = GaussianConsistency::new(Gaussian::isotropic(&[1, 32, 32], 0.25, 0.04).unwrap());
    let draw = Draw::new(&model, 1);
    let noisy = (&clean + (&z * 0.4).unwrap()).unwrap();
    let found = denoise(&model, &noisy, 0.4, &draw).unwrap();
    let expected = model.gaussian().flow(&noisy, 0.4, 0.002).unwrap();
    assert!(largest_difference(&found, &expected) < 1e-6);
    assert!(matches!(denoise(&model, &noisy, 0.002, &draw), Err(Error::SigmaOutOfRange { .. })));
}

#[test]
fn gamma_leads_from_no_new_noise_to_all_new_noise() {
    let model = GaussianConsistency::new(Gaussian::isotropic(&[3], 0.2, 1.0).unwrap());
    let draw = Draw::new(&model, 4);
    let with = |gamma| multistep_with_gamma(&model, &SIGMAS, gamma, &NOISE, &draw).unwrap();
    let all_new = multistep(&model, &SIGMAS, &NOISE, &draw).unwrap();
    assert!(largest_difference(&with(1.0), &all_new) < 1e-5);
    // Without new noise the sample is a function of the first: the closed form of one sample, step by step.
    let z = NOISE.noise(0, 0..4, &[3], &Device::Cpu).unwrap();
    let flow = |x: &Tensor, sigma: f64| model.gaussian().flow(x, sigma, 0.002).unwrap();
    let mut x_hat = (z * SIGMAS[0]).unwrap();
    for pair in SIGMAS.windows(2) {
        let [here, next] = [pair[0], pair[1]].map(|sigma| (sigma * sigma - 0.002f64.powi(2)).sqrt());
        let x = flow(&x_hat, pair[0]);
        x_hat = (&x + (((&x_hat - &x).unwrap() / here).unwrap() * next).unwrap()).unwrap();
    }
    assert!(largest_difference(&with(0.0), &flow(&x_hat, SIGMAS[2])) < 1e-5);
    let only_first =
        ct_sample::RecordedNoise::new(&[NOISE.noise(0, 0..4, &[3], &Device::Cpu).unwrap()], None).unwrap();
    assert!(multistep_with_gamma(&model, &SIGMAS, 0.0, &only_first, &draw).is_ok(), "none is drawn");
    assert!(matches!(
        multistep_with_gamma(&model, &SIGMAS, 1.1, &NOISE, &draw),
        Err(Error::Setting { what: "gamma", .. })
    ));
}
