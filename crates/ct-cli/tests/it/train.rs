//! Training from a preset to pictures.

use crate::{DIGITS, Place, TOY};

#[test]
fn every_command_has_help_with_examples() {
    let place = Place::new();
    for command in ["train", "sample", "eval", "forward", "inspect"] {
        let help = place.ct(&[command, "--help"]).ok().out;
        assert!(help.contains("Examples:") && help.contains("--device"), "{help}");
    }
}

#[test]
fn a_run_on_images_ends_with_pictures_and_a_score() {
    let place = Place::new();
    let answer = place.ct(DIGITS).ok();
    for piece in
        ["1500 images of 1 x 8 x 8, 10 classes", "step 4/4", "FD-pixels", "ct sample --model runs/digits"]
    {
        assert!(answer.out.contains(piece), "no {piece:?} in {answer:?}");
    }
    for name in ["step-00000002.png", "step-00000004.png", "one-step.png", "two-step.png"] {
        let picture = image::open(place.path().join("runs/digits/samples").join(name)).unwrap();
        // Two images of 8 pixels, 8 times enlarged, in each direction, and three lines between and around them.
        assert_eq!((picture.width(), picture.height()), (134, 134), "{name}");
    }
    let score: serde_json::Value = serde_json::from_str(&place.read("runs/digits/score.json")).unwrap();
    for name in ["FD-pixels", "FD-digits"] {
        assert!(score["one_step"]["figures"][name].as_f64().unwrap() > 0.0, "{score}");
        assert!(score["held_out_data"]["figures"][name].as_f64().unwrap() > 0.0, "{score}");
    }
    assert_eq!(score["held_out_data"]["num_samples"], 297);

    let metrics = place.read("runs/digits/metrics.jsonl");
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert_eq!(place.read("runs/digits/latest").trim(), "step-00000004");
}

#[test]
fn a_run_on_points_ends_with_plots_and_distances() {
    let place = Place::new();
    let answer = place.ct(&[TOY, &["--set", "score.num=200", "--out", "here"]].concat()).ok();
    assert!(answer.out.contains("SWD-points") && answer.out.contains("MMD2-energy-points"), "{answer:?}");
    let plot = image::open(place.path().join("here/samples/one-step.png")).unwrap();
    assert_eq!((plot.width(), plot.height()), (640, 640));
}

#[test]
fn every_recipe_is_one_setting_away() {
    let place = Place::new();
    for recipe in ["ct", "ict", "ect"] {
        let setting = format!("train.recipe={recipe}");
        let answer = place.ct(&[TOY, &["--set", &setting, "--out", recipe]].concat()).ok();
        assert!(answer.out.contains(&format!("recipe     {recipe}, 10 steps")), "{answer:?}");
    }
}

#[test]
fn a_dry_run_prints_settings_that_make_the_same_run() {
    let place = Place::new();
    let settings = place.ct(&[TOY, &["--dry-run"]].concat()).ok().out;
    assert!(settings.starts_with("# ct train toy --set train.steps=10"), "{settings}");
    assert!(settings.contains("sigma_data = 0.499"), "what is measured is filled in: {settings}");
    assert!(!place.exists("runs"), "a dry run writes nothing");

    place.write("my.toml", &settings);
    let again = place.ct(&["train", "--config", "my.toml", "--dry-run"]).ok().out;
    let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(body(&again), body(&settings));
    place.ct(&["train", "--config", "my.toml"]).ok();
    assert_eq!(body(&place.read("runs/my/config.toml")), body(&settings));
}

#[test]
fn a_seed_makes_another_run() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "a"]].concat()).ok();
    place.ct(&[TOY, &["--out", "b", "--seed", "1"]].concat()).ok();
    let weights = "checkpoints/step-00000010/weights.safetensors";
    let read = |run: &str| std::fs::read(place.path().join(run).join(weights)).unwrap();
    assert_ne!(read("a"), read("b"));
}

#[test]
fn logs_are_json_lines_on_request() {
    let place = Place::new();
    let answer = place.ct(&[TOY, &["-v", "--log-json"]].concat()).ok();
    let lines: Vec<serde_json::Value> =
        answer.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["fields"]["message"] == "saved step 4"), "{answer:?}");
}

#[test]
fn pictures_of_a_folder_are_learned_from() {
    let place = Place::new();
    place.write_pictures("pictures", 8);
    let with = |args: &[&str]| {
        let mut all = DIGITS.to_vec();
        all.extend_from_slice(&[
            "--data",
            "folder:pictures",
            "--set",
            "data.size=8",
            "--set",
            "data.channels=3",
        ]);
        all.extend_from_slice(args);
        place.ct(&all)
    };
    let answer = with(&["--set", "score.num=0"]).ok();
    assert!(answer.out.contains("images of 3 x 8 x 8"), "{answer:?}");
    assert!(place.read("runs/digits/config.toml").contains("flip = true"), "pictures may be mirrored");
}
