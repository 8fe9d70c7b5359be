//! The trainer as a whole.

use candle_core::{Device, Tensor};
use ct_model::{ConsistencyModel, Denoiser, NoiseRange, Parameterization, normal};
use ct_random::Purpose;
use ct_schedule::Weighting;
use ct_train::{
    Error, Flow, LossKind, Observer, Outcome, Parts, Recipe, StepReport, TrainConfig, Trainer, run,
};

use crate::common::{digits, flat, moons, small_mlp, small_unet, trainer};

fn config(recipe: Recipe, steps: u64) -> TrainConfig {
    let mut config =
        TrainConfig { recipe, steps, batch_size: 256, lr: 2e-3, warmup_steps: 20, ..TrainConfig::default() };
    config.ema = vec![0.99];
    (config.ct.s1, config.ict.s1, config.ict.p_mean) = (20, 40, -0.8);
    (config.ect.pretrain, config.ect.q, config.ect.stages, config.ect.p_mean) = (0.3, 4.0, 3, -0.8);
    config
}

/// How far one-step samples and data lie from each other: mean distance from each point to the nearest of the other set.
fn distance_to_data(trainer: &Trainer) -> f64 {
    let model = trainer.model().unwrap();
    let noise = normal(9, Purpose::Sample, 0, 0, 300, &[2], &Device::Cpu).unwrap();
    let sigma_max = model.noise_range().sigma_max;
    let samples = flat(&model.denoise(&(noise * sigma_max).unwrap(), sigma_max, None).unwrap());
    let rows: Vec<usize> = (0..300).collect();
    let data = flat(&trainer.data().tensor(&rows).unwrap());
    f64::midpoint(to_nearest(&samples, &data), to_nearest(&data, &samples))
}

fn to_nearest(points: &[f64], others: &[f64]) -> f64 {
    let nearest = |x: &[f64]| {
        let distance = |y: &[f64]| (x[0] - y[0]).hypot(x[1] - y[1]);
        others.chunks_exact(2).map(distance).fold(f64::INFINITY, f64::min)
    };
    points.chunks_exact(2).map(nearest).sum::<f64>() / (points.len() / 2) as f64
}

/// A trained run, from a model that is there already or from nothing.
fn trained(config: TrainConfig, parameterization: Parameterization, from: Option<&Trainer>) -> Trainer {
    let data = moons();
    let parts = Parts {
        network: small_mlp(),
        range: NoiseRange { sigma_min: 0.01, sigma_max: 20.0, sigma_data: data.std(), rho: 7.0 },
        data,
        parameterization: Some(parameterization),
        init: from.map(|from| from.averages()[0].params().clone()),
        teacher: from.map(|from| from.model().unwrap()),
        null_label: false,
        seed: 3,
        flip: false,
    };
    let steps = config.steps;
    let mut trainer = Trainer::from_parts(parts, config, &Device::Cpu).unwrap();
    (0..steps).for_each(|_| _ = trainer.step().unwrap());
    trainer
}

/// What samples of a network that knows nothing are away from the data.
fn at_the_start() -> f64 {
    distance_to_data(&trainer(small_mlp(), moons(), config(Recipe::Ect, 500)))
}

fn assert_near_the_data(recipe: Recipe, trainer: &Trainer) {
    let (before, after) = (at_the_start(), distance_to_data(trainer));
    assert!(after < 0.6 * before, "{recipe}: from {before:.3} to {after:.3}");
}

#[test]
fn recipes_that_start_from_nothing_bring_samples_to_the_data() {
    for recipe in [Recipe::Ct, Recipe::Ict, Recipe::Ect] {
        assert_near_the_data(recipe, &trained(config(recipe, 500), Parameterization::Consistency, None));
    }
    let mut sct = config(Recipe::Sct, 500);
    (sct.scm.pretrain, sct.scm.tangent_warmup_steps) = (0.4, 100);
    assert_near_the_data(Recipe::Sct, &trained(sct, Parameterization::Trigflow, None));
}

#[test]
fn distillation_brings_samples_of_a_denoiser_to_the_data() {
    let teacher = trained(config(Recipe::Diffusion, 400), Parameterization::Edm, None);
    // The mean of all data is what a denoiser makes of pure noise.
    assert!(distance_to_data(&teacher) > 0.6 * at_the_start());
    let mut cd = config(Recipe::Cd, 500);
    (cd.cd.p_mean, cd.cd.weighting) = (Some(-0.8), Weighting::InverseDelta);
    let student = trained(cd, Parameterization::Consistency, Some(&teacher));
    assert_near_the_data(Recipe::Cd, &student);

    let teacher = trained(config(Recipe::Diffusion, 400), Parameterization::Trigflow, None);
    let mut scd = config(Recipe::Scd, 300);
    scd.scm.tangent_warmup_steps = 100;
    assert_near_the_data(Recipe::Scd, &trained(scd, Parameterization::Trigflow, Some(&teacher)));
}

