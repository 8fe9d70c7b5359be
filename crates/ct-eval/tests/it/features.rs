//! Feature networks: what is embedded, and the architecture against a recording of PyTorch.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ct_data::{LoadOptions, Source, Split};
use ct_eval::{Error, Features, SmallCnn};
use sha2::{Digest as _, Sha256};

const DIGITS: &str = "a5c3d6ee6b25908bdb42c91f6a3b0f8b7ef2541b0c3b992c3170b259e42905f2";
const FASHION: &str = "9d4590f7207c4c6c45b9cd1de0517a0c2349d1e08047f925e435824060168fca";

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data", name].iter().collect()
}

fn golden() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "efficientnet", "case.safetensors"].iter().collect()
}

fn features(network: &Features, x: &Tensor) -> Vec<f32> {
    let found = network.of(x, &mut |_| ()).unwrap();
    assert_eq!((found.len(), found.dim()), (x.dims()[0], network.dim()));
    found.rows().flatten().copied().collect()
}

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

#[test]
fn embedded_weights_are_those_that_figures_were_made_with() {
    for (name, hash, shape) in [("digits", DIGITS, [1, 8, 8]), ("fashion", FASHION, [1, 28, 28])] {
        let path = data(&format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() < 200_000, "{name}: {} bytes", bytes.len());
        let found = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        assert_eq!(found, hash, "{name}");
        let embedded = Features::embedded(&shape).unwrap().unwrap();
        assert_eq!(embedded.name(), name);
        // The file and the binary hold the same network.
        let x = Tensor::arange(0f32, shape.iter().product::<usize>() as f32, &Device::Cpu).unwrap();
        let x = (x.reshape((1, 1, shape[1], shape[2])).unwrap() / 1000.0).unwrap();
        assert_eq!(features(&embedded, &x), features(&Features::load(&path).unwrap(), &x));
    }
    assert!(Features::embedded(&[3, 8, 8]).unwrap().is_none());
    assert!(Features::embedded(&[2]).unwrap().is_none());
}

#[test]
fn the_classifier_of_digits_reads_digits_it_has_not_seen() {
    let test = Source::Digits.load(&LoadOptions { split: Split::Test, ..LoadOptions::default() }).unwrap();
    let x = test.tensor(&(0..test.len()).collect::<Vec<_>>()).unwrap();
    let Some(Features::Small(network)) = Features::embedded(&[1, 8, 8]).unwrap() else { unreachable!() };
    let best = network.scores(&x).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap();
    let right = best.iter().zip(test.labels().unwrap()).filter(|(best, label)| best == label).count();
    // The notice beside the file says how many were right when it was made; less than 95 in 100 is another network.
    assert!(right * 100 > test.len() * 95, "{right} of {}", test.len());
}

#[test]
fn features_do_not_depend_on_the_batch() {
    let network = Features::embedded(&[1, 8, 8]).unwrap().unwrap();
    let x =
        Source::Digits.load(&LoadOptions::default()).unwrap().tensor(&(0..130).collect::<Vec<_>>()).unwrap();
    let together = features(&network, &x);
    let alone = features(&network, &x.narrow(0, 97, 1).unwrap());
    let row = &together[97 * network.dim()..][..network.dim()];
    for (together, alone) in row.iter().zip(&alone) {
        // The order of additions may depend on the size of the batch.
        assert!((together - alone).abs() < 1e-4, "{together} and {alone}");
    }
    let mut done = Vec::new();
    network.of(&x, &mut |num| done.push(num)).unwrap();
    assert_eq!(done, [64, 128, 130]);
}

