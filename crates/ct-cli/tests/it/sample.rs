//! Sampling, and looking into folders.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::{DIGITS, Place, TOY};

/// The same numbers up to what the order of additions in a batch makes of them.
const TOLERANCE: f32 = 1e-5;

fn trained(preset: &[&str], more: &[&str]) -> Place {
    let place = Place::new();
    place.ct(&[preset, more, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    place
}

fn tensors(place: &Place, path: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(place.path().join(path), &Device::Cpu).unwrap()
}

#[track_caller]
fn assert_close(one: &Tensor, other: &Tensor) {
    let largest = (one - other).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest < TOLERANCE, "differs by {largest}");
}

#[test]
fn a_sample_does_not_depend_on_how_many_there_are() {
    let place = trained(DIGITS, &[]);
    let draw = |args: &[&str], out: &str| {
        place.ct(&[&["sample", "--model", "run", "--seed", "5", "--save-tensors", out], args].concat()).ok();
        tensors(&place, out)["samples"].clone()
    };
    let seven = draw(&["--num", "7", "--batch", "3"], "seven.safetensors");
    let three = draw(&["--num", "3"], "three.safetensors");
    assert_eq!(seven.dims(), [7, 1, 8, 8]);
    assert_close(&seven.narrow(0, 0, 3).unwrap(), &three);
    assert!(seven.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() <= 1.0, "images are clipped");

    let two_steps = draw(&["--num", "3", "--steps", "2"], "two.safetensors");
    let sigmas = tensors(&place, "two.safetensors")["sigmas"].to_vec1::<f64>().unwrap();
    assert_eq!(sigmas, [20.0, 0.821]);
    let same = draw(&["--num", "3", "--sigmas", "20,0.821"], "same.safetensors");
    assert_close(&two_steps, &same);
}

#[test]
fn pictures_are_written_where_they_are_wanted() {
    let place = trained(DIGITS, &[]);
    let answer = place.ct(&["sample", "--model", "run"]).ok();
    assert!(
        answer.out.contains("64 images in 1 evaluation each") && answer.out.contains("samples.png"),
        "{answer:?}"
    );
    let picture = image::open(place.path().join("samples.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (8 * 66 + 2, 8 * 66 + 2));

    place.ct(&["sample", "--model", "run", "--num", "3", "--out", "some", "--grid", "new/grid.png"]).ok();
    assert!(
        place.exists("some/00002.png") && !place.exists("some/00003.png") && place.exists("new/grid.png")
    );
    place.ct(&["sample", "--model", "run", "--out", "some"]).failed(2, &["some is not empty"]);
    place.ct(&["sample", "--model", "run", "--grid", "grid.jpg"]).failed(2, &["grid.jpg", "ends in .png"]);
    place.ct(&["sample", "--model", "run", "--grid", "/dev/null/x.png"]).failed(2, &["/dev/null"]);
}

#[test]
fn recorded_noise_takes_the_place_of_the_seed() {
    let place = trained(DIGITS, &[]);
    let noise = Tensor::zeros((5, 1, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    candle_core::safetensors::save(
        &HashMap::from([("noise.0", noise)]),
        place.path().join("noise.safetensors"),
    )
    .unwrap();
    let args = ["sample", "--model", "run", "--noise", "noise.safetensors"];
    place.ct(&[&args[..], &["--save-tensors", "out.safetensors"]].concat()).ok();
    let samples = tensors(&place, "out.safetensors")["samples"].clone();
    assert_eq!(samples.dims(), [5, 1, 8, 8]);
    assert_close(&samples.narrow(0, 0, 1).unwrap(), &samples.narrow(0, 4, 1).unwrap());
    place.ct(&[&args[..], &["--steps", "2"]].concat()).failed(2, &["`noise.1` is needed"]);
    place.ct(&[&args[..], &["--num", "6"]].concat()).failed(2, &["only 5 samples"]);
    place.ct(&[&args[..], &["--seed", "6"]].concat()).failed(2, &["--seed"]);
}

#[test]
fn models_with_classes_are_asked_for_one() {
    let place = trained(DIGITS, &["--set", "model.class_conditional=true"]);
    place.ct(&["sample", "--model", "run", "--num", "4", "--class", "3"]).ok();
    place.ct(&["sample", "--model", "run", "--class", "10"]).failed(2, &["--class 10", "0 to 9"]);
    let report = place.ct(&["inspect", "run", "--json"]).ok().out;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["model"]["num_classes"], 10);
}

#[test]
fn points_are_plotted() {
    let place = trained(TOY, &[]);
    place.ct(&["sample", "--model", "run", "--num", "50", "--grid", "points.png"]).ok();
    assert_eq!(image::open(place.path().join("points.png")).unwrap().width(), 640);
    place.ct(&["sample", "--model", "run", "--out", "images"]).failed(2, &["makes vectors"]);
    place.ct(&["sample", "--model", "run", "--class", "1"]).failed(2, &["knows no classes"]);
    place.ct(&["sample", "--model", "run", "--sigmas", "0.8,20"]).failed(2, &["sigma 20", "not below"]);
    place.ct(&["sample", "--model", "run", "--sigmas", "500"]).failed(2, &["sigma 500", "20]"]);
    place.ct(&["sample", "--model", "run", "--timesteps", "40,0"]).failed(2, &["--timesteps 40", "0 to 39"]);
    place
        .ct(&["sample", "--model", "run", "--timesteps", "22,0", "--steps", "2"])
        .failed(2, &["--timesteps", "--steps"]);
}

#[test]
fn runs_checkpoints_and_models_are_all_models() {
    let place = trained(TOY, &[]);
    let checkpoint = "run/checkpoints/step-00000010";
    let mut found = Vec::new();
    for dir in ["run", checkpoint, &format!("{checkpoint}/ema-0.999")] {
        place.ct(&["sample", "--model", dir, "--num", "9", "--save-tensors", "out.safetensors"]).ok();
        found.push(std::fs::read(place.path().join("out.safetensors")).unwrap());
    }
    assert!(found[0] == found[1] && found[1] == found[2]);
}

#[test]
fn folders_are_inspected() {
    let place = trained(TOY, &[]);
    let text = place.ct(&["inspect", "run"]).ok().out;
    for piece in ["run folder", "toy:two-moons", "step-00000010  whole", "CtMlp", "last_metrics"] {
        assert!(text.contains(piece), "no {piece:?} in {text}");
    }
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&place.ct(&[&["inspect", "--json"], args].concat()).ok().out).unwrap()
    };
    let checkpoint = json(&["run/checkpoints/step-00000010"]);
    assert_eq!((&checkpoint["whole"], &checkpoint["step"]), (&true.into(), &10.into()));
    let model = json(&["run/checkpoints/step-00000010/ema-0.999", "--tensors"]);
    assert_eq!((&model["recipe"], &model["sigma_max"]), (&"ect".into(), &20.0.into()));
    let shapes = model["shapes"].as_object().unwrap();
    assert_eq!(model["tensors"], shapes.len());

    place.cut_short("run/checkpoints/step-00000010/optimizer.safetensors");
    let checkpoint = json(&["run/checkpoints/step-00000010"]);
    assert_eq!(checkpoint["whole"], false);
    assert!(checkpoint["problem"].as_str().unwrap().contains("optimizer.safetensors"), "{checkpoint}");
    place.ct(&["inspect", "nowhere"]).failed(2, &["nowhere not found"]);
    place.write("other/file", "");
    place.ct(&["inspect", "other"]).failed(2, &["other holds no model"]);
}

#[test]
fn timesteps_are_numbers_on_the_grid_of_the_scheduler() {
    let place = trained(TOY, &[]);
    let draw = |way: &[&str], file: &str| {
        let fixed = ["sample", "--model", "run", "--num", "3", "--save-tensors", file];
        place.ct(&[&fixed[..], way].concat()).ok();
        let tensors = tensors(&place, file);
        (tensors["sigmas"].to_vec1::<f64>().unwrap(), tensors["samples"].to_vec2::<f32>().unwrap())
    };
    let (sigmas, samples) = draw(&["--timesteps", "22,0"], "by-number.safetensors");
    // 22 of 40 levels from 20 down to 0.002, by the formula of Karras et al. 2022, equation 5.
    let root = |sigma: f64| sigma.powf(1.0 / 7.0);
    let level = (root(20.0) + 22.0 / 39.0 * (root(0.002) - root(20.0))).powi(7);
    assert!((sigmas[0] - 20.0).abs() < 1e-12 && (sigmas[1] / level - 1.0).abs() < 1e-12, "{sigmas:?}");
    let by_level = draw(&["--sigmas", &format!("20,{}", sigmas[1])], "by-level.safetensors");
    assert_eq!(by_level, (sigmas, samples));
}
