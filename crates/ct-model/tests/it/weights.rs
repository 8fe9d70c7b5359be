//! Weights as people publish them, and files that are not what they seem.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ct_model::folder::{self, Card, WEIGHTS};
use ct_model::{ConsistencyModel, NoiseRange, Params};
use serde_json::json;

use crate::golden;
use crate::parameterization::{small_model, small_unet};

struct Saved {
    dir: tempfile::TempDir,
    params: Params,
}

impl Saved {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = small_model(&small_unet(0.0), NoiseRange::default());
        folder::save(dir.path(), &model, &Card::default()).unwrap();
        Self { dir, params: model.params().clone() }
    }

    fn weights(&self) -> PathBuf {
        self.dir.path().join(WEIGHTS)
    }

    /// The tensors, the file being taken away.
    fn take(&self) -> HashMap<String, Tensor> {
        let tensors = folder::read_tensors(&self.weights(), &Device::Cpu).unwrap();
        fs::remove_file(self.weights()).unwrap();
        tensors
    }

    fn write(&self, file: &str, tensors: &HashMap<String, Tensor>) {
        let path = self.weights().with_file_name(file);
        folder::write_tensors(&path, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
    }

    fn load(&self) -> Result<Params, String> {
        let loaded = folder::load(self.dir.path(), &Device::Cpu).map_err(|error| error.to_string())?;
        Ok(loaded.model.params().clone())
    }

    fn is_as_it_was(&self, tolerance: f64) {
        for ((name, got), (_, want)) in self.load().unwrap().iter().zip(self.params.iter()) {
            assert_eq!(got.dtype(), DType::F32);
            golden::assert_close(name, got, want, tolerance, golden::largest([want]));
        }
    }
}

fn pytorch(file: &str) -> PathBuf {
    golden::folder().join("pytorch_files").join(file)
}

fn refused(path: &Path) -> String {
    folder::read_weights(path, &Device::Cpu).unwrap_err().to_string()
}

#[test]
fn old_names_of_the_attention_are_understood() {
    let saved = Saved::new();
    let mut num_renamed = 0;
    let mut tensors = HashMap::new();
    let mut given: Vec<(String, Tensor)> = saved.take().into_iter().collect();
    given.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, tensor) in given {
        let old = [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ]
        .into_iter()
        .fold(name.clone(), |name, (new, old)| name.replace(new, old))
        .replace(".downsamplers.0.conv.", ".downsamplers.0.op.");
        num_renamed += usize::from(old != name);
        // Some files have a tensor under both names.
        if name == "down_blocks.0.downsamplers.0.conv.weight" {
            tensors.insert(name, tensor.clone());
        }
        tensors.insert(old, tensor);
    }
    // Four attentions with four maps of two tensors each, and the convolution of the downsampler.
    assert_eq!(num_renamed, 4 * 4 * 2 + 2);
    saved.write("diffusion_pytorch_model.safetensors", &tensors);
    saved.is_as_it_was(0.0);

    // Two that are not the same: one is too many, and it is not said which is right.
    let name = "down_blocks.0.downsamplers.0.conv.weight";
    let other = (&tensors[name] * 2.0).unwrap();
    tensors.insert(name.to_owned(), other);
    saved.write("diffusion_pytorch_model.safetensors", &tensors);
    assert!(
        saved.load().unwrap_err().contains("down_blocks.0.downsamplers.0.op.weight: not part of the network")
    );
}

#[test]
fn half_precision_is_read_as_single() {
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let saved = Saved::new();
        let to = |(name, tensor): (String, Tensor)| (name, tensor.to_dtype(dtype).unwrap());
        let tensors = saved.take().into_iter().map(to).collect();
        // The variant alone is enough.
        saved.write("diffusion_pytorch_model.fp16.safetensors", &tensors);
        saved.is_as_it_was(tolerance);
        saved.write("diffusion_pytorch_model.non_ema.safetensors", &tensors);
        assert!(saved.load().unwrap_err().contains("several weights"));
    }
}

#[test]
fn a_type_that_is_no_weights_type_is_refused() {
    let saved = Saved::new();
    let mut tensors = saved.take();
    let bias = tensors.get_mut("conv_in.bias").unwrap();
    *bias = bias.to_dtype(DType::I64).unwrap();
    saved.write("diffusion_pytorch_model.safetensors", &tensors);
    let message = saved.load().unwrap_err();
    assert!(
        message.contains("conv_in.bias: expected numbers of type f32, f16 or bf16, found i64"),
        "{message}"
    );
}

