//! Recipes that start from a model, denoisers, and classes.

use crate::{DIGITS, Place, TOY};

/// A tiny run of a recipe on points, into a folder.
fn toy<'a>(recipe: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [TOY, &["--set", recipe, "--out", out], more].concat()
}

#[test]
fn a_denoiser_is_distilled_and_the_run_goes_on_without_its_folder() {
    let place = Place::new();
    place.ct(&toy("train.recipe=diffusion", "teacher", &[])).ok();
    assert!(place.exists("teacher/samples/ode.png"));
    let answer = place.ct(&["sample", "--model", "teacher", "--num", "5", "--steps", "3"]).ok();
    assert!(answer.out.contains("5 evaluations"), "{answer:?}");

    let init = ["--set", "init.model=teacher"];
    let answer =
        place.ct(&toy("train.recipe=cd", "student", &[&init[..], &["--stop-after", "4"]].concat())).ok();
    assert!(answer.out.contains("ct train --resume student"), "{answer:?}");
    std::fs::rename(place.path().join("teacher"), place.path().join("gone")).unwrap();
    place.ct(&["train", "--resume", "student"]).ok();
    place.ct(&["sample", "--model", "student", "--num", "5", "--steps", "2"]).ok();
}

#[test]
fn continuous_time_needs_a_teacher_in_trigflow() {
    let place = Place::new();
    place.ct(&toy("train.recipe=diffusion", "edm", &[])).ok();
    place
        .ct(&toy("train.recipe=scd", "scd", &["--set", "init.model=edm"]))
        .failed(2, &["has the parameterization edm", "--set model.parameterization=trigflow"]);
    let trigflow = ["--set", "model.parameterization=trigflow"];
    place.ct(&toy("train.recipe=diffusion", "trig", &trigflow)).ok();
    place.ct(&toy("train.recipe=scd", "scd", &["--set", "init.model=trig"])).ok();
    place.ct(&["sample", "--model", "scd", "--num", "5"]).ok();
    place
        .ct(&toy("train.recipe=ect", "ect", &["--set", "init.model=trig"]))
        .failed(2, &["trigflow", "consistency"]);
    assert!(!place.exists("ect"));
}

#[test]
fn what_a_run_starts_from_must_suit_it() {
    let place = Place::new();
    place.ct(&toy("train.recipe=cd", "run", &[])).failed(2, &["train.recipe = cd", "init.model=DIR"]);
    place
        .ct(&toy("train.recipe=tcm", "run", &["--set", "init.model=nowhere"]))
        .failed(2, &["nowhere not found"]);
    place.ct(&toy("train.recipe=ect", "toy", &[])).ok();
    let more = ["--set", "init.model=toy", "--set", "train.recipe=tcm"];
    place.ct(&[DIGITS, &more].concat()).failed(2, &["digits"]);
    let other = ["--set", "init.model=toy", "--set", "model.mlp.hidden_dim=16"];
    place.ct(&toy("train.recipe=tcm", "run", &other)).failed(2, &["model.mlp.hidden_dim", "8"]);
    let boundary = ["--set", "init.model=toy", "--set", "train.tcm.sigma_boundary=100"];
    let set: Vec<&str> = toy("train.recipe=tcm", "run", &boundary)
        .into_iter()
        .map(|word| if word == "model.mlp.hidden_dim=8" { "seed=1" } else { word })
        .collect();
    place.ct(&set).failed(2, &["train.tcm.sigma_boundary", "noise.sigma_max"]);
    assert!(!place.exists("run"));
}

#[test]
fn a_second_stage_is_not_sampled_below_its_boundary() {
    let place = Place::new();
    place.ct(&toy("train.recipe=ect", "first", &[])).ok();
    place.ct(&toy("train.recipe=tcm", "second", &["--set", "init.model=first"])).ok();
    place.ct(&["sample", "--model", "second", "--num", "5", "--sigmas", "20,1"]).ok();
    place
        .ct(&["sample", "--model", "second", "--num", "5", "--steps", "2"])
        .failed(2, &["0.821", "below 1", "--sigmas 20,1"]);
}

#[test]
fn guidance_needs_hidden_labels() {
    let place = Place::new();
    let classes = ["--set", "model.class_conditional=true", "--set", "score.num=0"];
    place.ct(&[DIGITS, &classes, &["--out", "plain"]].concat()).ok();
    place.ct(&["sample", "--model", "plain", "--num", "4", "--guidance", "2"]).failed(2, &["label_dropout"]);
    let hidden = ["--set", "train.label_dropout=0.2"];
    place.ct(&[DIGITS, &hidden, &["--out", "x"]].concat()).failed(2, &["train.label_dropout"]);
    place.ct(&[DIGITS, &classes, &hidden, &["--out", "guided"]].concat()).ok();
    place.ct(&["sample", "--model", "guided", "--num", "4", "--guidance", "2", "--class", "3"]).ok();
    place.ct(&["sample", "--model", "guided", "--num", "4", "--class", "10"]).failed(2, &["0 to 9"]);
    place.ct(&["sample", "--model", "guided", "--num", "4", "--guidance", "-1"]).failed(2, &["-1"]);
}
