//! A run that was interrupted ends with the bits of one that was not.

use std::fs;
use std::path::{Path, PathBuf};

use ct_model::Precision;
use ct_model::folder::Card;
use ct_train::{OptimizerKind, Recipe, RunFolder, TrainConfig, Trainer};
use rayon::ThreadPoolBuilder;

use crate::common::{digits, moons, small_mlp, small_unet, trainer, trainer_from_teacher};

fn config(recipe: Recipe) -> TrainConfig {
    let mut config =
        TrainConfig { recipe, steps: 10, batch_size: 6, warmup_steps: 2, ..TrainConfig::default() };
    config.ema = vec![0.9, 0.99];
    config.ema_power = vec![0.1];
    (config.ict.s1, config.ect.stages, config.ect.pretrain) = (40, 2, 0.3);
    (config.cd.mu, config.scm.pretrain, config.scm.tangent_warmup_steps) = (0.5, 0.3, 6);
    config
}

fn steps(trainer: &mut Trainer, n: usize) {
    (0..n).for_each(|_| _ = trainer.step().unwrap());
}

/// All files of a run's newest checkpoint.
fn files(run: &RunFolder) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(root: &Path, dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                files.push((path.strip_prefix(root).unwrap().to_path_buf(), fs::read(&path).unwrap()));
            }
        }
    }
    let dir = run.checkpoint_dirs().unwrap().pop().unwrap();
    let mut files = Vec::new();
    walk(&dir, &dir, &mut files);
    files.sort();
    files
}

fn check(new: impl Fn() -> Trainer) {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| RunFolder::create(&dir.path().join(name), "").unwrap();
    let (whole, halves) = (run("whole"), run("halves"));

    let mut trainer = new();
    steps(&mut trainer, 10);
    whole.save(&trainer, &Card::default(), 2).unwrap();

    let mut first = new();
    steps(&mut first, 5);
    halves.save(&first, &Card::default(), 2).unwrap();
    drop(first);
    let mut second = new();
    assert!(halves.restore(&mut second).unwrap().is_some());
    assert_eq!(second.steps_made(), 5);
    steps(&mut second, 5);
    halves.save(&second, &Card::default(), 2).unwrap();

    let (whole, halves) = (files(&whole), files(&halves));
    assert_eq!(whole.len(), halves.len());
    for ((path, expected), (_, got)) in whole.iter().zip(&halves) {
        assert!(expected == got, "{} differs", path.display());
    }
}

#[test]
fn ten_steps_are_five_and_five_for_every_recipe() {
    for recipe in Recipe::ALL {
        let config = TrainConfig { learned_weighting: recipe == Recipe::Sct, ..config(recipe) };
        check(|| trainer_from_teacher(small_mlp(), moons(), config.clone()));
    }
}

#[test]
fn ten_steps_are_five_and_five_with_what_is_trained_beside_the_network() {
    let mut config = TrainConfig { learned_weighting: true, ..config(Recipe::Ict) };
    (config.augment.probability, config.augment.xflip) = (0.5, 1.0);
    check(|| trainer(small_unet(0.0), digits(), config.clone()));
}

#[test]
fn ten_steps_are_five_and_five_with_dropout_parts_and_adamw() {
    let config = TrainConfig {
        micro_batch_size: Some(3),
        optimizer: OptimizerKind::Adamw,
        weight_decay: 0.01,
        max_grad_norm: Some(1.0),
        ..config(Recipe::Ect)
    };
    check(|| trainer(small_unet(0.2), digits(), config.clone()));
}

#[test]
fn ten_steps_are_five_and_five_in_bf16() {
    for recipe in [Recipe::Ect, Recipe::Sct] {
        let config = TrainConfig { precision: Precision::Bf16, ..config(recipe) };
        check(|| trainer(small_unet(0.2), digits(), config.clone()));
    }
}

#[test]
fn recomputed_activations_change_no_bit_from_step_to_step() {
    let config = |checkpoint_activations| TrainConfig {
        checkpoint_activations,
        micro_batch_size: Some(3),
        ..config(Recipe::Ct)
    };
    // Each trainer that `check` asks for has the other setting.
    let number = std::cell::Cell::new(0);
    check(|| {
        number.set(number.get() + 1);
        trainer(small_unet(0.2), digits(), config(number.get() % 2 == 0))
    });
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let train = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainer = trainer(small_unet(0.1), digits(), config(Recipe::Ict));
            steps(&mut trainer, 3);
            let bits = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            trainer.params().tensors().iter().flat_map(bits).map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = train(1);
    assert!(one == train(2) && one == train(3));
}

#[test]
fn a_checkpoint_that_was_cut_short_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("run"), "").unwrap();
    let mut trainer = trainer(small_mlp(), moons(), config(Recipe::Ct));
    for _ in 0..3 {
        steps(&mut trainer, 2);
        run.save(&trainer, &Card::default(), 2).unwrap();
    }
    let places = run.checkpoint_dirs().unwrap();
    assert_eq!(places.len(), 2, "only the last two are kept");
    let cut = places[1].join("optimizer.safetensors");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let mut again = crate::common::trainer(small_mlp(), moons(), config(Recipe::Ct));
    assert_eq!(run.restore(&mut again).unwrap().as_ref(), Some(&places[0]));
    assert_eq!(again.steps_made(), 4);

    fs::remove_file(places[0].join("weights.safetensors")).unwrap();
    let error = run.restore(&mut again).unwrap_err().to_string();
    assert!(error.contains("optimizer.safetensors") && error.contains("cut short"), "{error}");
}

#[test]
fn a_checkpoint_of_a_newer_format_another_network_or_other_settings_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("run"), "").unwrap();
    let mut small = trainer(small_mlp(), moons(), config(Recipe::Ect));
    steps(&mut small, 1);
    run.save(&small, &Card::default(), 2).unwrap();

    let wide = ct_model::NetworkConfig::Mlp(ct_model::MlpConfig { hidden_dim: 48, ..Default::default() });
    let mut wide = trainer(wide.build().unwrap(), moons(), config(Recipe::Ect));
    let error = run.restore(&mut wide).unwrap_err().to_string();
    assert!(error.contains("do not fit") && error.contains("expected shape"), "{error}");

    let changed = |config: TrainConfig| {
        let mut changed = trainer(small_mlp(), moons(), config);
        run.restore(&mut changed).unwrap_err().to_string()
    };
    assert!(changed(config(Recipe::Ct)).contains("train.recipe cannot change"));
    let error = changed(TrainConfig { ema: vec![0.5], ..config(Recipe::Ect) });
    assert!(error.contains("keeps the averages ema-0.9, ema-0.99, ema-power-0.1"), "{error}");

    let state = run.checkpoint_dirs().unwrap()[0].join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"format_version\": 1", "\"format_version\": 2")).unwrap();
    let error = run.restore(&mut small).unwrap_err().to_string();
    assert!(error.contains("newer release"), "{error}");
}

#[test]
fn an_occupied_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    RunFolder::create(&path, "").unwrap();
    assert!(RunFolder::create(&path, "").unwrap_err().to_string().contains("it holds a run"));
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(RunFolder::create(dir.path(), "").unwrap_err().to_string().contains("not empty"));
    assert!(RunFolder::open(&dir.path().join("none")).unwrap_err().to_string().contains("not a run folder"));
}