#[test]
fn a_second_stage_keeps_what_the_first_has_learned_below_its_boundary() {
    let first = trained(config(Recipe::Ect, 500), Parameterization::Consistency, None);
    let mut tcm = TrainConfig { lr: 5e-4, ..config(Recipe::Tcm, 200) };
    tcm.tcm.sigma_boundary = 0.7;
    let second = trained(tcm, Parameterization::Consistency, Some(&first));
    assert_near_the_data(Recipe::Tcm, &second);
    assert_eq!(second.trained_from_sigma(), Some(0.7));
    let (first, second) = (distance_to_data(&first), distance_to_data(&second));
    // So short a second stage gains nothing yet, and loses little.
    assert!(second < 1.25 * first, "from {first:.4} to {second:.4}");
}

#[test]
fn learned_weights_augmentation_and_hidden_labels_train_too() {
    let mut config = TrainConfig { batch_size: 16, ..config(Recipe::Ect, 40) };
    (config.learned_weighting, config.augment.probability) = (true, 0.5);
    let mut trainer = trainer(small_unet(0.1), digits(), config);
    let losses: Vec<f64> = (0..40).map(|_| trainer.step().unwrap().loss).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[30..]) < mean(&losses[..10]), "{losses:?}");
    // What is trained beside the network is no part of the model.
    assert_eq!(trainer.model().unwrap().params().layout().len(), small_unet(0.1).layout().len());
}

#[test]
fn what_a_recipe_needs_is_asked_for_before_the_first_step() {
    let build = |recipe, parameterization, teacher: Option<ConsistencyModel>| {
        let data = moons();
        let range = NoiseRange { sigma_min: 0.01, sigma_max: 20.0, sigma_data: 0.5, rho: 7.0 };
        let (network, parameterization) = (small_mlp(), Some(parameterization));
        let parts = Parts {
            network,
            data,
            range,
            parameterization,
            init: None,
            teacher,
            null_label: false,
            seed: 0,
            flip: false,
        };
        Trainer::from_parts(parts, config(recipe, 10), &Device::Cpu).map(drop).unwrap_err().to_string()
    };
    for recipe in [Recipe::Cd, Recipe::Scd, Recipe::Tcm] {
        assert!(build(recipe, recipe.parameterization(), None).contains("init.model"), "{recipe}");
    }
    assert!(build(Recipe::Ect, Parameterization::Trigflow, None).contains("trigflow"));
    assert!(build(Recipe::Sct, Parameterization::Consistency, None).contains("consistency"));

    let digits = trainer(small_unet(0.0), digits(), config(Recipe::Ect, 10)).model().unwrap();
    let message = build(Recipe::Cd, Parameterization::Consistency, Some(digits));
    assert!(message.contains("[1, 8, 8]") && message.contains("[2]"), "{message}");

    let message = |change: fn(&mut TrainConfig)| {
        let mut config = config(Recipe::Ect, 10);
        change(&mut config);
        let range = NoiseRange { sigma_data: 0.5, ..NoiseRange::default() };
        let new = Trainer::new(small_mlp(), moons(), range, config, 0, false, &Device::Cpu);
        new.map(drop).unwrap_err().to_string()
    };
    assert!(message(|c| c.loss = LossKind::Lpips).contains("train.lpips_weights"));
    assert!(message(|c| c.augment.probability = 0.1).contains("vectors"));
    assert!(message(|c| c.augment.probability = 1.5).contains("1.5"));
    assert!(message(|c| c.label_dropout = 0.1).contains("train.label_dropout"));
    assert!(message(|c| c.tcm.boundary_share = 2.0).contains("train.tcm.boundary_share"));
}

