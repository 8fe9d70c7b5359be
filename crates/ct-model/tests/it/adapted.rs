//! Networks of other processes: their estimates are those of diffusers' schedulers.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Tape, Value, mul, sum_all};
use ct_model::folder::{self, Card, Loaded};
use ct_model::{
    Adapted, BetaSchedule, Conditions, ConsistencyModel, Denoiser, Input, Network, NetworkConfig, NoiseRange,
    NoiseSteps, Parameterization, Prediction, Translation, UNet2DConfig, consistency_function,
};
use serde_json::{Value as Json, json};

use crate::golden::{self, Golden, assert_close, largest};
use crate::parameterization::bits;

const CASES: [&str; 12] = [
    "ddpm_epsilon_linear",
    "ddpm_epsilon_sigmoid",
    "ddpm_v_squaredcos",
    "ddpm_sample_scaled_linear",
    "ddpm_trained_betas",
    "ddpm_learned_variance",
    "ddpm_learned_times",
    "ddim_v_linear",
    "dpm_solver_epsilon",
    "euler_v_linear",
    "edm_epsilon",
    "edm_v",
];

struct Case {
    golden: Golden,
    loaded: Loaded,
    labels: Option<Vec<u32>>,
}

impl Case {
    /// Reads a recording as the folder that diffusers would write.
    fn read(name: &str) -> Self {
        let path = golden::folder().join("adapted").join(format!("{name}.safetensors"));
        let golden = Golden::read_file(&path);
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &golden, |_| ());
        let loaded = folder::load(dir.path(), &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"));
        let labels = golden.find("class_labels");
        let labels = labels.map(|labels| labels.to_dtype(DType::U32).unwrap().to_vec1().unwrap());
        Self { golden, loaded, labels }
    }

    fn sigmas(&self) -> Vec<f64> {
        self.golden.get("sigma").to_vec1().unwrap()
    }

    fn tolerance(&self, kind: &str) -> f64 {
        self.golden.note("tolerances")[kind].as_f64().unwrap()
    }

    fn denoised(&self) -> Tensor {
        self.loaded.model.f(self.golden.get("x"), &self.sigmas(), self.labels.as_deref()).unwrap()
    }
}

/// The files of a pipeline, with the scheduler changed.
fn write(dir: &Path, golden: &Golden, change: impl FnOnce(&mut Json)) {
    // Python writes a number that JSON does not have, and so must this.
    let (infinite, stand_in) = ("-Infinity", "-1e-99");
    let text = golden.text("scheduler").replace(infinite, stand_in);
    let mut scheduler: Json = serde_json::from_str(&text).unwrap();
    change(&mut scheduler);
    let file = |file: &str, text: &str| folder::write_file(&dir.join(file), text.as_bytes()).unwrap();
    file("unet/config.json", golden.text("config"));
    file("scheduler/scheduler_config.json", &scheduler.to_string().replace(stand_in, infinite));
    let weights = golden.below("weights.");
    let weights = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    folder::write_tensors(&dir.join(folder::WEIGHTS), weights).unwrap();
}

/// The rows of docs/interop.md: `cargo test -p ct-model --test it -- --nocapture estimates_are_those_of_diffusers`.
#[test]
fn estimates_are_those_of_diffusers() {
    println!("| case | relative |\n| --- | --- |");
    for name in CASES {
        let case = Case::read(name);
        let (denoised, expected) = (case.denoised(), case.golden.get("denoised"));
        let mut worst = 0f64;
        for (idx, sigma) in case.sigmas().into_iter().enumerate() {
            // A noise level each, since estimates are as large as their noise.
            let (got, expected) = (denoised.get(idx).unwrap(), expected.get(idx).unwrap());
            let scale = largest([&expected]);
            assert_close(&format!("{name} at {sigma}"), &got, &expected, case.tolerance("denoised"), scale);
            worst = worst.max(largest([&(got - &expected).unwrap()]) / scale);
        }
        println!("| `{name}` | {worst:.1e} |");
        assert_eq!(case.loaded.model.parameterization(), Parameterization::Edm);
        assert_eq!(case.loaded.card.recipe.as_deref(), Some("diffusion"));
        assert!(!case.loaded.card.clip_denoised, "clipping is off in the recording");
    }
}