#[test]
fn a_file_of_weights_is_read_back_as_it_was_rounded() {
    let dir = std::env::temp_dir().join(format!("ct-eval-features-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let network = SmallCnn::new("noise", 12, 3).unwrap();
    assert_eq!(network.to_bytes().unwrap(), network.to_bytes().unwrap());
    let path = dir.join("small.safetensors");
    std::fs::write(&path, network.to_bytes().unwrap()).unwrap();
    let loaded = Features::load(&path).unwrap();
    assert_eq!((loaded.name(), loaded.dim()), ("noise", 64));
    let x = Tensor::full(0.25f32, (2, 1, 12, 12), &Device::Cpu).unwrap();
    assert_eq!(features(&loaded, &x), features(&Features::Small(network.rounded().unwrap()), &x));
    assert!(matches!(loaded.check(&[1, 8, 8]), Err(Error::Images { .. })));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn efficientnet_computes_what_pytorch_does() {
    let tensors = load(&golden());
    let network = Features::load(&golden()).unwrap();
    assert_eq!((network.name(), network.dim()), ("efflite0", 12));
    for name in ["square", "odd"] {
        let found = features(&network, &tensors[&format!("input.{name}")]);
        let wanted = &tensors[&format!("features.{name}")].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // As the golden file says.
        let tolerance = 1e-4 * wanted.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert_eq!(found.len(), wanted.len());
        for (idx, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert!((found - wanted).abs() < tolerance, "{name} {idx}: {found} for {wanted}");
        }
    }
    // Gray images are taken as colour ones with three equal channels.
    let gray = tensors["input.square"].narrow(1, 0, 1).unwrap();
    let colour = gray.broadcast_as((2, 3, 32, 32)).unwrap();
    assert_eq!(features(&network, &gray), features(&network, &colour));
}

#[test]
fn files_that_are_no_feature_network_are_named() {
    let dir = std::env::temp_dir().join(format!("ct-eval-wrong-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("wrong.safetensors");
    let refused = |piece: &str| {
        let message = Features::load(&path).unwrap_err().to_string();
        assert!(message.contains("wrong.safetensors") && message.contains(piece), "{message}");
    };
    refused("cannot read");
    std::fs::write(&path, b"no weights").unwrap();
    refused("no safetensors file");
    let save = |tensors: &HashMap<String, Tensor>| candle_core::safetensors::save(tensors, &path).unwrap();
    save(&HashMap::from([("x".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap())]));
    refused("holds no network that is known");

    let mut tensors = load(&golden());
    tensors.remove("_blocks.10._bn2.bias");
    save(&tensors);
    refused("no tensor `_blocks.10._bn2.bias`");
    let mut tensors = load(&golden());
    let narrow = tensors["_blocks.3._project_conv.weight"].narrow(1, 0, 5).unwrap().contiguous().unwrap();
    tensors.insert("_blocks.3._project_conv.weight".to_owned(), narrow);
    save(&tensors);
    refused("`_blocks.3._project_conv.weight` has shape [8, 5, 1, 1], expected [8, 12, 1, 1]");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn inception_is_that_of_pytorch_fid() {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "inception", "case.safetensors"].iter().collect();
    let golden = load(&path);
    let network = Features::load(&path).unwrap();
    assert_eq!((network.name(), network.dim()), ("inception", 128));
    let found = features(&network, &golden["input"]);
    let expected: Vec<f32> = golden["features"].flatten_all().unwrap().to_vec1().unwrap();
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() < 1e-4 * largest, "feature {index}: {found} for {expected}");
    }
    assert!(network.check(&[3, 1, 1]).is_ok() && network.check(&[2]).is_err());
}

#[test]
fn only_the_distance_in_inception_is_called_fid() {
    use ct_eval::{Metric, Samples, Settings, Space, evaluate};
    let rows = Samples::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 1).unwrap();
    let name = |space: &str| {
        let space = Space::Features(space.to_owned());
        let report = evaluate(&rows, &rows, &[Metric::Frechet], &space, &Settings::default()).unwrap();
        report.figures[0].name.clone()
    };
    assert_eq!((name("inception").as_str(), name("efflite0").as_str()), ("FID", "FD-efflite0"));
}
