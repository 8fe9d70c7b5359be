//! `ct ema`: averages of other lengths, after the run.

use crate::{Place, TOY, assert_same_files};

/// Twenty steps with a snapshot at every second.
const SNAPSHOTS: &[&str] = &[
    "--out",
    "run",
    "--set",
    "train.steps=20",
    "--set",
    "train.snapshot_steps=2",
    "--set",
    "train.ema_power=[0.05, 0.1]",
];

fn ema(place: &Place, sigma_rel: &str, out: &str, more: &[&str]) -> crate::Answer {
    place.ct(&[&["ema", "--run", "run", "--sigma-rel", sigma_rel, "--out", out], more].concat())
}

#[test]
fn an_average_is_made_after_the_run() {
    let place = Place::new();
    place.ct(&[TOY, SNAPSHOTS].concat()).ok();
    assert!(place.exists("run/snapshots/step-00000020/ema-power-0.05.safetensors"));
    let answer = ema(&place, "0.08", "made", &[]).ok();
    assert!(answer.out.contains("width 0.08 at step 20 of 20 stored ones"), "{answer:?}");
    let card: serde_json::Value = serde_json::from_str(&place.read("made/ct.json")).unwrap();
    assert_eq!((&card["step"], &card["images_seen"]), (&20.into(), &320.into()));
    assert_eq!(card["ema"], "ema-power-0.08, post hoc");
    assert_eq!(card["recipe"], "ect");
    let answer = place.ct(&["inspect", "made"]).ok();
    assert!(answer.out.contains("ema-power-0.08, post hoc"), "{answer:?}");
    place.ct(&["sample", "--model", "made", "--num", "4"]).ok();

    // A width that was kept is that of the checkpoint, bit for bit.
    ema(&place, "0.1", "kept", &[]).ok();
    let weights = |model: &str| {
        std::fs::read(place.path().join(model).join("unet/diffusion_pytorch_model.safetensors")).unwrap()
    };
    assert!(weights("kept") == weights("run/checkpoints/step-00000020/ema-power-0.1"));
    ema(&place, "0.1", "early", &["--step", "10"]).ok();
    assert!(weights("early") != weights("kept"));
}

#[test]
fn a_resumed_run_has_the_same_snapshots() {
    let place = Place::new();
    place.ct(&[TOY, SNAPSHOTS].concat()).ok();
    let parts: Vec<&str> = [TOY, SNAPSHOTS]
        .concat()
        .into_iter()
        .map(|word| if word == "run" { "parts" } else { word })
        .collect();
    place.ct(&[&parts[..], &["--stop-after", "7"]].concat()).ok();
    place.ct(&["train", "--resume", "parts"]).ok();
    assert_same_files(&place.path().join("run/snapshots"), &place.path().join("parts/snapshots"));
}

#[test]
fn mistakes_are_told() {
    let place = Place::new();
    ema(&place, "0.1", "made", &[]).failed(2, &["run not found"]);
    place.ct(&[TOY, &["--out", "plain"]].concat()).ok();
    place
        .ct(&["ema", "--run", "plain", "--sigma-rel", "0.1", "--out", "made"])
        .failed(2, &["plain", "no snapshots", "train.snapshot_steps", "train.ema_power"]);
    place.ct(&[TOY, SNAPSHOTS].concat()).ok();
    ema(&place, "0.4", "made", &[]).failed(2, &["sigma_rel must be", "0.2887"]);
    ema(&place, "x", "made", &[]).failed(2, &["--sigma-rel"]);
    ema(&place, "0.005", "made", &[]).failed(2, &["cannot be made of 10 snapshots", "widths 0.05, 0.1"]);
    ema(&place, "0.1", "made", &["--step", "21"]).failed(2, &["the last snapshot is of step 20"]);
    ema(&place, "0.1", "run", &[]).failed(2, &["run is not empty"]);
    assert!(!place.exists("made"), "nothing is written by a mistake");
    place
        .ct(&[TOY, &["--out", "none", "--set", "train.snapshot_steps=2"]].concat())
        .failed(2, &["train.snapshot_steps = 2", "train.ema_power"]);
    place.cut_short("run/snapshots/step-00000020/ema-power-0.1.safetensors");
    ema(&place, "0.08", "made", &[]).failed(2, &["ema-power-0.1.safetensors", "cut short"]);
}