#[test]
fn missing_extra_and_misshapen_tensors_are_listed_at_once() {
    let saved = Saved::new();
    let mut tensors = saved.take();
    tensors.remove("conv_in.bias");
    let weight = tensors.get_mut("conv_out.weight").unwrap();
    *weight = weight.reshape((8, 1, 3, 3)).unwrap();
    tensors.insert("surprise".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    saved.write("diffusion_pytorch_model.safetensors", &tensors);
    let message = saved.load().unwrap_err();
    for line in [
        "conv_in.bias: missing, expected shape [8]",
        "conv_out.weight: expected shape [1, 8, 3, 3], found [8, 1, 3, 3]",
        "surprise: not part of the network, shape [3]",
    ] {
        assert!(message.contains(line), "{message}");
    }
}

#[test]
fn several_files_with_an_index_are_one() {
    let saved = Saved::new();
    let mut names: Vec<String> = saved.params.iter().map(|(name, _)| name.to_owned()).collect();
    let tensors = saved.take();
    let second = names.split_off(names.len() / 2);
    let files = [
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    ];
    let mut map = serde_json::Map::new();
    for (file, names) in files.into_iter().zip([&names, &second]) {
        let part = names.iter().map(|name| (name.clone(), tensors[name].clone())).collect();
        saved.write(file, &part);
        map.extend(names.iter().map(|name| (name.clone(), json!(file))));
    }
    let index = saved.weights().with_extension("safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        fs::write(&index, json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()).unwrap();
    };
    write(&map);
    saved.is_as_it_was(0.0);

    let mut changed = map.clone();
    changed.insert(names[0].clone(), json!(files[1]));
    changed.insert("ghost".to_owned(), json!(files[0]));
    write(&changed);
    let message = saved.load().unwrap_err();
    assert!(message.contains(&format!("ghost: not in {}", files[0])), "{message}");

    changed.insert("ghost".to_owned(), json!("../../secret.safetensors"));
    write(&changed);
    assert!(saved.load().unwrap_err().contains("no name of a file beside the index"));

    write(&map);
    fs::remove_file(saved.weights().with_file_name(files[1])).unwrap();
    assert!(saved.load().unwrap_err().contains("00002-of-00002.safetensors is missing"));
}

#[test]
fn a_safetensors_file_that_lies_is_refused() {
    let saved = Saved::new();
    let whole = fs::read(saved.weights()).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(saved.weights(), bytes).unwrap();
        saved.load().unwrap_err()
    };
    let header_len = |len: u64| [&len.to_le_bytes(), &whole[8..]].concat();
    let truth = u64::from_le_bytes(whole[..8].try_into().unwrap());

    assert!(with(&whole[..whole.len() - 1]).contains("bytes of numbers"), "one byte short");
    assert!(with(&[&whole[..], b"x"].concat()).contains("bytes of numbers"), "one byte more");
    assert!(with(&whole[..5]).contains("it has 5 bytes"));
    assert!(with(b"").contains("cut short"));
    // More than the file, more than memory, less than there is.
    for lie in [truth + (1 << 20), u64::MAX, u64::MAX - 7] {
        let message = with(&header_len(lie));
        assert!(message.contains(&format!("claims to have {lie} bytes")), "{message}");
    }
    assert!(with(&header_len(truth - 1)).contains("not a whole safetensors file"));
    assert!(with(&header_len(0)).contains("not a whole safetensors file"));

    // A header whose numbers do not agree: a shape that needs more than its place in the file, and one too large for any.
    for shape in ["[2]", "[4294967296,4294967296,4294967296]"] {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}"#);
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
        assert!(with(&bytes).contains("not a whole safetensors file"));
    }
}

