//! Models of diffusers that are told of the noise in other words: sampled, edited with, and trained on.

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{Place, files};

/// A tiny run on images whose network is that of the model it starts from.
const START: &[&str] = &[
    "train",
    "digits",
    "--set",
    "init.model=ddpm",
    "--set",
    "train.steps=4",
    "--set",
    "train.batch_size=8",
    "--set",
    "train.warmup_steps=1",
    "--set",
    "checkpoint.every_steps=2",
    "--set",
    "sample.every_steps=2",
    "--set",
    "sample.num=4",
    "--set",
    "score.num=0",
];

/// A place with `ddpm`, a folder that diffusers wrote: 8x8, gray, a DDIM scheduler without clipping.
fn place() -> Place {
    let place = Place::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ct-sample/tests/golden/ddim/model");
    for (name, bytes) in files(&golden) {
        std::fs::create_dir_all(place.path().join("ddpm").join(&name).parent().unwrap()).unwrap();
        place.write(&format!("ddpm/{name}"), bytes);
    }
    place
}

/// Samples of the model as the sampler of its kind draws them, or as `more` says.
fn samples(place: &Place, model: &str, more: &[&str]) -> Vec<f32> {
    let args = ["sample", "--model", model, "--num", "3", "--save-tensors", "x.safetensors"];
    place.ct(&[&args[..], more].concat()).ok();
    let file = candle_core::safetensors::load(place.path().join("x.safetensors"), &Device::Cpu).unwrap();
    let samples: &Tensor = &file["samples"];
    samples.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn what_keeps_a_start_from_predicted_noise_stable_is_advised() {
    let place = place();
    let advice = "--set train.max_grad_norm=1";
    let run = |out: &str, more: &[&str]| place.ct(&[START, &["--out", out], more].concat()).ok().err;
    let told = run("plain", &[]);
    assert!(told.contains(advice), "{told}");
    let told = run("limited", &["--set", "train.max_grad_norm=1"]);
    assert!(!told.contains(advice), "{told}");
}

#[test]
fn a_model_of_diffusers_is_used_where_it_lies() {
    let place = place();
    let told = place.ct(&["sample", "--model", "ddpm", "--num", "4", "--steps", "3"]).ok();
    assert!(told.out.contains("5 evaluations"), "a denoiser, by Heun's method: {told:?}");
    let usual = samples(&place, "ddpm", &["--steps", "3"]);
    for sampler in ["euler", "dpmpp2m"] {
        let other = samples(&place, "ddpm", &["--steps", "3", "--sampler", sampler]);
        assert!(other.iter().all(|v| v.is_finite()) && other != usual, "{sampler}");
    }
    assert!(usual.iter().any(|v| v.abs() > 1.0), "its scheduler does not clip");

    // Everything in one folder, as some are published.
    for (name, bytes) in files(&place.path().join("ddpm")) {
        let name = Path::new(&name).file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::create_dir_all(place.path().join("flat")).unwrap();
        place.write(&format!("flat/{name}"), bytes);
    }
    assert_eq!(samples(&place, "flat", &["--steps", "3"]), usual);

    let class = |class: &str| place.ct(&["sample", "--model", "ddpm", "--num", "1", "--class", class]);
    class("0.5").failed(2, &["0.5"]);
    class("1").failed(2, &["knows no classes"]);
    let told = place.ct(&["inspect", "ddpm"]).ok();
    for part in ["told one of 1000 steps, predicts epsilon", "CtAdaptedUNet2D", "0.01", "157.4", "beta_end"] {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }
    let told = place.ct(&["import", "ddpm", "--out", "imported"]).ok();
    assert!(told.out.contains("translated") && told.out.contains("init.model=imported"), "{told:?}");
    assert_eq!(samples(&place, "imported", &["--steps", "3"]), usual);
    let told = place.ct(&["export", "--model", "imported", "--out", "exported"]).ok();
    assert!(told.err.contains("diffusers cannot run exported"), "{told:?}");
    assert_eq!(samples(&place, "exported", &["--steps", "3"]), usual);

    let hole = ["--data", "digits", "--rect", "2,2,4,4", "--steps", "3", "--out", "strip.png"];
    place.ct(&[&["edit", "inpaint", "--model", "ddpm"], &hole[..]].concat()).ok();
    assert!(place.exists("strip.png"));
}

#[test]
fn a_run_starts_as_the_model_of_diffusers_and_goes_on_without_it() {
    let place = place();
    let ect = ["--set", "train.recipe=ect", "--set", "noise.sigma_data=0.4", "--out", "student"];
    place.ct(&[START, &ect, &["--stop-after", "0"]].concat()).ok();
    let one = ["--sampler", "multistep", "--steps", "1"];
    let (teacher, start) = (samples(&place, "ddpm", &one), samples(&place, "student", &one));
    let scale = teacher.iter().fold(0f32, |max, v| max.max(v.abs()));
    for (teacher, start) in teacher.iter().zip(&start) {
        // The same estimate for another sigma_data, but for the boundary: sigma_min is 6e-5 of sigma_max.
        assert!((teacher - start).abs() < 2e-4 * scale, "{teacher} {start}");
    }

    std::fs::rename(place.path().join("ddpm"), place.path().join("gone")).unwrap();
    place.ct(&["train", "--resume", "student"]).ok();
    let metrics = place.read("student/metrics.jsonl");
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert!(last["loss"].as_f64().is_some_and(f64::is_finite), "{last}");
    let trained = samples(&place, "student", &one);
    assert!(trained.iter().all(|v| v.is_finite()) && trained != start, "it has learned something");
    place.ct(&["sample", "--model", "student", "--num", "4", "--steps", "2"]).ok();

    place.ct(&["export", "--model", "student", "--out", "out"]).ok();
    let scheduler = place.read("out/scheduler/scheduler_config.json");
    assert!(scheduler.contains(r#""clip_denoised": false"#), "as the model it started from: {scheduler}");
    let network = place.read("out/unet/config.json");
    assert!(network.contains("CtAdaptedUNet2D") && network.contains(r#""sigma_data": 0.4"#), "{network}");
}

#[test]
fn a_model_of_diffusers_is_distilled_and_made_continuous_in_no_other_way() {
    let place = place();
    place.ct(&[START, &["--set", "train.recipe=cd", "--out", "cd"]].concat()).ok();
    assert!(samples(&place, "cd", &[]).iter().all(|v| v.is_finite()));
    place.ct(&[START, &["--set", "train.recipe=diffusion", "--out", "finer"]].concat()).ok();
    assert!(samples(&place, "finer", &["--steps", "3"]).iter().all(|v| v.is_finite()));
    for recipe in ["train.recipe=scd", "train.recipe=sct"] {
        place
            .ct(&[START, &["--set", recipe, "--out", "no"]].concat())
            .failed(2, &["ddpm is a network that is told one of 1000 steps", "an angle", "ect"]);
    }
    assert!(!place.exists("no"));
}
