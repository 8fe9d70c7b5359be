//! LPIPS against recordings of PyTorch: few channels, random weights.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Tape, Value};
use ct_model::{Lpips, folder};

use crate::golden::{Golden, assert_close, largest};

const CASES: [&str; 2] = ["lpips_alexnet", "lpips_vgg16"];

fn write(path: &Path, tensors: &HashMap<String, Tensor>) {
    folder::write_tensors(path, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
}

fn load(tensors: &HashMap<String, Tensor>) -> Result<Lpips, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lpips.safetensors");
    write(&path, tensors);
    Lpips::load(&path, &Device::Cpu).map_err(|error| error.to_string())
}

fn close(what: &str, got: &[f64], expected: &Tensor, tolerance: f64) {
    let got = Tensor::new(got, &Device::Cpu).unwrap();
    assert_close(what, &got, expected, tolerance, largest([expected]));
}

#[test]
fn distances_and_gradients_are_those_of_pytorch() {
    for case in CASES {
        let golden = Golden::read(case);
        let lpips = load(&golden.below("weights.")).unwrap();
        for (name, dtype) in [("f32", DType::F32), ("f64", DType::F64)] {
            let what = |part: &str| format!("{case}, {part} in {name}");
            let tolerance = golden.note("tolerances")[name].as_f64().unwrap();
            let lpips = lpips.to_dtype(dtype).unwrap();
            let get = |name: &str| golden.get(name).to_dtype(dtype).unwrap();
            let each = lpips.distances(&get("x"), &get("y")).unwrap();
            close(&what("distances"), &each, golden.get("distances"), tolerance);
            let gray = lpips.distances(&get("gray_x"), &get("gray_y")).unwrap();
            close(&what("gray"), &gray, golden.get("gray_distances"), tolerance);

            let tape = Tape::new();
            let weights = golden.get("sample_weights").to_vec1::<f64>().unwrap();
            let loss = lpips.loss(&tape.leaf(&get("x")), &get("y"), &weights).unwrap();
            assert!(loss.dims().is_empty());
            let loss_scale = largest([golden.get("loss")]);
            assert_close(&what("loss"), loss.tensor(), golden.get("loss"), tolerance, loss_scale);
            let gradient = tape.backward(&loss).unwrap().take(0).unwrap();
            let scale = largest([golden.get("gradient")]);
            assert_close(&what("gradient"), &gradient, golden.get("gradient"), tolerance, scale);
        }
    }
}

#[test]
fn an_image_is_no_distance_from_itself() {
    for case in CASES {
        let golden = Golden::read(case);
        let lpips = load(&golden.below("weights.")).unwrap();
        let x = golden.get("x");
        assert_eq!(lpips.distances(x, x).unwrap(), [0.0, 0.0]);
        let tape = Tape::new();
        let loss = lpips.loss(&tape.leaf(x), x, &[1.0, 1.0]).unwrap();
        assert_eq!(loss.tensor().to_scalar::<f32>().unwrap().to_bits(), 0);
        assert_eq!(largest([&tape.backward(&loss).unwrap().take(0).unwrap()]).to_bits(), 0);
        let y = golden.get("y");
        assert_eq!(lpips.distances(x, y).unwrap(), lpips.distances(y, x).unwrap());
    }
}

