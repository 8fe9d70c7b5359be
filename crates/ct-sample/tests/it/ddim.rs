//! DDIM without noise is Euler's method on the ODE in sigma (Song et al. 2020, arXiv 2010.02502, section 4.3):
//! a folder that diffusers wrote, sampled by diffusers and by us.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ct_model::folder;
use ct_sample::{Draw, RecordedNoise, dpmpp_2m, euler, heun};

/// As `make.py` says: diffusers keeps its table of noise levels in float32.
const TOLERANCE: f64 = 1e-4;

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, relative to the largest expected value.
fn apart(got: &Tensor, expected: &Tensor) -> f64 {
    let (got, expected) = (values(got), values(expected));
    let scale = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
    got.iter().zip(&expected).fold(0f64, |max, (a, b)| max.max((a - b).abs())) / scale
}

#[test]
fn ddim_of_diffusers_is_euler_in_sigma() {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ddim");
    let golden = candle_core::safetensors::load(place.join("case.safetensors"), &Device::Cpu).unwrap();
    let model = folder::load(&place.join("model"), &Device::Cpu).unwrap().model;
    let sigmas = values(&golden["sigmas"]);
    let noise = RecordedNoise::new(&[golden["noise"].clone()], None).unwrap();
    let draw = Draw { clip: false, ..Draw::new(&model, noise.num_samples()) };
    let expected = &golden["samples"];

    let by_euler = apart(&euler(&model, &sigmas, &noise, &draw).unwrap(), expected);
    println!("euler against DDIM: {by_euler:.1e}");
    assert!(by_euler <= TOLERANCE, "{by_euler:e}");
    // Other methods take other steps, and end elsewhere.
    for other in [heun(&model, &sigmas, &noise, &draw), dpmpp_2m(&model, &sigmas, &noise, &draw)] {
        let other = apart(&other.unwrap(), expected);
        assert!(other.is_finite() && other > 10.0 * TOLERANCE, "{other:e}");
    }
}
