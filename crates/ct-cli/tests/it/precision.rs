//! Networks that compute in bf16.

use crate::{DIGITS, Place};

const RUN: &[&str] = &["--set", "train.steps=6", "--set", "score.num=0"];

/// The losses of a run, and the word that says how it computed.
fn run(place: &Place, out: &str, more: &[&str]) -> (Vec<f64>, String) {
    let answer = place.ct(&[DIGITS, RUN, &["--out", out], more].concat()).ok();
    let loss =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    let losses = place.read(&format!("{out}/metrics.jsonl")).lines().map(loss).collect();
    let computing = answer.out.lines().find(|line| line.starts_with("computing")).unwrap().to_owned();
    (losses, computing)
}

/// Training, its settings, and the same model sampled in either precision.
#[test]
fn training_and_sampling_in_bf16_are_near_those_in_f32() {
    let place = Place::new();
    let (whole, computing) = run(&place, "f32", &[]);
    assert!(computing.contains(" f32, "), "{computing}");
    let (half, computing) = run(&place, "bf16", &["--precision", "bf16"]);
    assert!(computing.contains("bf16 (slower than f32 on a CPU"), "{computing}");
    assert!(place.read("bf16/config.toml").contains("precision = \"bf16\""));
    assert_eq!(run(&place, "set", &["--set", "train.precision=bf16"]).0, half);
    assert_ne!(whole, half);
    assert_eq!(whole.len(), half.len());
    for (a, b) in whole.iter().zip(&half) {
        assert!((a - b).abs() < 0.05 * a.abs(), "{whole:?} in f32, {half:?} in bf16");
    }

    let sample = |name: &str, precision: &str| {
        let tensors = format!("{name}.safetensors");
        let args = ["sample", "--model", "bf16", "--num", "4", "--precision", precision];
        place.ct(&[&args[..], &["--save-tensors", &tensors]].concat()).ok();
        let tensors =
            candle_core::safetensors::load(place.path().join(tensors), &candle_core::Device::Cpu).unwrap();
        tensors["samples"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (whole, half) = (sample("whole", "f32"), sample("half", "bf16"));
    let furthest = whole.iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(furthest > 0.0 && furthest < 0.2, "a pixel is off by {furthest}");
}

#[test]
fn a_run_may_change_its_precision_and_other_words_are_refused() {
    let place = Place::new();
    place.ct(&[DIGITS, RUN, &["--out", "run", "--stop-after", "3"]].concat()).ok();
    let answer = place.ct(&["train", "--resume", "run", "--precision", "bf16"]).ok();
    assert!(answer.out.contains("changed    train.precision: \"f32\" -> \"bf16\""), "{answer:?}");
    place.ct(&[DIGITS, &["--precision", "f16"]].concat()).failed(2, &["--precision", "f32, bf16"]);
    place
        .ct(&[DIGITS, &["--set", "train.precision=fp16"]].concat())
        .failed(2, &["train.precision", "fp16", "bf16"]);
}