/// Backward and forward mode against central differences, in f64, along a few directions.
#[test]
fn derivatives_are_those_of_central_differences() {
    const STEP: f64 = 1e-6;
    for case in CASES {
        let golden = Golden::read(case);
        let lpips = load(&golden.below("weights.")).unwrap().to_dtype(DType::F64).unwrap();
        let get = |name: &str| golden.get(name).to_dtype(DType::F64).unwrap();
        let (x, y) = (get("gray_x"), get("gray_y"));
        let loss = |x: &Value| lpips.loss(x, &y, &[0.3, 1.1]).unwrap();
        let at = |x: Tensor| loss(&x.into()).tensor().to_scalar::<f64>().unwrap();
        let tape = Tape::new();
        let gradient = tape.backward(&loss(&tape.leaf(&x))).unwrap().take(0).unwrap();
        for direction in [y.clone(), x.sqr().unwrap(), (&x * &y).unwrap()] {
            let ahead = at((&x + (&direction * STEP).unwrap()).unwrap());
            let behind = at((&x - (&direction * STEP).unwrap()).unwrap());
            let expected = (ahead - behind) / (2.0 * STEP);
            let by_gradient =
                (&gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let tangent = loss(&Value::dual(x.clone(), direction).unwrap()).tangent().unwrap().clone();
            let tangent = tangent.to_scalar::<f64>().unwrap();
            // The rounding of the loss, over the step.
            assert!((by_gradient - expected).abs() < 1e-8, "{case}: {by_gradient}, expected {expected}");
            assert!((tangent - by_gradient).abs() < 1e-12, "{case}: {tangent}, expected {by_gradient}");
        }
    }
}

#[test]
fn images_are_enlarged_until_they_fit() {
    let golden = Golden::read("lpips_vgg16");
    let lpips = load(&golden.below("weights.")).unwrap();
    let large = |name: &str| {
        let gray = golden.get(name);
        gray.upsample_nearest2d(32, 32).unwrap()
    };
    let of_small =
        lpips.clone().with_min_side(30).distances(golden.get("gray_x"), golden.get("gray_y")).unwrap();
    assert_eq!(of_small, lpips.distances(&large("gray_x"), &large("gray_y")).unwrap());
    assert_ne!(of_small, lpips.distances(golden.get("gray_x"), golden.get("gray_y")).unwrap());
}

#[test]
fn wrong_images_are_refused() {
    let lpips = load(&Golden::read("lpips_vgg16").below("weights.")).unwrap();
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let refused = |x: &[usize], y: &[usize]| lpips.distances(&zeros(x), &zeros(y)).unwrap_err().to_string();
    assert!(refused(&[1, 2, 16, 16], &[1, 2, 16, 16]).contains("1 or 3 channels"));
    assert!(refused(&[3, 16, 16], &[3, 16, 16]).contains("got [3, 16, 16]"));
    assert!(refused(&[1, 3, 16, 16], &[1, 3, 16, 17]).contains("expected shape [1, 3, 16, 16]"));
    assert!(refused(&[1, 3, 0, 4], &[1, 3, 0, 4]).contains("got"));
    assert!(lpips.loss(&zeros(&[2, 3, 16, 16]).into(), &zeros(&[2, 3, 16, 16]), &[1.0]).is_err());
}

#[test]
fn wrong_files_are_refused() {
    let good = Golden::read("lpips_vgg16").below("weights.");
    let with = |name: &str, tensor: Option<Tensor>| {
        let mut tensors = good.clone();
        tensors.remove(name);
        tensors.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        load(&tensors).unwrap_err()
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let error = with("VGG16_0.Conv_0.kernel", None);
    assert!(error.contains("no LPIPS network"), "{error}");
    let error = with("VGG16_0.Conv_2.kernel", Some(zeros(&[3, 3, 7, 2])));
    assert!(
        error.contains("VGG16_0.Conv_2.kernel: expected shape [3, 3, 3, 0], found [3, 3, 7, 2]"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "one problem is told once: {error}");
    let error = with("NetLinLayer_4.Conv_0.kernel", None);
    assert!(error.contains("NetLinLayer_4.Conv_0.kernel: missing"), "{error}");
    let error = with("NetLinLayer_0.Conv_0.kernel", Some((zeros(&[1, 1, 3, 1]) - 1.0).unwrap()));
    assert!(error.contains("a weight is below 0"), "{error}");
    let error = with("fc.kernel", Some(zeros(&[2])));
    assert!(error.contains("fc.kernel: not part of the network"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lpips.safetensors");
    assert!(Lpips::load(&path, &Device::Cpu).unwrap_err().to_string().contains("lpips.safetensors"));
    write(&path, &good);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Lpips::load(&path, &Device::Cpu).unwrap_err().to_string().contains("cut short"));
}
