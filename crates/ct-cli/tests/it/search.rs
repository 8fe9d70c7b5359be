//! The search for noise levels, and what becomes of what it finds.

use crate::{DIGITS, Place, TOY};

#[test]
fn what_is_found_becomes_the_default() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "run"]].concat()).ok();
    let search = ["search", "--model", "run", "--steps", "3", "--num", "40", "--grid", "8"];
    let dry = place.ct(&[&search[..], &["--dry-run"]].concat()).ok();
    assert!(dry.out.contains("SWD-points") && !dry.out.contains("kept in"), "{dry:?}");
    let found = place.ct(&search).ok();
    assert!(found.out.contains("kept in") && found.out.contains("--steps 3"), "{found:?}");
    assert!(found.out.starts_with(&dry.out), "the same search finds the same");

    let levels = |steps: usize| -> Vec<String> {
        let line = found.out.lines().find(|line| line.starts_with(&format!("{steps} "))).unwrap();
        line.split_whitespace().skip(2).map(|level| level.trim_end_matches(',').to_owned()).collect()
    };
    assert_eq!((levels(1).len(), levels(2).len(), levels(3).len()), (1, 2, 3));
    place
        .ct(&["sample", "--model", "run", "--num", "9", "--steps", "3", "--save-tensors", "x.safetensors"])
        .ok();
    let file = candle_core::safetensors::load(place.path().join("x.safetensors"), &candle_core::Device::Cpu);
    let sigmas = file.unwrap()["sigmas"].to_vec1::<f64>().unwrap();
    assert_eq!(sigmas.iter().map(|sigma| format!("{sigma:.4}")).collect::<Vec<_>>(), levels(3));
    // The checkpoint is as whole as before.
    place.ct(&["inspect", "run"]).ok();
    place.ct(&["train", "--resume", "run"]).ok();
}

#[test]
fn images_are_compared_in_features() {
    let place = Place::new();
    place.ct(&[DIGITS, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    let found = place.ct(&["search", "--model", "run", "--num", "20", "--grid", "4"]).ok();
    assert!(found.out.contains("FD-digits") && found.err.contains("FD-digits"), "{found:?}");
    place
        .ct(&["search", "--model", "run", "--steps", "9", "--grid", "4"])
        .failed(2, &["--steps 9", "4 levels"]);
    place.ct(&["search", "--model", "run", "--data", "toy:spirals"]).failed(2, &["toy:spirals", "vectors"]);
    place.ct(&["search", "--model", "nowhere"]).failed(2, &["nowhere not found"]);
}
