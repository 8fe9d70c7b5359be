//! CIFAR-10's binary version, on files written here.

use std::fs;
use std::path::Path;

use ct_data::{Error, LoadOptions, Split};

use crate::{load, load_error, split, values};

const RECORD: usize = 3073;

/// A file with one image for each label: red plane `base`, green `base + 1`, blue ramp.
fn write(path: &Path, base: u8, labels: &[u8]) {
    let mut bytes = Vec::new();
    for &label in labels {
        bytes.push(label);
        bytes.extend([base; 1024]);
        bytes.extend([base + 1; 1024]);
        bytes.extend((0..1024).map(|i| (i % 32) as u8));
    }
    fs::write(path, bytes).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data_batch_2.bin"), 20, &[3, 4]);
    write(&folder.path().join("data_batch_1.bin"), 10, &[0, 1, 2]);
    write(&folder.path().join("test_batch.bin"), 30, &[9]);
    fs::write(folder.path().join("batches.meta.txt"), "ignored").unwrap();
    folder
}

#[test]
fn reads_the_files_of_each_split_in_order() {
    let folder = folder();
    for (which, labels) in
        [(Split::Train, &[0, 1, 2, 3, 4][..]), (Split::Test, &[9]), (Split::All, &[0, 1, 2, 3, 4, 9])]
    {
        let data = load("cifar10", folder.path(), &split(which)).unwrap();
        assert_eq!(data.labels(), Some(labels));
        assert_eq!(data.sample_shape(), [3, 32, 32]);
        assert_eq!(data.num_classes(), Some(10));
        assert!(data.flip_allowed());
    }
    let data = load("cifar10", folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(data.class_names().unwrap()[9], "truck");
    let x = values(&data, &[3]);
    let byte = |v: u8| (f64::from(v) * 2.0 / 255.0 - 1.0) as f32;
    assert_eq!((x[0], x[1024], x[2048], x[2048 + 31]), (byte(20), byte(21), -1.0, byte(31)));
}

#[test]
fn reads_single_files_and_their_test_file() {
    let folder = folder();
    let file = folder.path().join("data_batch_2.bin");
    assert_eq!(load("cifar10", &file, &LoadOptions::default()).unwrap().len(), 2);
    assert_eq!(load("cifar10", &file, &split(Split::Test)).unwrap().labels(), Some(&[9][..]));
}

#[test]
fn resizes_and_grays_on_request() {
    let folder = folder();
    let options = LoadOptions { size: Some([16, 16]), channels: Some(1), ..LoadOptions::default() };
    let data = load("cifar10", folder.path(), &options).unwrap();
    assert_eq!((data.len(), data.sample_shape()), (5, &[1, 16, 16][..]));
}

#[test]
fn damaged_files_are_refused() {
    let folder = folder();
    let file = folder.path().join("data_batch_1.bin");
    for length in [0, 1, RECORD - 1, RECORD + 1] {
        fs::write(&file, vec![0; length]).unwrap();
        let (error, message) = load_error("cifar10", folder.path(), &LoadOptions::default());
        assert!(matches!(error, Error::CifarLength { found, .. } if found == length as u64));
        assert!(message.contains("data_batch_1.bin") && message.contains("3073"), "{message}");
    }
    write(&file, 0, &[0, 10]);
    let (error, message) = load_error("cifar10", folder.path(), &LoadOptions::default());
    assert!(matches!(error, Error::BadLabel { index: 1, label: 10, .. }), "{message}");
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    for (which, name) in [(Split::Train, "data_batch_1.bin"), (Split::Test, "test_batch.bin")] {
        let (error, message) = load_error("cifar10", empty.path(), &split(which));
        assert!(matches!(error, Error::NotFound { .. }) && message.contains(name), "{message}");
    }
    let nowhere = empty.path().join("nowhere");
    let (error, message) = load_error("cifar10", &nowhere, &LoadOptions::default());
    assert!(matches!(error, Error::NotFound { .. }) && message.contains("nowhere"), "{message}");
}
