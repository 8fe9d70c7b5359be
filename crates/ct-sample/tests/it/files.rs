use candle_core::{DType, Device, Tensor};
use ct_sample::{Error, grid, save_png, save_tensors};

#[test]
fn samples_and_levels_are_written_as_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.safetensors");
    let samples = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((2, 6)).unwrap();
    // Not contiguous, as a sampler may hand it over.
    let samples = samples.t().unwrap();
    save_tensors(&path, &samples, &[80.0, 0.821]).unwrap();
    let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read["samples"].to_vec2::<f32>().unwrap(), samples.to_vec2::<f32>().unwrap());
    assert_eq!(read["sigmas"].dtype(), DType::F64);
    assert_eq!(read["sigmas"].to_vec1::<f64>().unwrap(), [80.0, 0.821]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left behind");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("occupied");
    std::fs::write(&file, "not a folder").unwrap();
    let path = file.join("grid.png");
    let x = Tensor::zeros((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    let error = save_png(&grid(&x, 1, 0, 1).unwrap(), &path).unwrap_err();
    assert!(matches!(error, Error::File(_)));
    assert!(error.to_string().contains("occupied"), "{error}");
    assert!(matches!(save_tensors(&path, &x, &[1.0]), Err(Error::File(_))));
}
