//! The steps of diffusers' `CMStochasticIterativeScheduler` and the edits of openai's `cm` on recorded noise,
//! around the same closed-form network.

use std::{collections::HashMap, path::PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use ct_sample::{
    Denoiser, Draw, Known, Luma, Mask, Measurement, NoiseRange, PatchMeans, RecordedNoise, default_sigmas,
    edit, multistep, multistep_from, one_step, rectangle_mask,
};

/// diffusers computes in f64 between f32 noise levels, we in f32; as the golden file says, relative to the largest value.
const TOLERANCE: f64 = 1e-5;

/// `c_skip` x + `c_out` F(`c_in` x, `c_noise`) with F(u, c) = 2.2 tanh(u + c / 1000), the network of `make.py`.
struct Closed {
    shape: [usize; 3],
}

/// The one of the scheduler's recording.
const CLOSED: Closed = Closed { shape: [2, 4, 4] };

impl Denoiser for Closed {
    fn denoise(&self, x: &Tensor, sigma: f64, _class_labels: Option<&[u32]>) -> Result<Tensor> {
        let NoiseRange { sigma_min, sigma_data, .. } = self.noise_range();
        let (variance, above) = (sigma_data * sigma_data, sigma - sigma_min);
        let root = (sigma * sigma + variance).sqrt();
        let raw = (x / root)?.affine(1.0, 0.25 * sigma.ln())?.tanh()?.affine(2.2, 0.0)?;
        (raw * (sigma_data * above / root))? + (x * (variance / (above * above + variance)))?
    }
    fn sample_shape(&self) -> &[usize] {
        &self.shape
    }
    fn noise_range(&self) -> NoiseRange {
        NoiseRange::default()
    }
    fn num_classes(&self) -> Option<usize> {
        None
    }
    fn device(&self) -> &Device {
        &Device::Cpu
    }
}

fn golden_path(case: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", case, "case.safetensors"].iter().collect()
}

fn golden() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden_path("cm_scheduler"), &Device::Cpu).unwrap()
}

/// Compares element by element, relative to the largest expected magnitude or 1.
fn assert_close(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{name}");
    let values =
        |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1f64, |largest, v| largest.max(v.abs()));
    for (index, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() <= tolerance * scale, "{name}[{index}]: {f} for {e}, scale {scale}");
    }
}

#[test]
fn every_estimate_and_the_samples_agree() {
    let golden = golden();
    let noise = RecordedNoise::load(&golden_path("cm_scheduler")).unwrap();
    let clipped = Draw::new(&CLOSED, noise.num_samples());
    let unclipped = clipped.clone().without_clipping();
    for (case, draw) in [
        ("one_step", &clipped),
        ("two_steps", &clipped),
        ("three_steps", &clipped),
        ("two_steps_unclipped", &unclipped),
    ] {
        let sigmas = sigmas_of(&golden, case);
        let start = Tensor::zeros((3, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
        let mut step = 0;
        let mut compare = |x: Tensor| {
            let name = format!("{case}.denoised.{step}");
            step += 1;
            assert_close(&name, &x, &golden[&name], TOLERANCE);
            Ok(x)
        };
        let hooked = multistep_from(&CLOSED, &start, &sigmas, &noise, draw, &mut compare).unwrap();
        let plain = multistep(&CLOSED, &sigmas, &noise, draw).unwrap();
        for samples in [hooked, plain] {
            assert_close(case, &samples, &golden[&format!("{case}.samples")], TOLERANCE);
        }
    }
    let samples = one_step(&CLOSED, &noise, &clipped).unwrap();
    assert_close("one_step", &samples, &golden["one_step.samples"], TOLERANCE);
}

#[test]
fn one_level_is_where_diffusers_starts_too() {
    let found = default_sigmas(NoiseRange::default(), 1).unwrap();
    let found = Tensor::new(found, &Device::Cpu).unwrap();
    assert_close("spaced.1", &found, &golden()["spaced.1"], 1e-6);
}

#[test]
fn many_levels_are_the_whole_grid_of_diffusers_but_its_last() {
    let found = default_sigmas(NoiseRange::default(), 39).unwrap();
    let found = Tensor::new(found, &Device::Cpu).unwrap();
    let expected = golden()["grid.sigmas"].narrow(0, 0, 39).unwrap();
    assert_close("grid.sigmas", &found, &expected, 1e-12);
}

#[test]
fn edits_agree_with_those_of_openai() {
    let golden = candle_core::safetensors::load(golden_path("cm_edits"), &Device::Cpu).unwrap();
    let sigmas: Vec<f64> = golden["sigmas"].to_vec1::<f64>().unwrap().iter().map(|s| s.min(80.0)).collect();
    let (small, large) = ([3, 8, 8], [3, 16, 16]);
    let hole = Mask::new(&rectangle_mask(&small, 2, 1, 4, 6).unwrap(), &small).unwrap();
    // Their weights of gray add up to 0.9999.
    let gray = Luma::new([0.2989, 0.5870, 0.1140], &small).unwrap();
    let patches = PatchMeans::new(8, &large).unwrap();
    let cases: [(&str, &dyn Measurement, [usize; 3]); 3] =
        [("inpaint", &hole, small), ("colorize", &gray, small), ("upscale", &patches, large)];
    for (case, measurement, shape) in cases {
        let model = Closed { shape };
        let noise: Vec<Tensor> = (0..3).map(|step| golden[&format!("{case}.noise.{step}")].clone()).collect();
        let noise = RecordedNoise::new(&noise, None).unwrap();
        let known = Known::of_samples(measurement, &golden[&format!("{case}.input")]).unwrap();
        let draw = Draw::new(&model, noise.num_samples());
        let edited = edit(&model, &known, &sigmas, &noise, &draw).unwrap();
        assert_close(case, &edited, &golden[&format!("{case}.samples")], 1e-4);
    }
}

/// The levels of a case, whose first is 80 up to the rounding of f32.
fn sigmas_of(golden: &HashMap<String, Tensor>, case: &str) -> Vec<f64> {
    let sigmas = golden[&format!("{case}.sigmas")].to_vec1::<f64>().unwrap();
    sigmas.into_iter().map(|sigma| sigma.min(NoiseRange::default().sigma_max)).collect()
}
