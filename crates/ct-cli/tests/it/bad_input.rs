//! What people get wrong, each with its message and exit code 2.

use crate::{DIGITS, Place, TOY, pattern};

/// An IDX file of `num` images of 4x4.
fn idx(num: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, num, 0, 0, 0, 4, 0, 0, 0, 4];
    bytes.extend((0..16 * u32::from(num)).map(pattern));
    bytes
}

fn train_on(place: &Place, preset: &str, data: &str) -> crate::Answer {
    place.ct(&["train", preset, "--data", data, "--dry-run"])
}

#[test]
fn data_that_is_not_there() {
    let place = Place::new();
    train_on(&place, "icons", "folder:nowhere").failed(2, &["nowhere not found", "folder of pictures"]);
    train_on(&place, "fashion", "idx:nowhere").failed(2, &["nowhere not found"]);
    train_on(&place, "digits", "digitz")
        .failed(2, &["unknown data source `digitz`", "did you mean `digits`?"]);
    place.ct(&["train", "fashion"]).failed(2, &["no data", "--data"]);
    std::fs::create_dir(place.path().join("empty")).unwrap();
    train_on(&place, "icons", "folder:empty").failed(2, &["no pictures in empty"]);
    assert!(!place.exists("runs"));
}

#[test]
fn pictures_that_cannot_be_read() {
    let place = Place::new();
    place.write("pictures/bad.png", b"\x89PNG\r\n\x1a\nand no more");
    train_on(&place, "icons", "folder:pictures").failed(2, &["none of the 1 pictures", "bad.png"]);
    place.write_pictures("pictures", 8);
    let answer = train_on(&place, "icons", "folder:pictures").ok();
    assert!(
        answer.err.contains("1 of the files could not be read") && answer.err.contains("bad.png: "),
        "{answer:?}"
    );
    for i in 0..12 {
        place.write(&format!("pictures/bad-{i:02}.png"), "");
    }
    let answer = train_on(&place, "icons", "folder:pictures").ok();
    // Some of them may belong to the part that is held out.
    assert!(answer.err.lines().count() <= 12, "not all files are named: {answer:?}");
    train_on(&place, "digits", "folder:pictures").failed(2, &["need a size", "--set data.size=32"]);
}

#[test]
fn idx_files_that_are_damaged() {
    let place = Place::new();
    place.write("images-idx3-ubyte", [b"\x1f\x00\x08\x03", &idx(3)[4..]].concat());
    train_on(&place, "fashion", "idx:images-idx3-ubyte")
        .failed(2, &["images-idx3-ubyte is not an IDX file", "00 00 08"]);
    place.write("images-idx3-ubyte", &idx(3)[..40]);
    train_on(&place, "fashion", "idx:images-idx3-ubyte")
        .failed(2, &["images-idx3-ubyte", "40 bytes, expected 64"]);
    place.write("images-idx3-ubyte", idx(3));
    train_on(&place, "fashion", "idx:images-idx3-ubyte").ok();
}

#[test]
fn settings_that_are_wrong() {
    let place = Place::new();
    for (setting, pieces) in [
        ("train.setps=5", &["unknown key `train.setps` in --set", "did you mean `train.steps`?"][..]),
        ("steps=5", &["unknown key `steps` in --set", "did you mean `train.steps`?"]),
        ("train.lr=-1", &["train.lr = -1 (set in --set) is out of range: it must be finite, above 0"]),
        ("train.steps=0", &["train.steps = 0 (set in --set) is out of range: it must be at least 1"]),
        ("train.steps=many", &["train.steps = \"many\" (set in --set): invalid type"]),
        ("train.recipe=icd", &["train.recipe = \"icd\" (set in --set): unknown variant", "`ict`"]),
        ("train.ect.p_std=0", &["train.ect.p_std = 0 (set in --set) is out of range"]),
        (
            "noise.sigma_min=90",
            &["noise.sigma_min = 90 (set in --set)", "below noise.sigma_max = 20 (set in preset digits)"],
        ),
        ("checkpoint.keep=0", &["checkpoint.keep = 0 (set in --set) is out of range: it must be at least 1"]),
        ("metrics.every_steps=0", &["metrics.every_steps = 0 (set in --set) is out of range"]),
        ("sample.two_step_sigma=99", &["sample.two_step_sigma = 99 (set in --set) is out of range"]),
        ("model.unet.in_channels=3", &["model.unet.in_channels (set in --set)", "[1, 8, 8]"]),
        ("model.unet.norm_num_groups=7", &["model.unet.norm_num_groups = 7 (set in --set): must divide"]),
        ("model.unet.down_block_types=[\"Down\"]", &["model.unet.down_block_types"]),
        ("model.kind=mlp", &["model.kind = \"mlp\" (set in --set) is for vectors"]),
        ("data.size=0", &["image size 0x0"]),
        ("data.channels=2", &["2 channels, expected 1"]),
        ("train", &["expected key=value"]),
    ] {
        place.ct(&["train", "digits", "--set", setting]).failed(2, pieces);
    }
    assert!(!place.exists("runs"), "nothing is written before everything is checked");
}

