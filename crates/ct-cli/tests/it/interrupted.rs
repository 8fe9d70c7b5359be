//! Runs that are stopped, killed or cut off, and go on to the same bits.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::{Answer, DIGITS, Place, TOY, assert_same_files};

const LAST: &str = "checkpoints/step-00000010";

/// Starts a run and waits until it has saved a step; it has many more to make.
fn start_and_wait(place: &Place, out: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let args = [TOY, &["-v", "--out", out, "--set", "train.steps=200000"]].concat();
    let mut child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("saved step") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the run ended before it saved");
    }
    (child, lines)
}

#[test]
fn ten_steps_are_five_and_five() {
    for (preset, more) in [
        (TOY, &["--set", "train.recipe=ct"][..]),
        (TOY, &["--set", "train.recipe=ict", "--set", "train.optimizer=adamw"]),
        (DIGITS, &["--set", "train.steps=10", "--set", "model.unet.dropout=0.1", "--set", "score.num=0"]),
    ] {
        let place = Place::new();
        place.ct(&[preset, more, &["--out", "whole"]].concat()).ok();
        let answer = place.ct(&[preset, more, &["--out", "parts", "--stop-after", "5"]].concat()).ok();
        assert!(answer.out.contains("step 5 of 10; to go on:  ct train --resume parts"), "{answer:?}");
        let answer = place.ct(&["train", "--resume", "parts"]).ok();
        assert!(answer.out.contains("resumed    parts/checkpoints/step-00000005"), "{answer:?}");
        assert!(!answer.out.contains("changed"), "{answer:?}");
        assert_same_files(&place.path().join("whole").join(LAST), &place.path().join("parts").join(LAST));
        let pictures =
            |run: &str| std::fs::read(place.path().join(run).join("samples/one-step.png")).unwrap();
        assert!(pictures("whole") == pictures("parts"));
    }
}

#[test]
fn activations_may_be_recomputed_from_the_middle_on() {
    let place = Place::new();
    place.ct(&[DIGITS, &["--set", "model.unet.dropout=0.1", "--out", "whole"]].concat()).ok();
    let parts = &["--set", "model.unet.dropout=0.1", "--out", "parts", "--stop-after", "2"];
    place.ct(&[DIGITS, parts].concat()).ok();
    let setting = ["--set", "train.checkpoint_activations=true"];
    let answer = place.ct(&[&["train", "--resume", "parts"][..], &setting].concat()).ok();
    assert!(answer.out.contains("changed    train.checkpoint_activations: false -> true"), "{answer:?}");
    let last = "checkpoints/step-00000004";
    assert_same_files(&place.path().join("whole").join(last), &place.path().join("parts").join(last));
}

#[test]
fn a_killed_run_goes_on() {
    let place = Place::new();
    let (mut child, _) = start_and_wait(&place, "killed");
    child.kill().unwrap();
    child.wait().unwrap();
    // Whatever step it had saved when it was killed, it goes on from there.
    let newest = || place.read("killed/latest").trim().trim_start_matches("step-").parse::<u64>().unwrap();
    let last = newest() + 6;
    let answer = place.ct(&["train", "--resume", "killed", "--set", &format!("train.steps={last}")]).ok();
    assert!(answer.out.contains(&format!("changed    train.steps: 200000 -> {last}")), "{answer:?}");
    assert_eq!(newest(), last);
    assert!(place.exists(&format!("killed/checkpoints/step-{last:08}/state.json")));
    assert!(place.read("killed/config.toml").contains(&format!("\nsteps = {last}\n")));
}

#[test]
fn an_early_kill_starts_from_the_beginning() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "whole"]].concat()).ok();
    place.ct(&[TOY, &["--out", "early", "--stop-after", "3"]].concat()).ok();
    std::fs::remove_dir_all(place.path().join("early/checkpoints")).unwrap();
    let answer = place.ct(&["train", "--resume", "early"]).ok();
    assert!(answer.out.contains("from the beginning"), "{answer:?}");
    assert_same_files(&place.path().join("whole").join(LAST), &place.path().join("early").join(LAST));
}

