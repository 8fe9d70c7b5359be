//! Snapshots of the averages, and averages of other widths made of them.

use std::fs;
use std::path::Path;

use ct_model::folder::Card;
use ct_train::{RunFolder, Snapshot, TrainConfig, Trainer, reconstruct};

use crate::common::{flat, moons, small_mlp, trainer};

const STEPS: u64 = 120;
const EVERY: u64 = 5;

/// 0.08 is kept to compare with, and is left out of what is combined.
fn config(ema_power: &[f64]) -> TrainConfig {
    TrainConfig {
        steps: STEPS,
        batch_size: 8,
        warmup_steps: 2,
        ema_power: ema_power.to_vec(),
        snapshot_steps: Some(EVERY),
        ..TrainConfig::default()
    }
}

fn new(ema_power: &[f64]) -> Trainer {
    trainer(small_mlp(), moons(), config(ema_power))
}

/// Makes steps up to `end`, and a snapshot where one is due.
fn train(run: &RunFolder, trainer: &mut Trainer, end: u64) {
    while trainer.steps_made() < end {
        trainer.step().unwrap();
        if trainer.steps_made().is_multiple_of(EVERY) {
            run.save_snapshot(trainer).unwrap();
        }
    }
}

fn run(dir: &Path, name: &str) -> RunFolder {
    RunFolder::create(&dir.join(name), "").unwrap()
}

fn all(params: &ct_model::Params) -> Vec<f64> {
    params.iter().flat_map(|(_, tensor)| flat(tensor)).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Every snapshot, file by file.
fn files(run: &RunFolder) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for step in fs::read_dir(run.path().join("snapshots")).unwrap() {
        let step = step.unwrap().path();
        for file in fs::read_dir(&step).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(run.path()).unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn an_average_that_was_not_kept_is_made_of_those_that_were() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), "run");
    let mut trainer = new(&[0.05, 0.1]);
    train(&run, &mut trainer, STEPS);
    let snapshots = run.snapshots().unwrap();
    assert_eq!(snapshots.len() as u64, STEPS / EVERY);
    assert_eq!(snapshots[0].sigma_rels(), [0.05, 0.1]);
    assert_eq!(snapshots.last().unwrap().step(), STEPS);

    // The same training, which kept the wanted widths.
    let mut reference = new(&[0.08, 0.15]);
    let mut squares = 0.0;
    for _ in 0..STEPS {
        reference.step().unwrap();
        squares += all(reference.params()).iter().map(|weight| weight * weight).sum::<f64>();
    }
    let model = trainer.model().unwrap();
    for (average, other) in reference.averages()[1..].iter().zip(&trainer.averages()[1..]) {
        let sigma_rel = average.sigma_rel().unwrap();
        let made = reconstruct(&snapshots, &model, sigma_rel, None).unwrap();
        assert_eq!((made.step, made.images_seen), (STEPS, Some(8 * STEPS)));
        assert!(made.residual < 0.02, "{}", made.residual);
        let expected = all(average.params());
        let error = distance(&all(made.model.params()), &expected);
        // An average is the integral of its profile times the weights, which stay as they are between two steps.
        // So Cauchy and Schwarz bound the error by the distance of the profiles times the norm of the weights over time.
        let gamma = ct_schedule::power_gamma(sigma_rel).unwrap();
        let norm = (gamma + 1.0) / ((2.0 * gamma + 1.0) * STEPS as f64).sqrt();
        let bound = made.residual * norm * squares.sqrt();
        assert!(error < bound, "{}: {error}, bound {bound}", average.name());
        // And it is of use: far nearer than the nearest average that was kept.
        let of_nearest = distance(&all(other.params()), &expected);
        assert!(error < 0.2 * of_nearest, "{}: {error}, {of_nearest}", average.name());
    }
    // A width that was kept comes back with the same bits.
    for average in &trainer.averages()[1..] {
        let made = reconstruct(&snapshots, &model, average.sigma_rel().unwrap(), None).unwrap();
        assert_eq!(made.num_averages, 1);
        assert!(all(made.model.params()) == all(average.params()));
    }
    // A step before the last, from the snapshots up to it.
    let made = reconstruct(&snapshots, &model, 0.07, Some(STEPS - EVERY)).unwrap();
    assert_eq!((made.step, made.images_seen), (STEPS - EVERY, Some(8 * (STEPS - EVERY))));
    // A profile ends with a step down, which no combination has between two snapshots.
    let error = reconstruct(&snapshots, &model, 0.07, Some(STEPS - 2)).unwrap_err().to_string();
    assert!(error.contains("the step of a snapshot"), "{error}");
}

#[test]
fn a_run_that_was_interrupted_has_the_snapshots_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (run(dir.path(), "whole"), run(dir.path(), "parts"));
    let widths = [0.05, 0.1];
    train(&whole, &mut new(&widths), 30);

    let mut first = new(&widths);
    train(&parts, &mut first, 12);
    parts.save(&first, &Card::default(), 2).unwrap();
    train(&parts, &mut first, 20);
    // Killed at step 20: those of the steps after the checkpoint are made again.
    drop(first);
    fs::create_dir(parts.path().join("snapshots/.step-00000025.partial")).unwrap();
    let mut second = new(&widths);
    parts.restore(&mut second).unwrap();
    let steps = |run: &RunFolder| run.snapshots().unwrap().iter().map(Snapshot::step).collect::<Vec<_>>();
    assert_eq!(steps(&parts), [5, 10]);
    train(&parts, &mut second, 30);
    assert_eq!(steps(&parts), [5, 10, 15, 20, 25, 30]);
    assert!(files(&whole) == files(&parts));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), "run");
    assert!(run.snapshots().unwrap_err().to_string().contains("train.snapshot_steps"));
    let mut trainer = new(&[0.05, 0.1]);
    train(&run, &mut trainer, 40);
    let model = trainer.model().unwrap();
    let snapshots = run.snapshots().unwrap();
    let refused = |sigma_rel: f64, step: Option<u64>| {
        reconstruct(&snapshots, &model, sigma_rel, step).unwrap_err().to_string()
    };
    let error = refused(0.01, None);
    assert!(
        error.contains("8 snapshots of the widths 0.05, 0.1") && error.contains("5 % is the limit"),
        "{error}"
    );
    assert!(refused(0.4, None).contains("sigma_rel must be"));
    assert!(refused(0.1, Some(41)).contains("last snapshot is of step 40"));
    assert!(refused(0.1, Some(0)).contains("step must be"));
    assert!(reconstruct(&[], &model, 0.1, None).unwrap_err().to_string().contains("no snapshots"));

    let path = run.path().join("snapshots/step-00000040/ema-power-0.05.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = refused(0.07, None);
    assert!(error.contains("ema-power-0.05.safetensors") && error.contains("cut short"), "{error}");

    let info = run.path().join("snapshots/step-00000020/snapshot.json");
    let text = fs::read_to_string(&info).unwrap();
    fs::write(&info, text.replace("\"format_version\": 1", "\"format_version\": 2")).unwrap();
    assert!(run.snapshots().unwrap_err().to_string().contains("newer release"));
}

#[test]
fn settings_that_make_no_snapshots_are_refused() {
    let error = |config: TrainConfig| config.validate().unwrap_err().to_string();
    assert!(error(config(&[])).contains("train.ema_power"));
    let zero = TrainConfig { snapshot_steps: Some(0), ..config(&[0.1]) };
    assert!(error(zero).contains("train.snapshot_steps = 0"));
    config(&[0.1]).validate().unwrap();
}
