//! The network on recorded tensors.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::{Place, TOY};

/// f32 rounding in sums of a few values near 1.
const TOLERANCE: f64 = 1e-5;

fn values(place: &Place, path: &str, name: &str) -> Vec<Vec<f32>> {
    candle_core::safetensors::load(place.path().join(path), &Device::Cpu).unwrap()[name].to_vec2().unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "the network takes f32")]
#[test]
fn f_is_the_network_in_its_skip_parameterization() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "run"]].concat()).ok();
    let range: serde_json::Value =
        serde_json::from_str(&place.ct(&["inspect", "run", "--json"]).ok().out).unwrap();
    let (sd, min) =
        (range["model"]["sigma_data"].as_f64().unwrap(), range["model"]["sigma_min"].as_f64().unwrap());
    let sigmas = [min, 0.5, 20.0];
    let x = [[0.1f32, -0.2], [0.3, 0.4], [-15.0, 8.0]];
    let save = |name: &str, tensors: HashMap<&str, Tensor>| {
        candle_core::safetensors::save(&tensors, place.path().join(name)).unwrap();
    };
    let tensor =
        |rows: &[[f32; 2]]| Tensor::from_slice(rows.as_flattened(), (rows.len(), 2), &Device::Cpu).unwrap();
    let forward = |input: &str, output: &str| {
        place.ct(&["forward", "--model", "run", "--input", input, "--output", output])
    };

    let sigma = Tensor::new(&sigmas, &Device::Cpu).unwrap();
    save("f.safetensors", HashMap::from([("x", tensor(&x)), ("sigma", sigma), ("other", tensor(&x))]));
    forward("f.safetensors", "f.out").ok();
    let f = values(&place, "f.out", "f");
    assert_eq!(f[0], x[0], "f(x, sigma_min) = x");

    let c_in = |sigma: f64| 1.0 / (sigma * sigma + sd * sd).sqrt();
    let scaled: Vec<[f32; 2]> =
        x.iter().zip(sigmas).map(|(row, sigma)| row.map(|v| (f64::from(v) * c_in(sigma)) as f32)).collect();
    let timestep = Tensor::new(&sigmas.map(|sigma| 250.0 * sigma.ln()), &Device::Cpu).unwrap();
    save("raw.safetensors", HashMap::from([("sample", tensor(&scaled)), ("timestep", timestep)]));
    forward("raw.safetensors", "raw.out").ok();
    let raw = values(&place, "raw.out", "output");
    for (row, &sigma) in sigmas.iter().enumerate() {
        let c_skip = sd * sd / ((sigma - min).powi(2) + sd * sd);
        let c_out = (sigma - min) * sd * c_in(sigma);
        for column in 0..2 {
            let expected = c_skip * f64::from(x[row][column]) + c_out * f64::from(raw[row][column]);
            assert!(
                (f64::from(f[row][column]) - expected).abs() < TOLERANCE,
                "row {row}: {} {expected}",
                f[row][column]
            );
        }
    }

    save("neither.safetensors", HashMap::from([("y", tensor(&x))]));
    forward("neither.safetensors", "out").failed(2, &["expected either `sample` and `timestep`"]);
    save("half.safetensors", HashMap::from([("x", tensor(&x))]));
    forward("half.safetensors", "out").failed(2, &["no tensor named `sigma`"]);
    place.write("text.safetensors", "text");
    forward("text.safetensors", "out").failed(2, &["text.safetensors", "not a whole safetensors file"]);
    forward("missing.safetensors", "out").failed(2, &["missing.safetensors"]);
    assert!(!place.exists("out"));
}
