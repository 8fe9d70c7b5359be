use candle_core::{Device, Tensor};
use ct_sample::{
    Draw, Error, NoiseSource, RecordedNoise, SeededNoise, default_sigmas, multistep, one_step,
    testing::{Gaussian, GaussianConsistency},
};

use crate::moments::{assert_moments, largest_difference};

/// N((1, -2), diag(0.25, 4)) at the usual noise range, but kept visible noise of 0.5.
///
/// `sigma_max` is large enough that the mean of the data does not show in the prior.
pub(crate) fn gaussian() -> Gaussian {
    let device = &Device::Cpu;
    let mean = Tensor::new(&[1f32, -2.0], device).unwrap();
    let variance = Tensor::new(&[0.25f32, 4.0], device).unwrap();
    let mut gaussian = Gaussian::new(&mean, &variance).unwrap();
    gaussian.range.sigma_min = 0.5;
    gaussian.range.sigma_max = 800.0;
    gaussian
}

const NOISE: SeededNoise = SeededNoise { seed: 3, first_index: 0 };

#[test]
fn any_number_of_steps_keeps_the_distribution() {
    // The exact consistency function maps N(m, v + tau^2) to N(m, v + sigma_min^2), from every tau.
    // With noise of scale tau instead of sqrt(tau^2 - sigma_min^2) the input would be too wide, and this fails.
    let model = GaussianConsistency::new(gaussian());
    for sigmas in [vec![800.0], vec![800.0, 0.821], vec![800.0, 20.0, 3.0, 0.7]] {
        let points = multistep(&model, &sigmas, &NOISE, &Draw::new(&model, 20_000)).unwrap();
        assert_moments(&points, 0.5);
    }
}

#[test]
fn one_step_is_one_evaluation_of_scaled_noise() {
    let model = GaussianConsistency::new(gaussian());
    let draw = Draw::new(&model, 5);
    let points = one_step(&model, &NOISE, &draw).unwrap();
    let start = (NOISE.noise(0, 0..5, &[2], &Device::Cpu).unwrap() * 800.0).unwrap();
    let expected = model.gaussian().flow(&start, 800.0, 0.5).unwrap();
    assert!(largest_difference(&points, &expected) == 0.0);
}

#[test]
fn recorded_noise_gives_what_seeded_noise_gives() {
    let model = GaussianConsistency::new(gaussian());
    let draw = Draw::new(&model, 4);
    let sigmas = default_sigmas(model.gaussian().range, 3).unwrap();
    let steps: Vec<Tensor> =
        (0..3).map(|step| NOISE.noise(step, 0..4, &[2], &Device::Cpu).unwrap()).collect();
    let recorded = RecordedNoise::new(&steps, None).unwrap();
    let seeded = multistep(&model, &sigmas, &NOISE, &draw).unwrap();
    let replayed = multistep(&model, &sigmas, &recorded, &draw).unwrap();
    assert!(largest_difference(&seeded, &replayed) == 0.0);
    let longer = multistep(&model, &[800.0, 50.0, 3.0, 1.0], &recorded, &draw);
    assert!(matches!(longer, Err(Error::NoiseStepMissing { step: 3, available: 3 })));
    let more = multistep(&model, &sigmas, &recorded, &Draw::new(&model, 5));
    assert!(matches!(more, Err(Error::NoiseSamplesMissing { needed: 4, available: 4 })));
}

#[test]
fn images_are_clipped_after_every_evaluation_unless_told_otherwise() {
    let wide = Gaussian::isotropic(&[1, 8, 8], 0.0, 25.0).unwrap();
    let model = GaussianConsistency::new(wide);
    let draw = Draw::new(&model, 2);
    assert!(draw.clip);
    let limit = |draw: &Draw<'_>| {
        let images = multistep(&model, &[80.0, 1.0], &NOISE, draw).unwrap();
        images.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert!((limit(&draw) - 1.0).abs() < f32::EPSILON);
    assert!(limit(&draw.without_clipping()) > 5.0);
}

#[test]
fn levels_outside_the_range_are_refused() {
    let model = GaussianConsistency::new(gaussian());
    let draw = Draw::new(&model, 1);
    let sample = |sigmas: &[f64]| multistep(&model, sigmas, &NOISE, &draw);
    assert!(matches!(sample(&[]), Err(Error::NoSigmas)));
    assert!(matches!(sample(&[800.0, 0.5]), Err(Error::SigmaOutOfRange { step: 1, .. })));
    assert!(matches!(sample(&[1.0, 2.0]), Err(Error::SigmaNotDescending { step: 1, .. })));
}