#[test]
fn a_state_dict_of_pytorch_is_read() {
    for file in ["state_dict.pt", "checkpoint.pt"] {
        let tensors = folder::read_weights(&pytorch(file), &Device::Cpu).unwrap();
        assert_eq!(tensors.len(), 6, "{file}");
        let values = |name: &str| -> Vec<f64> {
            tensors[name].to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let eighths =
            |range: std::ops::RangeInclusive<u32>| range.map(|i| f64::from(i) / 8.0).collect::<Vec<_>>();
        assert_eq!((tensors["weight"].dims(), values("weight")), (&[2, 3][..], eighths(1..=6)));
        assert_eq!((tensors["bias"].dims(), values("bias")), (&[2][..], eighths(1..=2)));
        assert_eq!((tensors["half"].dtype(), values("half")), (DType::F16, eighths(1..=4)));
        assert_eq!((tensors["brain"].dtype(), values("brain")), (DType::BF16, eighths(1..=4)));
        assert_eq!((tensors["part"].dims(), values("part")), (&[2, 4][..], eighths(5..=12)));
        assert_eq!(values("parameter"), eighths(1..=5));
    }
}

#[test]
fn a_model_folder_can_hold_a_state_dict_of_pytorch() {
    let saved = Saved::new();
    fs::remove_file(saved.weights()).unwrap();
    let place = saved.weights().with_extension("bin");
    fs::copy(pytorch("state_dict.pt"), &place).unwrap();
    // It is read, and found to be that of another network.
    let message = saved.load().unwrap_err();
    assert!(message.contains("part: not part of the network, shape [2, 4]"), "{message}");
    fs::copy(pytorch("calls.pt"), &place).unwrap();
    assert!(saved.load().unwrap_err().contains("posix.system"));
}

#[test]
fn a_pickle_that_wants_to_run_code_is_refused_and_nothing_runs() {
    let message = refused(&pytorch("calls.pt"));
    assert!(
        message.contains("wants to call posix.system") && message.contains("nothing was run"),
        "{message}"
    );
    assert!(!Path::new("ran").exists(), "the program that the pickle names was run");
}

#[test]
fn what_is_no_state_dict_is_refused() {
    assert!(refused(&pytorch("whole_numbers.pt")).contains("weight: its numbers are of a type"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("diffusion_pytorch_model.bin");
    let bytes = fs::read(pytorch("state_dict.pt")).unwrap();
    for part in [&bytes[..bytes.len() / 2], b"\x80\x02cposix\nsystem\nX\x09\x00\x00\x00touch ran\x85R.", b""]
    {
        fs::write(&path, part).unwrap();
        assert!(refused(&path).contains("not a whole file of PyTorch 1.6 or later"));
    }
    assert!(!Path::new("ran").exists());
}

/// The places of numbers in a file are claims like any other.
#[test]
fn a_pickle_that_lies_about_its_tensors_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lies.pt");
    let bytes = fs::read(pytorch("whole_numbers.pt")).unwrap();
    // The tensor has shape (3,): BININT1 3, TUPLE1, then the memo. The program is not compressed.
    let shape = [b'K', 3, 0x85];
    let at = bytes.windows(3).position(|window| window == shape).unwrap();
    let mut lying = bytes;
    lying[at + 1] = 200;
    fs::write(&path, lying).unwrap();
    let message = refused(&path);
    // Either the checksum of the archive or the check of the claims finds it.
    assert!(message.contains("as no tensor can be") || message.contains("not a whole"), "{message}");
}

/// A checkpoint of openai's `cm` has names of its own, and one matrix for queries, keys and values.
#[test]
fn checkpoints_of_openai_give_the_same_outputs() {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "openai_names", "case.safetensors"].iter().collect();
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let mut take = |name: &str| tensors.remove(name).unwrap();
    let (sample, timestep) = (take("in.sample"), take("in.timestep"));
    let (labels, expected) = (take("in.class_labels"), take("out.sample"));
    let dir = tempfile::tempdir().unwrap();
    let (config, weights) = (dir.path().join("config.json"), dir.path().join("cm.safetensors"));
    folder::write_tensors(&weights, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
    let described = json!({
        "_class_name": "UNet2DModel",
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "num_class_embeds": 5,
        "block_out_channels": [8, 16],
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "attn_norm_num_groups": 4,
        "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    });
    fs::write(&config, described.to_string()).unwrap();
    let (network, params) = folder::load_network_file(&config, &weights, &Device::Cpu).unwrap();
    let model = ConsistencyModel::new(network, params, NoiseRange::default()).unwrap();
    let labels = labels.to_dtype(DType::U32).unwrap().to_vec1::<u32>().unwrap();
    let found = model.raw(&sample, &timestep, Some(&labels)).unwrap();
    let largest = |x: &Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let off = largest(&(found - &expected).unwrap()) / largest(&expected);
    assert!(off < 1e-4, "off by {off}");

    tensors.remove("middle_block.1.qkv.weight");
    folder::write_tensors(&weights, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
    let error = folder::load_network_file(&config, &weights, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("mid_block.attentions.0.to_q.weight: missing"), "{error}");
}