#[test]
fn the_weights_before_the_first_step_can_be_saved() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "whole", "--set", "metrics.every_steps=1"]].concat()).ok();
    let answer = place.ct(&[TOY, &["--out", "start", "--stop-after", "0"]].concat()).ok();
    assert!(answer.out.contains("stopped and saved at step 0 of 10"), "{answer:?}");
    assert!(place.exists("start/checkpoints/step-00000000/ema-0.999"));
    place.ct(&["train", "--resume", "start", "--set", "metrics.every_steps=5"]).ok();
    assert_same_files(&place.path().join("whole").join(LAST), &place.path().join("start").join(LAST));
    let lines = |run: &str| place.read(&format!("{run}/metrics.jsonl")).lines().count();
    assert_eq!((lines("whole"), lines("start")), (10, 2));
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_save() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        let (child, lines) = start_and_wait(&place, "run");
        let killed =
            std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let heard: Vec<String> = lines.lines().map(Result::unwrap).collect();
        let answer = Answer::new(&child.wait_with_output().unwrap());
        assert_eq!(answer.code, Some(130), "{answer:?}");
        assert!(heard.iter().any(|line| line.contains("stopping after this step")), "{heard:?}");
        place.ct(&["train", "--resume", "run", "--stop-after", "1"]).ok();
    }
}

#[test]
fn a_checkpoint_cut_short_is_passed_over() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "whole"]].concat()).ok();
    place.ct(&[TOY, &["--out", "cut", "--stop-after", "8"]].concat()).ok();
    place.cut_short("cut/checkpoints/step-00000008/weights.safetensors");
    // Sampling takes the model of the one before.
    place.ct(&["sample", "--model", "cut", "--num", "9"]).ok();
    let answer = place.ct(&["train", "--resume", "cut"]).ok();
    assert!(answer.err.contains("step-00000008") && answer.err.contains("cut short"), "{answer:?}");
    assert!(answer.out.contains("resumed    cut/checkpoints/step-00000004"), "{answer:?}");
    assert_same_files(&place.path().join("whole").join(LAST), &place.path().join("cut").join(LAST));
}

#[test]
fn when_no_checkpoint_is_whole_nothing_is_started_over() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "run", "--stop-after", "5"]].concat()).ok();
    for name in ["step-00000004", "step-00000005"] {
        place.cut_short(&format!("run/checkpoints/{name}/weights.safetensors"));
    }
    place.ct(&["train", "--resume", "run"]).failed(2, &["step-00000005", "cut short"]);
    place.ct(&["sample", "--model", "run"]).failed(2, &["step-00000005"]);
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "run", "--stop-after", "3"]].concat()).ok();
    place.replace(
        "run/checkpoints/step-00000003/state.json",
        "\"format_version\": 1",
        "\"format_version\": 99",
    );
    for args in [&["train", "--resume", "run"][..], &["sample", "--model", "run"]] {
        place.ct(args).failed(2, &["format version 99", "up to 1", "update ct"]);
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_spoils_nothing() {
    let place = Place::new();
    // Large enough that its weights go over the limit, and its metrics do not.
    let train = |args: &[&str]| place.ct(&[TOY, &["--set", "model.mlp.hidden_dim=64"], args].concat());
    train(&["--out", "whole"]).ok();
    train(&["--out", "full", "--stop-after", "5"]).ok();
    let answer = place.ct_on_full_disk(&["train", "--resume", "full"]);
    answer.failed(1, &["what was saved before is whole", "ct train --resume full", "full/checkpoints"]);

    // So are the picture and the numbers of 2000 points.
    place.ct_on_full_disk(&["sample", "--model", "full", "--grid", "grid.png"]).failed(1, &["grid.png"]);
    place.ct_on_full_disk(&["sample", "--model", "full", "--save-tensors", "x.st"]).failed(1, &["x.st"]);
    let left: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing half-written is left: {left:?}");

    let answer = place.ct(&["train", "--resume", "full"]).ok();
    assert!(answer.out.contains("resumed    full/checkpoints/step-00000005"), "{answer:?}");
    assert_same_files(&place.path().join("whole").join(LAST), &place.path().join("full").join(LAST));
}
