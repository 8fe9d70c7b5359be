//! The operations that a GPU would run, on the CPU: whole runs with none of our kernels.

use crate::{Answer, DIGITS, Place};

/// `ct` with every operation composed of candle's own.
fn composed(place: &Place, args: &[&str]) -> Answer {
    Answer::new(&place.command(args).env("CT_KERNELS", "composed").output().unwrap())
}

fn losses(place: &Place, run: &str) -> Vec<f64> {
    let loss =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
    place.read(&format!("{run}/metrics.jsonl")).lines().map(loss).collect()
}

/// Ten steps with the kernels and without them have the same losses, but for rounding that grows from step to step.
fn assert_same_losses(recipe: &[&str], tolerance: f64) -> Place {
    let place = Place::new();
    let run =
        |out| [DIGITS, &["--set", "train.steps=10", "--set", "score.num=0", "--out", out], recipe].concat();
    place.ct(&run("kernels")).ok();
    composed(&place, &run("composed")).ok();
    let (kernels, composed) = (losses(&place, "kernels"), losses(&place, "composed"));
    assert!(kernels.len() > 4, "{kernels:?}");
    for (idx, (a, b)) in kernels.iter().zip(&composed).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * a.abs(),
            "line {idx}: {kernels:?} with our kernels, {composed:?} without"
        );
    }
    assert_ne!(kernels, composed, "the environment chose nothing");
    place
}

/// Training, a sample in two steps, an edit and a score.
#[test]
fn ect_and_what_follows() {
    // f32 holds 1e-7; ten steps of an optimizer that divides by small moments multiply it.
    let place = assert_same_losses(&["--set", "train.augment.probability=0.5"], 1e-3);
    composed(&place, &["sample", "--model", "composed", "--num", "4", "--steps", "2", "--grid", "s.png"])
        .ok();
    let edit = ["edit", "inpaint", "--model", "composed", "--data", "digits", "--pictures", "2"];
    composed(&place, &[&edit[..], &["--rect", "2,2,4,4", "--num", "1", "--steps", "3"]].concat()).ok();
    assert!(place.exists("s.png") && place.exists("edit.png"));
}

/// The derivative by forward-mode differentiation goes through every operation of the network.
#[test]
fn sct() {
    assert_same_losses(&["--set", "train.recipe=sct", "--set", "train.scm.tangent_warmup_steps=2"], 1e-2);
}