#[test]
fn presets_files_and_arguments_that_are_wrong() {
    let place = Place::new();
    place.ct(&["train", "digit"]).failed(2, &["unknown preset `digit`", "did you mean `digits`?"]);
    place.ct(&["train", "zebra"]).failed(2, &["digits, toy, fashion, icons, icons-gpu"]);
    place.ct(&["train"]).failed(2, &["PRESET"]);
    place.ct(&["train", "--config", "no.toml"]).failed(2, &["cannot read --config no.toml"]);
    place.write("my.toml", "[train]\nsteps = ");
    place.ct(&["train", "--config", "my.toml"]).failed(2, &["my.toml is not valid TOML"]);
    place.write("my.toml", "[train]\nsetps = 5");
    place.ct(&["train", "--config", "my.toml"]).failed(2, &["unknown key `train.setps` in my.toml"]);
    place.ct(&["train", "digits", "--device", "gpu"]).failed(2, &["--device", "cuda:N"]);
    place.ct(&["train", "digits", "--threads", "0"]).failed(2, &["--threads"]);
    place.ct(&["tarin", "digits"]).failed(2, &["train"]);
    if !candle_core::utils::cuda_is_available() {
        let pieces = ["built without CUDA", "--device cpu", "--features cuda"];
        place.ct(&["train", "digits", "--device", "cuda"]).failed(2, &pieces);
    } else if candle_core::Device::new_cuda_with_stream(0).is_err() {
        place.ct(&["train", "digits", "--device", "cuda"]).failed(2, &["no CUDA device", "--device cpu"]);
    }
}

#[test]
fn output_folders_that_exist() {
    let place = Place::new();
    place.write("other/notes.txt", "mine");
    let into = |out: &str| place.ct(&[TOY, &["--out", out]].concat());
    into("other").failed(2, &["other is there already and holds no run", "--out"]);
    into("other/notes.txt").failed(2, &["holds no run"]);
    place.ct(&[TOY, &["--out", "run", "--stop-after", "5"]].concat()).ok();
    into("run").failed(2, &["run holds an unfinished run (step 5 of 10)", "ct train --resume run"]);
    place.ct(&["train", "--resume", "run"]).ok();
    into("run").failed(2, &["run holds a finished run of 10 steps", "run/samples", "--out"]);
    // A finished run draws its pictures again.
    place.ct(&["train", "--resume", "run"]).ok();
    place.ct(&["train", "--resume", "other"]).failed(2, &["not a run folder"]);
    place.ct(&["train", "--resume", "nowhere"]).failed(2, &["nowhere not found"]);
    std::fs::create_dir(place.path().join("empty")).unwrap();
    into("empty").ok();
}

#[test]
fn models_that_are_damaged() {
    let place = Place::new();
    place.ct(&[TOY, &["--out", "run"]].concat()).ok();
    let model = "run/checkpoints/step-00000010/ema-0.999";
    let sample = || place.ct(&["sample", "--model", model, "--num", "4"]);

    place.replace(&format!("{model}/unet/config.json"), "\"hidden_dim\": 8", "\"hidden_dim\": 16");
    sample().failed(2, &["do not fit", "linear_in.weight: expected shape [16, 2], found [8, 2]"]);
    place.replace(&format!("{model}/unet/config.json"), "\"hidden_dim\": 16", "\"hidden_dim\": 8");
    sample().ok();
    place.replace(&format!("{model}/ct.json"), "\"format_version\": 1", "\"format_version\": 99");
    sample().failed(2, &["format version 99", "update ct"]);
    place.replace(&format!("{model}/ct.json"), "\"format_version\": 99", "\"format_version\": 1");
    place.cut_short(&format!("{model}/unet/diffusion_pytorch_model.safetensors"));
    sample().failed(2, &["not a whole safetensors file"]);
    place.ct(&["sample", "--model", "nowhere"]).failed(2, &["nowhere not found"]);
}

#[test]
fn a_network_for_other_data_is_not_resumed() {
    let place = Place::new();
    place.ct(&[DIGITS, &["--out", "run", "--stop-after", "2"]].concat()).ok();
    place
        .ct(&["train", "--resume", "run", "--set", "model.unet.block_out_channels=[8, 16]"])
        .failed(2, &["do not fit"]);
}
