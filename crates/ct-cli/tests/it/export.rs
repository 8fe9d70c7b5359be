//! Models for other programs.

use candle_core::{DType, Device};

use crate::{DIGITS, Place};

#[test]
fn a_model_goes_out_in_fewer_bits_and_comes_back() {
    let place = Place::new();
    let averages = ["--set", "train.ema=[0.999, 0.1]", "--set", "score.num=0", "--out", "run"];
    place.ct(&[DIGITS, &averages[..]].concat()).ok();
    let load = |path: &str| candle_core::safetensors::load(place.path().join(path), &Device::Cpu).unwrap();
    let samples = |model: &str| {
        place.ct(&["sample", "--model", model, "--num", "4", "--save-tensors", "x.safetensors"]).ok();
        load("x.safetensors")["samples"].clone()
    };
    let apart = |a: &str, b: &str| {
        let difference = (samples(a) - samples(b)).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar::<f32>().unwrap()
    };

    let told = place.ct(&["export", "--model", "run", "--out", "whole"]).ok();
    assert!(told.out.contains("parameters of run") && told.out.contains("in whole"), "{told:?}");
    assert!(apart("run", "whole") == 0.0, "the same bits");
    place.ct(&["export", "--model", "run", "--dtype", "f16", "--out", "half"]).ok();
    let weights = load("half/unet/diffusion_pytorch_model.safetensors");
    assert!(weights.values().all(|tensor| tensor.dtype() == DType::F16));
    let far = apart("run", "half");
    assert!(far > 0.0 && far < 0.02, "{far}");
    place.ct(&["export", "--model", "run", "--ema", "ema-0.1", "--out", "other"]).ok();
    assert!(apart("run", "other") > 0.0, "another average");
    place.ct(&["export", "--model", "whole", "--dtype", "bf16", "--out", "w.safetensors"]).ok();
    let lone = load("w.safetensors");
    assert_eq!(lone.len(), weights.len());
    assert!(lone.values().all(|tensor| tensor.dtype() == DType::BF16));

    place.ct(&["export", "--model", "run", "--out", "whole"]).failed(2, &["whole is not empty"]);
    let ema = |model: &str| place.ct(&["export", "--model", model, "--ema", "ema-0.5", "--out", "new"]);
    ema("run").failed(2, &["--ema ema-0.5", "ema-0.1, ema-0.999"]);
    ema("whole").failed(2, &["--ema ema-0.5", "one model"]);
    assert!(!place.exists("new"));
}