#[test]
fn noise_levels_are_those_of_the_scheduler() {
    for name in CASES {
        let case = Case::read(name);
        let range = case.loaded.model.noise_range();
        if let Some(ends) = case.golden.find("ends") {
            let ends = ends.to_vec1::<f64>().unwrap();
            let close = |got: f64, expected: f64| (got / expected - 1.0).abs() < case.tolerance("sigmas");
            assert!(close(range.sigma_min, ends[0]) && close(range.sigma_max, ends[1]), "{name}: {range:?}");
        }
    }
    let edm = Case::read("edm_epsilon").loaded.model.noise_range();
    assert_eq!(edm, NoiseRange { sigma_data: 0.6, ..NoiseRange::default() });
    // An exponential schedule: the middle of a grid is the geometric mean of its ends.
    let exponential = Case::read("edm_v").loaded.model.noise_range();
    let grid = ct_schedule::KarrasGrid::new(3, 0.002, 80.0, exponential.rho).unwrap();
    assert!((grid.sigmas()[1] / 0.16f64.sqrt() - 1.0).abs() < 1e-5, "{:?}", grid.sigmas());
}

#[test]
fn every_schedule_has_the_noise_levels_of_diffusers() {
    let golden = Golden::read_file(&golden::folder().join("adapted/tables.safetensors"));
    let steps = golden.get("steps").to_dtype(DType::I64).unwrap().to_vec1::<i64>().unwrap();
    for (name, beta_schedule) in [
        ("linear", BetaSchedule::Linear),
        ("scaled_linear", BetaSchedule::ScaledLinear),
        ("squaredcos_cap_v2", BetaSchedule::SquaredcosCapV2),
        ("sigmoid", BetaSchedule::Sigmoid),
        ("laplace", BetaSchedule::Laplace),
        ("exp", BetaSchedule::Exp),
    ] {
        let all = NoiseSteps { beta_schedule, ..NoiseSteps::default() };
        let expected = golden.get(name).to_vec1::<f64>().unwrap();
        let got = all.sigmas().unwrap();
        for (&step, expected) in steps.iter().zip(expected) {
            let got = got[usize::try_from(step).unwrap()];
            assert!((got / expected - 1.0).abs() < 1e-5, "{name} at {step}: {got}, expected {expected}");
        }
    }
}

#[test]
fn gradients_are_those_of_diffusers() {
    for name in ["ddpm_epsilon_linear", "ddpm_v_squaredcos", "ddpm_learned_variance", "edm_v"] {
        let case = Case::read(name);
        let (model, golden) = (&case.loaded.model, &case.golden);
        let tape = Tape::new();
        let (weights, x) = (model.params().watched(&tape), tape.leaf(golden.get("x")));
        let preconditioning = model.parameterization().preconditioning(&model.noise_range()).unwrap();
        let conditions = Conditions { class_labels: case.labels.as_deref(), ..Conditions::default() };
        let network = &**model.network();
        let denoised =
            consistency_function(network, &weights, &preconditioning, &x, &case.sigmas(), &conditions)
                .unwrap();
        let loss = sum_all(&mul(&denoised, &golden.get("grad_output").into()).unwrap()).unwrap();
        let gradients = tape.backward(&loss).unwrap();
        let (tolerance, expected) = (case.tolerance("grads"), golden.below("grads."));
        let scale = largest(expected.values());
        let mut num_compared = 0;
        for (idx, (param, tensor)) in model.params().iter().enumerate() {
            let Some(expected) = expected.get(param) else { continue };
            let zeros = Tensor::zeros_like(tensor).unwrap();
            let got = gradients.leaf(idx).unwrap_or(&zeros);
            assert_close(&format!("{name}: {param}"), got, expected, tolerance, scale);
            num_compared += 1;
        }
        assert!(num_compared > 20 && num_compared == expected.len(), "{num_compared} gradients");
        let of_x = gradients.leaf(model.params().layout().len()).unwrap();
        let expected = golden.get("grad_x");
        assert_close(&format!("{name}: x"), of_x, expected, tolerance, largest([expected]));
    }
}

#[test]
fn an_adapted_model_comes_back_bit_for_bit() {
    for name in ["ddpm_epsilon_linear", "ddpm_trained_betas", "ddpm_learned_variance", "edm_v"] {
        let case = Case::read(name);
        let dir = tempfile::tempdir().unwrap();
        folder::save(dir.path(), &case.loaded.model, &case.loaded.card).unwrap();
        let again = folder::load(dir.path(), &Device::Cpu).unwrap();
        assert_eq!(again.card, case.loaded.card);
        assert_eq!(again.model.network().config(), case.loaded.model.network().config());
        let (x, labels) = (case.golden.get("x"), case.labels.as_deref());
        let denoised = again.model.f(x, &case.sigmas(), labels).unwrap();
        assert_eq!(bits(&denoised), bits(&case.denoised()), "{name}");
        let index = std::fs::read_to_string(dir.path().join("model_index.json")).unwrap();
        assert!(index.contains("CtAdaptedUNet2D") && index.contains("ct_model"), "{index}");
    }
}