#[test]
fn parts_of_a_batch_add_up_to_the_batch() {
    let gradients = |micro_batch_size| {
        let config = TrainConfig { batch_size: 8, micro_batch_size, ..config(Recipe::Ict, 100) };
        let trainer = trainer(small_unet(0.2), digits(), config);
        let (loss, gradients) = trainer.loss_and_gradients().unwrap();
        (loss, gradients.tensors().iter().flatten().flat_map(flat).collect::<Vec<_>>())
    };
    let (loss, whole) = gradients(None);
    let (loss_of_parts, parts) = gradients(Some(2));
    assert!((loss - loss_of_parts).abs() < 1e-5 * loss.abs());
    let scale = whole.iter().fold(0f64, |max, g| max.max(g.abs()));
    // Rounding alone: the same draws and the same masks, added in another order.
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4 * scale));
}

#[test]
fn gradients_are_those_of_the_loss() {
    // A step against the gradient must lower the loss by its length times the gradient's.
    for loss in [LossKind::L2, LossKind::L1, LossKind::PseudoHuber] {
        let config = TrainConfig { batch_size: 16, loss, ..config(Recipe::Ct, 100) };
        let mut trainer = trainer(small_mlp(), moons(), config);
        (0..5).for_each(|_| _ = trainer.step().unwrap());
        let (before, gradients) = trainer.loss_and_gradients().unwrap();
        let norm = gradients.norm().unwrap();
        let length = 1e-3;
        for (param, gradient) in trainer.params().tensors().iter().zip(gradients.tensors()) {
            let step: Tensor = (gradient.as_ref().unwrap() * (-length / norm)).unwrap();
            ct_kernels::add_in_place(param, &step).unwrap();
        }
        let (after, _) = trainer.loss_and_gradients().unwrap();
        let ratio = (before - after) / (length * norm);
        assert!((ratio - 1.0).abs() < 0.1, "{loss:?}: fell by {ratio} of what the gradient says");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_before_it_reaches_the_weights() {
    let mut trainer = trainer(small_mlp(), moons(), config(Recipe::Ict, 10));
    trainer.step().unwrap();
    let tensors = trainer.params().tensors();
    let broken = Tensor::full(f32::NAN, tensors[0].shape(), &Device::Cpu).unwrap();
    ct_kernels::copy_in_place(&tensors[0], &broken).unwrap();
    let untouched = flat(&tensors[1]);
    let error = trainer.step().unwrap_err();
    assert!(matches!(error, Error::NonFiniteLoss { step: 2, .. }), "{error}");
    assert!(error.to_string().contains("step 2"), "{error}");
    assert_eq!(flat(&trainer.params().tensors()[1]), untouched);
    assert_eq!(trainer.steps_made(), 1);
}

#[test]
fn settings_that_cannot_be_are_refused_before_the_first_step() {
    let message = |change: fn(&mut TrainConfig)| {
        let mut config = config(Recipe::Ect, 10);
        change(&mut config);
        let data = moons();
        let range = NoiseRange { sigma_data: data.std(), ..NoiseRange::default() };
        Trainer::new(small_mlp(), data, range, config, 0, false, &Device::Cpu).unwrap_err().to_string()
    };
    assert!(message(|c| c.steps = 0).contains("train.steps"));
    assert!(message(|c| c.micro_batch_size = Some(3)).contains("train.micro_batch_size"));
    assert!(message(|c| c.lr = -1.0).contains("train.lr"));
    assert!(message(|c| c.ema = vec![1.0]).contains("train.ema"));
    assert!(message(|c| c.ema.clear()).contains("at least one"));
    assert!(message(|c| c.ect.q = 1.0).contains('q'));
    assert!(message(|c| c.ect.stages = 0).contains("stages"));
    let data = digits();
    let mismatch =
        Trainer::new(small_mlp(), data, NoiseRange::default(), config(Recipe::Ct, 1), 0, false, &Device::Cpu);
    assert!(mismatch.unwrap_err().to_string().contains("[1, 8, 8]"));
}

#[test]
fn an_observer_sees_every_step_and_can_stop_the_run() {
    struct StopAt(u64, Vec<u64>);
    impl Observer for StopAt {
        fn after_step(&mut self, _: &Trainer, report: &StepReport) -> ct_train::Result<Flow> {
            self.1.push(report.step);
            Ok(if report.step == self.0 { Flow::Stop } else { Flow::Continue })
        }
    }
    let mut trainer = trainer(small_mlp(), moons(), config(Recipe::Ct, 5));
    let mut observer = StopAt(3, Vec::new());
    assert_eq!(run(&mut trainer, &mut observer).unwrap(), Outcome::Stopped);
    observer.0 = 9;
    assert_eq!(run(&mut trainer, &mut observer).unwrap(), Outcome::Finished);
    assert_eq!(observer.1, [1, 2, 3, 4, 5]);
}
