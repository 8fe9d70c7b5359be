//! Model folders on disk.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use ct_model::folder::{self, Card, FORMAT_VERSION, Loaded};
use ct_model::{Denoiser, NoiseRange, normal};
use ct_random::Purpose;
use serde_json::{Value as Json, json};

use crate::parameterization::{small_model, small_unet};

const RANGE: NoiseRange = NoiseRange { sigma_min: 0.005, sigma_max: 40.0, sigma_data: 0.6, rho: 7.0 };

fn saved() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    folder::save(dir.path(), &small_model(&small_unet(0.0), RANGE), &Card::default()).unwrap();
    dir
}

fn json(path: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn message(dir: &Path) -> String {
    folder::load(dir, &Device::Cpu).unwrap_err().to_string()
}

fn edit(dir: &Path, file: &str, key: &str, value: Json) {
    let path = dir.join(file);
    let mut json = json(&path);
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_model_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let model = small_model(&small_unet(0.0), RANGE);
    let card = Card { recipe: Some("ect".to_owned()), step: Some(7), ..Card::default() };
    folder::save(dir.path(), &model, &card).unwrap();
    let loaded = folder::load(dir.path(), &Device::Cpu).unwrap();
    assert_eq!((loaded.model.noise_range(), loaded.card), (RANGE, card));
    let x = normal(3, Purpose::Noise, 0, 0, 2, &[1, 8, 8], &Device::Cpu).unwrap();
    let values =
        |m: &dyn Denoiser| m.denoise(&x, 2.0, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&model), values(&loaded.model));
}

#[test]
fn the_files_are_those_of_a_diffusers_pipeline() {
    let dir = saved();
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pipeline_folder");
    assert_eq!(json(&dir.path().join("model_index.json")), json(&golden.join("model_index.json")));
    for file in ["scheduler/scheduler_config.json", "unet/config.json"] {
        let keys = |json: Json| {
            let mut keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(json(&dir.path().join(file))), keys(json(&golden.join(file))), "{file}");
    }
}

#[test]
fn a_folder_that_is_no_model_is_refused_with_the_reason() {
    let empty = tempfile::tempdir().unwrap();
    assert!(message(empty.path()).contains("not a model folder"));

    let dir = saved();
    edit(dir.path(), "ct.json", "format_version", json!(FORMAT_VERSION + 1));
    assert!(message(dir.path()).contains("newer release"));

    let dir = saved();
    edit(dir.path(), "unet/config.json", "down_block_types", json!(["KDownBlock2D", "DownBlock2D"]));
    let unknown = message(dir.path());
    assert!(unknown.contains("KDownBlock2D") && unknown.contains("SkipDownBlock2D"), "{unknown}");

    let dir = saved();
    edit(dir.path(), "unet/config.json", "_class_name", json!("UNet2DConditionModel"));
    assert!(message(dir.path()).contains("UNet2DConditionModel"));

    let dir = saved();
    edit(dir.path(), "unet/config.json", "resnet_time_scale_shift", json!("spatial"));
    assert!(message(dir.path()).contains("spatial"));

    let dir = saved();
    edit(dir.path(), "unet/config.json", "surprise", json!(1));
    assert!(message(dir.path()).contains("surprise"));
}

#[test]
fn a_scheduler_of_another_kind_is_refused_with_the_reason() {
    for (name, why) in [
        ("KarrasVeScheduler", "a score"),
        ("ScoreSdeVpScheduler", "a score"),
        ("FlowMatchEulerDiscreteScheduler", "a flow"),
        ("LCMScheduler", "coefficients of its own"),
        ("TCDScheduler", "coefficients of its own"),
        ("OtherScheduler", "CMStochasticIterativeScheduler"),
    ] {
        let dir = saved();
        edit(dir.path(), "scheduler/scheduler_config.json", "_class_name", json!(name));
        // Other schedulers have keys of these names with other types.
        edit(dir.path(), "scheduler/scheduler_config.json", "sigma_max", json!(null));
        let message = message(dir.path());
        assert!(message.contains(name) && message.contains(why), "{message}");
        assert!(folder::load_network(dir.path(), &Device::Cpu).is_ok(), "the network itself is fine");
    }
}

#[test]
fn what_stands_with_the_scheduler_is_kept() {
    let (first, second) = (saved(), tempfile::tempdir().unwrap());
    edit(first.path(), "scheduler/scheduler_config.json", "clip_denoised", json!(false));
    edit(first.path(), "scheduler/scheduler_config.json", "num_train_timesteps", json!(18));
    let Loaded { model, card } = folder::load(first.path(), &Device::Cpu).unwrap();
    assert_eq!((card.clip_denoised, card.num_train_timesteps), (false, 18));
    folder::save(second.path(), &model, &card).unwrap();
    let scheduler = json(&second.path().join("scheduler/scheduler_config.json"));
    assert_eq!((&scheduler["clip_denoised"], &scheduler["num_train_timesteps"]), (&json!(false), &json!(18)));
    assert_eq!(folder::load(second.path(), &Device::Cpu).unwrap().card, card);
}

#[test]
fn the_folder_of_the_network_alone_is_read() {
    let dir = saved();
    fs::remove_file(dir.path().join("model_index.json")).unwrap();
    assert!(folder::load(dir.path(), &Device::Cpu).is_ok(), "the index says nothing that the rest does not");
    let unet = dir.path().join("unet");
    let (network, _) = folder::load_network(&unet, &Device::Cpu).unwrap();
    assert_eq!(network.sample_shape(), [1, 8, 8]);
    assert!(message(&unet).contains("it has no scheduler/scheduler_config.json"));
    fs::copy(dir.path().join("scheduler/scheduler_config.json"), unet.join("scheduler_config.json")).unwrap();
    assert_eq!(folder::load(&unet, &Device::Cpu).unwrap().model.noise_range(), RANGE);
}

#[test]
fn weights_that_do_not_fit_are_listed() {
    let dir = saved();
    edit(dir.path(), "unet/config.json", "block_out_channels", json!([8, 24]));
    let message = message(dir.path());
    assert!(
        message.contains(
            "mid_block.resnets.0.conv1.weight: expected shape [24, 24, 3, 3], found [16, 16, 3, 3]"
        ),
        "{message}"
    );
    assert!(message.lines().count() > 20, "all problems at once");
}

#[test]
fn weights_cut_short_are_refused() {
    let dir = saved();
    let path = dir.path().join(folder::WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(dir.path()).contains("cut short"));
    fs::remove_file(&path).unwrap();
    let missing = message(dir.path());
    assert!(
        missing.contains("no weights") && missing.contains("diffusion_pytorch_model.safetensors"),
        "{missing}"
    );
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    folder::write_file(&path, b"old").unwrap();
    // A folder stands where the new file would be renamed to.
    let blocked = dir.path().join("blocked");
    fs::create_dir_all(blocked.join("inside")).unwrap();
    assert!(folder::write_file(&blocked, b"new").is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing half-written is left: {names:?}");
}
