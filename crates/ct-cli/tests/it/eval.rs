//! `ct eval`: figures, their floor, and what it refuses.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::{DIGITS, Place, TOY};

fn trained(preset: &[&str]) -> Place {
    let place = Place::new();
    place.ct(&[preset, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    place
}

fn save(place: &Place, path: &str, tensors: &[(&str, Tensor)]) {
    let tensors: HashMap<&str, Tensor> = tensors.iter().cloned().collect();
    candle_core::safetensors::save(&tensors, place.path().join(path)).unwrap();
}

/// The one object on the standard output.
fn json(place: &Place, args: &[&str]) -> Value {
    let answer = place.ct(&[&["eval", "--json"], args].concat()).ok();
    serde_json::from_str(&answer.out).unwrap()
}

#[track_caller]
fn figure(report: &Value, name: &str, part: &str) -> f64 {
    let value = &report["figures"][name][part];
    assert!(value.is_number(), "no {part} of {name} in {report}");
    value.as_f64().unwrap()
}

fn constant(value: f32, shape: &[usize]) -> Tensor {
    Tensor::full(value, shape, &Device::Cpu).unwrap()
}

#[test]
fn a_model_is_compared_with_what_it_learned_from() {
    let place = trained(DIGITS);
    let args = ["eval", "--model", "run", "--num", "100"];
    let answer = place.ct(&args).ok();
    for piece in [
        "100 one-step samples of run against 1500 of digits (train)",
        "297 held-out",
        "FD-digits",
        "KID-digits",
        "precision-digits",
        "recall-digits",
    ] {
        assert!(answer.out.contains(piece), "no {piece} in {answer:?}");
    }
    let report = json(&place, &args[1..]);
    // A network of four steps draws no digits.
    assert!(figure(&report, "FD-digits", "value") > 2.0 * figure(&report, "FD-digits", "floor"), "{report}");
    assert_eq!(
        (&report["num_samples"], &report["num_real"], &report["num_held_out"]),
        (&100.into(), &1500.into(), &297.into())
    );
    assert_eq!((&report["space"], &report["sigmas"][0]), (&"digits".into(), &20.0.into()));

    let more = ["--features", "pixels", "--metrics", "swd,mmd,fd", "--steps", "2"];
    let report = json(&place, &[&args[1..], &more].concat());
    let names: Vec<&String> = report["figures"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["SWD-pixels", "MMD2-energy-pixels", "FD-pixels"]);
    assert_eq!(report["sigmas"].as_array().unwrap().len(), 2);
    assert_eq!(report, json(&place, &[&args[1..], &more].concat()), "the same seed gives the same figures");
}

#[test]
fn samples_of_other_programs_are_compared_in_the_same_features() {
    let place = trained(DIGITS);
    place.ct(&["sample", "--model", "run", "--num", "60", "--save-tensors", "s.safetensors"]).ok();
    let of_file = json(&place, &["--samples", "s.safetensors", "--data", "digits"]);
    let of_model = json(&place, &["--model", "run", "--num", "60"]);
    assert_eq!(of_file["figures"], of_model["figures"]);
    assert_eq!((&of_file["model"], &of_file["samples"]), (&Value::Null, &"s.safetensors".into()));
}

#[test]
fn nearest_training_images_are_drawn() {
    let place = trained(DIGITS);
    let answer = place.ct(&["eval", "--model", "run", "--num", "20", "--neighbours", "near.png"]).ok();
    assert!(answer.err.contains("near.png: in each row"), "{answer:?}");
    let picture = image::open(place.path().join("near.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (8 * 66 + 2, 8 * 66 + 2));
}

#[test]
fn points_are_compared_with_held_out_ones() {
    let place = trained(TOY);
    let report = json(&place, &["--model", "run", "--num", "500"]);
    assert!(figure(&report, "SWD-points", "value") > figure(&report, "SWD-points", "floor"), "{report}");
    assert_eq!((&report["reference"], &report["num_real"]), (&"held-out".into(), &64_000.into()));
    place.ct(&["eval", "--model", "run", "--neighbours", "n.png"]).failed(2, &["--neighbours draws images"]);
    place.ct(&["eval", "--model", "run", "--data", "digits"]).failed(2, &["[2]", "[1, 8, 8]", "--data"]);
}

#[test]
fn other_images_are_compared_in_pixels_and_told_of_features() {
    let place = Place::new();
    place.write_pictures("pictures", 60);
    save(&place, "s.safetensors", &[("samples", constant(0.5, &[10, 3, 6, 6]))]);
    let args = ["eval", "--samples", "s.safetensors", "--data", "folder:pictures", "--metrics", "swd"];
    let answer = place.ct(&args).ok();
    assert!(answer.out.contains("SWD-pixels") && answer.err.contains("--features FILE"), "{answer:?}");
}

#[test]
fn what_cannot_be_compared() {
    let place = Place::new();
    let eval = |args: &[&str]| place.ct(&[&["eval"], args].concat());
    let digits = ["--samples", "s.safetensors", "--data", "digits"];
    eval(&[]).failed(2, &["--model"]);
    eval(&["--model", "nowhere"]).failed(2, &["nowhere not found"]);
    eval(&digits).failed(2, &["s.safetensors"]);
    eval(&["--samples", "s.safetensors"]).failed(2, &["--data"]);
    place.write("s.safetensors", b"no tensors");
    eval(&digits).failed(2, &["s.safetensors"]);

    let good = constant(0.0, &[10, 1, 8, 8]);
    save(&place, "s.safetensors", &[("images", good.clone())]);
    eval(&digits).failed(2, &["no tensor `samples`"]);
    save(&place, "s.safetensors", &[("samples", constant(200.0, &[10, 1, 8, 8]))]);
    eval(&digits).failed(2, &["reaches to 200", "[-1, 1]"]);
    save(&place, "s.safetensors", &[("samples", constant(f32::NAN, &[10, 1, 8, 8]))]);
    eval(&digits).failed(2, &["not finite"]);
    save(&place, "s.safetensors", &[("samples", constant(0.0, &[10, 64]).to_dtype(DType::F64).unwrap())]);
    eval(&digits).failed(2, &["[64]", "[1, 8, 8]"]);
    save(&place, "s.safetensors", &[("samples", constant(0.0, &[3, 1, 8, 8]))]);
    eval(&digits).failed(2, &["3 samples, 4 are needed"]);

    save(&place, "s.safetensors", &[("samples", good)]);
    let with = |more: &[&str]| eval(&[&digits[..], more].concat());
    with(&["--num", "11"]).failed(2, &["10 samples, 11 are needed"]);
    with(&["--steps", "2"]).failed(2, &["--steps"]);
    with(&["--metrics", "fid"]).failed(2, &["unknown metric `fid`", "fd, kid, pr, swd, mmd"]);
    with(&["--features", "nowhere.safetensors"]).failed(2, &["cannot read nowhere.safetensors"]);
    with(&["--features", "s.safetensors"]).failed(2, &["holds no network that is known"]);
    with(&["--neighbours", "n.jpg"]).failed(2, &["n.jpg", ".png"]);
    eval(&["--samples", "s.safetensors", "--data", "digitz"]).failed(2, &["did you mean `digits`?"]);
}

#[test]
fn edits_are_compared_with_their_whole_pictures() {
    let place = trained(DIGITS);
    let edit = ["edit", "upscale", "--factor", "2", "--model", "run", "--data", "digits", "--pictures", "5"];
    let more = ["--num", "2", "--steps", "2", "--save-tensors", "edited.safetensors"];
    let told = place.ct(&[&edit[..], &more].concat()).ok();
    let report = json(&place, &["--pairs", "edited.safetensors"]);
    assert_eq!((&report["num_inputs"], &report["num_samples"]), (&5.into(), &10.into()));
    for (part, words) in [("samples", "PSNR "), ("least", "dB (")] {
        let psnr = format!("{:.2}", report[part]["PSNR"].as_f64().unwrap());
        let at = told.out.find(words).unwrap() + words.len();
        assert!(told.out[at..].starts_with(&psnr), "{psnr} of {part} in {told:?}");
        assert!(report[part]["distance-digits"].as_f64().unwrap() > 0.0);
    }
    let text = place.ct(&["eval", "--pairs", "edited.safetensors", "--features", "pixels"]).ok();
    assert!(text.out.contains("distance-pixels") && text.out.contains("what is known, alone"), "{text:?}");

    let same = constant(0.5, &[2, 1, 8, 8]);
    save(&place, "same.safetensors", &[("samples", same.clone()), ("input", same.clone())]);
    let report = json(&place, &["--pairs", "same.safetensors"]);
    assert_eq!((&report["samples"]["PSNR"], &report["least"]), (&100.0.into(), &Value::Null));
    assert_eq!(report["samples"]["distance-digits"], 0.0);

    save(&place, "lone.safetensors", &[("samples", same.clone())]);
    place.ct(&["eval", "--pairs", "lone.safetensors"]).failed(2, &["no tensor named `input`", "ct edit"]);
    save(&place, "odd.safetensors", &[("samples", constant(0.5, &[3, 1, 8, 8])), ("input", same)]);
    place.ct(&["eval", "--pairs", "odd.safetensors"]).failed(2, &["[3, 1, 8, 8]", "[2, 1, 8, 8]"]);
}