#[test]
fn what_the_scheduler_says_of_clipping_is_kept() {
    let clips = |kind: &str, change: Json| {
        let golden = Golden::read_file(&golden::folder().join(format!("adapted/{kind}.safetensors")));
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(first.path(), &golden, |scheduler| {
            let keys = change.as_object().unwrap();
            let map = scheduler.as_object_mut().unwrap();
            map.remove("clip_sample");
            map.extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
        });
        let Loaded { model, card } = folder::load(first.path(), &Device::Cpu).unwrap();
        folder::save(second.path(), &model, &card).unwrap();
        let again = folder::load(second.path(), &Device::Cpu).unwrap().card.clip_denoised;
        assert_eq!(card.clip_denoised, again, "{kind} {change}");
        again
    };
    assert!(clips("ddpm_epsilon_linear", json!({})), "diffusers clips where nothing is said");
    assert!(!clips("ddpm_epsilon_linear", json!({"clip_sample": false})));
    assert!(clips("ddpm_epsilon_linear", json!({"clip_sample": false, "thresholding": true})));
    assert!(!clips("ddpm_epsilon_linear", json!({"clip_sample_range": 2.0})), "not the range of images");
    assert!(!clips("euler_v_linear", json!({"clip_sample": true})), "a key that this one does not have");
    assert!(!clips("edm_epsilon", json!({})));
}

#[test]
fn settings_that_are_not_translated_are_refused_by_name() {
    let message = |kind: &str, change: Json| {
        let golden = Golden::read_file(&golden::folder().join(format!("adapted/{kind}.safetensors")));
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &golden, |scheduler| {
            let map = scheduler.as_object_mut().unwrap();
            map.extend(change.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())));
        });
        folder::load(dir.path(), &Device::Cpu).map(|_| ()).unwrap_err().to_string()
    };
    let (ddpm, euler, edm) = ("ddpm_epsilon_linear", "euler_v_linear", "edm_epsilon");
    for (kind, change, parts) in [
        (
            ddpm,
            json!({"rescale_betas_zero_snr": true}),
            ["DDPMScheduler", "rescale_betas_zero_snr = true", "infinite"],
        ),
        (
            ddpm,
            json!({"prediction_type": "flow_prediction"}),
            ["DDPMScheduler", "flow_prediction", "epsilon, sample, v_prediction"],
        ),
        (ddpm, json!({"beta_schedule": "other"}), ["beta_schedule = other", "linear", "squaredcos_cap_v2"]),
        (ddpm, json!({"beta_end": 1.5}), ["beta = 1", "below 1", "scheduler_config.json"]),
        (
            ddpm,
            json!({"trained_betas": [0.1, 0.2]}),
            ["trained_betas = 2 numbers", "num_train_timesteps", "1000"],
        ),
        (ddpm, json!({"num_train_timesteps": "many"}), ["num_train_timesteps", "many", "usize"]),
        (ddpm, json!({"use_flow_sigmas": true}), ["use_flow_sigmas = true", "flows", "DDPMScheduler"]),
        (euler, json!({"timestep_type": "continuous"}), ["timestep_type = continuous", "discrete", "Euler"]),
        (edm, json!({"prediction_type": "sample"}), ["prediction_type = sample", "v_prediction", "EDMEuler"]),
        (edm, json!({"sigma_schedule": "beta"}), ["sigma_schedule = beta", "karras", "exponential"]),
        (edm, json!({"sigma_min": 100.0}), ["sigma", "100", "80"]),
        (
            ddpm,
            json!({"_class_name": "FlowMatchEulerDiscreteScheduler"}),
            ["FlowMatchEuler", "a flow", "DDIMScheduler"],
        ),
        (ddpm, json!({"_class_name": "LCMScheduler"}), ["LCMScheduler", "coefficients of its own", "DDPM"]),
    ] {
        let message = message(kind, change);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
}

fn ddpm() -> Translation {
    let steps = NoiseSteps::default();
    Translation::VariancePreserving { prediction_type: Prediction::Epsilon, sigma_data: 0.5, steps }
}

