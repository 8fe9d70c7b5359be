//! Models for other programs and from them.

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

#[test]
fn a_model_comes_in_from_a_folder_or_a_file() {
    let place = Place::new();
    place.ct(&[DIGITS, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    place.ct(&["export", "--model", "run", "--out", "model"]).ok();
    place.ct(&["export", "--model", "run", "--out", "w.safetensors"]).ok();
    let samples = |model: &str| {
        let sampler = ["--sampler", "multistep", "--num", "3", "--save-tensors", "x.safetensors"];
        place.ct(&[&["sample", "--model", model], &sampler[..]].concat()).ok();
        let file = candle_core::safetensors::load(place.path().join("x.safetensors"), &Device::Cpu);
        file.unwrap()["samples"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let told = place.ct(&["import", "model", "--out", "again"]).ok();
    assert!(
        told.out.contains("samples of [1, 8, 8] in again") && told.out.contains("init.model=again"),
        "{told:?}"
    );
    assert_eq!(samples("again"), samples("run"));

    // The weights and the configuration are enough where the command line says the rest.
    let levels = ["--sigma-max", "20", "--sigma-data", "0.5"];
    let import = |source: &str, more: &[&str], out: &str| {
        place.ct(&[&["import", source], more, &["--out", out]].concat())
    };
    let config = ["--config", "model/unet/config.json"];
    let as_consistency = ["--as", "consistency"];
    import("w.safetensors", &[&config[..], &as_consistency, &levels].concat(), "lone").ok();
    import("model/unet", &[&as_consistency[..], &levels].concat(), "bare").ok();
    assert_eq!(samples("lone"), samples("bare"));
    import("model/unet", &["--as", "denoiser", "--sigma-max", "20"], "teacher").ok();
    let start = ["--set", "init.model=teacher", "--set", "score.num=0", "--out", "student"];
    place.ct(&[DIGITS, &start[..]].concat()).ok();

    import("w.safetensors", &[], "new").failed(2, &["nothing says what this network predicts", "--as"]);
    import("w.safetensors", &as_consistency, "new").failed(2, &["--config"]);
    import("model", &[&config[..], &as_consistency].concat(), "new").failed(2, &["leave --config out"]);
    import("nowhere", &[&config[..], &as_consistency].concat(), "new").failed(2, &["nowhere"]);
    let upside_down = ["--as", "consistency", "--sigma-max", "0.001"];
    import("model/unet", &upside_down, "new").failed(2, &["sigma"]);
    place.write("model/scheduler/scheduler_config.json", r#"{"_class_name": "KarrasVeScheduler"}"#);
    import("model", &[], "new").failed(2, &["KarrasVeScheduler", "a score"]);
    assert!(!place.exists("new"), "nothing is left of what was refused");
}
