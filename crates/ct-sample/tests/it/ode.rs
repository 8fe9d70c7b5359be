use candle_core::{Device, Tensor};
use ct_sample::{
    Denoiser, Draw, Error, NoiseSource, Result, SeededNoise, dpmpp_2m, euler, heun, invert_ode, ode_sigmas,
    testing::{Gaussian, GaussianDenoiser},
};

use crate::moments::{assert_moments, largest_difference};

const NOISE: SeededNoise = SeededNoise { seed: 5, first_index: 0 };

type Sampler = fn(&dyn Denoiser, &[f64], &dyn NoiseSource, &Draw<'_>) -> Result<Tensor>;

/// The slope of log2(error) over log2(number of steps), negated, by least squares.
fn order(sampler: Sampler, steps: &[u32]) -> f64 {
    // Unit variance, from sigma 4 to 0.25: errors stay far above the rounding of f32.
    let model = GaussianDenoiser::new(Gaussian::isotropic(&[2], 0.3, 1.0).unwrap());
    let draw = Draw::new(&model, 8);
    let start = (NOISE.noise(0, 0..8, &[2], &Device::Cpu).unwrap() * 4.0).unwrap();
    let exact = model.gaussian().flow(&start, 4.0, 0.25).unwrap();
    let points: Vec<(f64, f64)> = steps
        .iter()
        .map(|&n| {
            let sigmas: Vec<f64> =
                (0..=n).map(|i| 4.0 * (0.25f64 / 4.0).powf(f64::from(i) / f64::from(n))).collect();
            let error = largest_difference(&sampler(&model, &sigmas, &NOISE, &draw).unwrap(), &exact);
            (f64::from(n).log2(), error.log2())
        })
        .collect();
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let covariance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    -covariance / variance
}

#[test]
fn euler_is_of_order_one_heun_and_dpmpp_2m_of_order_two() {
    let found = order(euler, &[32, 64, 128, 256]);
    assert!((found - 1.0).abs() < 0.1, "Euler: order {found}");
    let found = order(heun, &[16, 32, 64, 128]);
    assert!((found - 2.0).abs() < 0.15, "Heun: order {found}");
    let found = order(dpmpp_2m, &[32, 64, 128]);
    assert!((found - 2.0).abs() < 0.15, "DPM-Solver++(2M): order {found}");
}

#[test]
fn all_reach_the_distribution_of_the_data() {
    let mut gaussian = crate::multistep::gaussian();
    gaussian.range.sigma_min = 0.002;
    let model = GaussianDenoiser::new(gaussian);
    let draw = Draw::new(&model, 20_000);
    let range = model.gaussian().range;
    for (sampler, steps) in [(euler as Sampler, 800), (heun as Sampler, 80), (dpmpp_2m as Sampler, 80)] {
        let points = sampler(&model, &ode_sigmas(range, steps).unwrap(), &NOISE, &draw).unwrap();
        assert_moments(&points, 0.0);
    }
}

#[test]
fn a_single_step_to_zero_is_the_denoiser() {
    let model = GaussianDenoiser::new(Gaussian::isotropic(&[2], 0.3, 1.0).unwrap());
    let draw = Draw::new(&model, 3);
    let start = (NOISE.noise(0, 0..3, &[2], &Device::Cpu).unwrap() * 80.0).unwrap();
    let denoised = model.denoise(&start, 80.0, None).unwrap();
    for sampler in [euler as Sampler, heun as Sampler, dpmpp_2m as Sampler] {
        let points = sampler(&model, &[80.0, 0.0], &NOISE, &draw).unwrap();
        // The step goes from values near 80 to values near 0.3 by a subtraction.
        assert!(largest_difference(&points, &denoised) < 1e-4);
        assert!(matches!(
            sampler(&model, &[80.0, 1.0, 2.0], &NOISE, &draw),
            Err(Error::SigmaNotDescending { step: 2, .. })
        ));
    }
}

#[test]
fn the_ode_leads_back_to_the_noise() {
    let model = GaussianDenoiser::new(Gaussian::isotropic(&[2], 0.3, 1.0).unwrap());
    let draw = Draw::new(&model, 8);
    let range = model.gaussian().range;
    let z = NOISE.noise(0, 0..8, &[2], &Device::Cpu).unwrap();
    let x =
        model.gaussian().flow(&(&z * range.sigma_max).unwrap(), range.sigma_max, range.sigma_min).unwrap();
    let errors = [20, 40].map(|steps| largest_difference(&invert_ode(&model, &x, steps, &draw).unwrap(), &z));
    assert!(errors[1] < 0.02 && errors[0] / errors[1] > 3.0, "of order two: {errors:?}");
    assert!(matches!(invert_ode(&model, &x, 0, &draw), Err(Error::NoSigmas)));
    assert!(invert_ode(&model, &x, 2, &draw).is_ok());
}