#[test]
fn an_adapted_network_is_told_no_angle_and_has_one_sigma_data() {
    let case = Case::read("ddpm_epsilon_linear");
    let Loaded { model, .. } = case.loaded;
    let with = |range: NoiseRange, parameterization| {
        let (network, params) = (model.network().clone(), model.params().clone());
        ConsistencyModel::with_parameterization(network, params, range, parameterization)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let range = model.noise_range();
    assert_eq!(with(range, Parameterization::Consistency), Ok(()));
    let angle = with(range, Parameterization::Trigflow).unwrap_err();
    assert!(angle.contains("trigflow") && angle.contains("1000 steps"), "{angle}");
    let other = with(NoiseRange { sigma_data: 0.6, ..range }, Parameterization::Edm).unwrap_err();
    assert!(other.contains("sigma_data = 0.5") && other.contains("0.6"), "{other}");
    assert!(!Parameterization::Edm.continues_as(Parameterization::Trigflow));

    let x = Value::from(case.golden.get("x"));
    let times = Tensor::ones(x.dims()[0], DType::F32, &Device::Cpu).unwrap();
    let c_noise = Value::dual(times.clone(), times).unwrap();
    let input = Input { x: &x, c_noise: &c_noise, class_labels: None, dropout: None, extra_embedding: None };
    let derivative = model.network().forward(&model.params().constants(), &input).unwrap_err().to_string();
    assert!(derivative.contains("derivative by the noise level"), "{derivative}");
}

/// The estimate does not depend on `sigma_data` of the coefficients around it.
#[test]
fn another_sigma_data_makes_the_same_estimate() {
    for name in ["ddpm_epsilon_linear", "ddpm_v_squaredcos", "ddpm_sample_scaled_linear"] {
        let case = Case::read(name);
        let model = &case.loaded.model;
        let NetworkConfig::Adapted(mut config) = model.network().config() else { panic!("not adapted") };
        config.translation = config.translation.with_sigma_data(0.25);
        let network = NetworkConfig::Adapted(config).build().unwrap();
        let range = NoiseRange { sigma_data: 0.25, ..model.noise_range() };
        let other = ConsistencyModel::with_parameterization(
            network,
            model.params().clone(),
            range,
            Parameterization::Edm,
        );
        let (got, expected) =
            (other.unwrap().f(case.golden.get("x"), &case.sigmas(), None).unwrap(), case.denoised());
        for idx in 0..got.dims()[0] {
            let (got, expected) = (got.get(idx).unwrap(), expected.get(idx).unwrap());
            assert_close(name, &got, &expected, 1e-4, largest([&expected]));
        }
    }
}

#[test]
fn networks_of_no_process_are_refused() {
    let message = |change: fn(&mut UNet2DConfig)| {
        let mut unet: UNet2DConfig = serde_json::from_value(json!({
            "sample_size": 8, "block_out_channels": [4], "norm_num_groups": 2, "layers_per_block": 1,
            "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "mid_block_type": null
        }))
        .unwrap();
        change(&mut unet);
        let config = ct_model::AdaptedConfig { unet, translation: ddpm() };
        Adapted::new(&config)
            .map(|network| network.sample_shape().to_vec())
            .map_err(|error| error.to_string())
    };
    assert_eq!(message(|_| ()), Ok(vec![3, 8, 8]));
    let odd = message(|unet| unet.out_channels = 5).unwrap_err();
    assert!(
        odd.contains("out_channels = 5") && odd.contains("6 for a network that also predicts a variance")
    );
    // A folder whose network is translated already has no place for a second translation.
    let case = Case::read("ddpm_epsilon_linear");
    let dir = tempfile::tempdir().unwrap();
    folder::save(dir.path(), &case.loaded.model, &Card::default()).unwrap();
    let scheduler = json!({"_class_name": "DDPMScheduler"}).to_string();
    folder::write_file(&dir.path().join("scheduler/scheduler_config.json"), scheduler.as_bytes()).unwrap();
    let twice = folder::load(dir.path(), &Device::Cpu).map(|_| ()).unwrap_err().to_string();
    assert!(twice.contains("DDPMScheduler") && twice.contains("CtAdaptedUNet2D"), "{twice}");
}

#[test]
fn estimates_do_not_depend_on_the_batch() {
    let case = Case::read("ddpm_v_squaredcos");
    let (all, x) = (case.denoised(), case.golden.get("x"));
    for (idx, sigma) in case.sigmas().into_iter().enumerate() {
        let one = case.loaded.model.denoise(&x.narrow(0, idx, 1).unwrap(), sigma, None).unwrap();
        assert_close("alone", &one.get(0).unwrap(), &all.get(idx).unwrap(), 1e-5, largest([&one]));
    }
}
