//! IDX files, written here.

use std::fs;
use std::io::Write;
use std::path::Path;

use ct_data::{Error, LoadOptions, Split};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{load, load_error, split, values};

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three training images of 2x3 pixels and one for testing; `pack` may compress the files.
fn write_mnist(folder: &Path, suffix: &str, pack: impl Fn(&[u8]) -> Vec<u8>) {
    let pixels: Vec<u8> = (0..18).collect();
    for (name, bytes) in [
        (TRAIN_IMAGES, idx(&[3, 2, 3], &pixels)),
        (TRAIN_LABELS, idx(&[3], &[0, 2, 1])),
        ("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[255; 6])),
        ("t10k-labels-idx1-ubyte", idx(&[1], &[4])),
    ] {
        fs::write(folder.join(format!("{name}{suffix}")), pack(&bytes)).unwrap();
    }
}

#[test]
fn raw_and_gzip_by_content() {
    // The last two names lie about what is inside.
    for (suffix, compressed) in [("", false), (".gz", true), ("", true), (".gz", false)] {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(folder.path(), suffix, |bytes| if compressed { gzip(bytes) } else { bytes.to_vec() });

        let train = load("idx", folder.path(), &LoadOptions::default()).unwrap();
        assert_eq!((train.len(), train.sample_shape()), (3, &[1, 2, 3][..]));
        assert_eq!(train.labels(), Some(&[0, 2, 1][..]));
        assert_eq!(train.num_classes(), Some(3));
        assert!(!train.flip_allowed());
        assert_eq!(values(&train, &[1])[0], (6.0 * 2.0 / 255.0 - 1.0) as f32);

        let test = load("idx", folder.path(), &split(Split::Test)).unwrap();
        assert_eq!(values(&test, &[0]), [1.0; 6]);
        let all = load("idx", folder.path(), &split(Split::All)).unwrap();
        assert_eq!(all.labels(), Some(&[0, 2, 1, 4][..]));
    }
}

#[test]
fn single_files() {
    let folder = tempfile::tempdir().unwrap();
    write_mnist(folder.path(), "", <[u8]>::to_vec);
    let file = folder.path().join(TRAIN_IMAGES);
    let train = load("idx", &file, &LoadOptions::default()).unwrap();
    assert_eq!((train.len(), train.num_classes()), (3, Some(3)));
    assert_eq!(load("idx", &file, &split(Split::Test)).unwrap().len(), 1);

    fs::remove_file(folder.path().join(TRAIN_LABELS)).unwrap();
    let unlabelled = load("idx", &file, &LoadOptions::default()).unwrap();
    assert_eq!(unlabelled.labels(), None);
    // One part without labels leaves the whole without.
    assert_eq!(load("idx", folder.path(), &split(Split::All)).unwrap().labels(), None);

    let lone = folder.path().join("letters");
    fs::write(&lone, idx(&[1, 1, 1], &[7])).unwrap();
    assert_eq!(load("idx", &lone, &LoadOptions::default()).unwrap().len(), 1);
    let (error, _) = load_error("idx", &lone, &split(Split::Test));
    assert!(matches!(error, Error::NoSplit { split: Split::Test, .. }));
}

#[test]
fn dotted_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train-images.idx3-ubyte"), idx(&[2, 1, 1], &[0, 255])).unwrap();
    fs::write(folder.path().join("train-labels.idx1-ubyte"), idx(&[2], &[1, 0])).unwrap();
    let data = load("idx", folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(data.labels(), Some(&[1, 0][..]));
    assert_eq!((data.mean(), data.std()), (0.0, 1.0));
}

#[test]
fn resizes_and_colours_on_request() {
    let folder = tempfile::tempdir().unwrap();
    write_mnist(folder.path(), "", <[u8]>::to_vec);
    let options = LoadOptions { size: Some([4, 4]), channels: Some(3), ..LoadOptions::default() };
    let data = load("idx", folder.path(), &options).unwrap();
    assert_eq!(data.sample_shape(), [3, 4, 4]);
}

/// Loads a folder whose images and labels are these bytes, which must fail.
fn error_of(images: &[u8], labels: &[u8]) -> (Error, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(TRAIN_IMAGES), images).unwrap();
    fs::write(folder.path().join(TRAIN_LABELS), labels).unwrap();
    load_error("idx", folder.path(), &LoadOptions::default())
}

#[test]
fn wrong_magic() {
    for images in [&b""[..], b"\0", b"not an idx file", &[0, 0, 13, 3, 0, 0, 0, 1]] {
        let (error, message) = error_of(images, &[]);
        assert!(matches!(error, Error::IdxMagic { .. }), "{message}");
        assert!(message.contains(TRAIN_IMAGES) && message.contains("00 00 08"), "{message}");
    }
}

#[test]
fn wrong_length() {
    let whole = idx(&[3, 2, 3], &[0; 18]);
    for length in 3..whole.len() {
        let (error, message) = error_of(&whole[..length], &[]);
        assert!(matches!(error, Error::Length { found, .. } if found == length as u64), "{message}");
    }
    let (error, _) = error_of(&[whole, vec![0]].concat(), &[]);
    assert!(matches!(error, Error::Length { expected: 34, found: 35, .. }));
    let (error, _) = error_of(&idx(&[u32::MAX; 3], &[]), &[]);
    assert!(matches!(error, Error::Length { .. }), "a product that overflows");
    let packed = gzip(&idx(&[3, 2, 3], &[0; 18]));
    let (error, _) = error_of(&packed[..packed.len() - 9], &[]);
    assert!(matches!(error, Error::Io { .. }), "a gzip file that is cut off");
}

#[test]
fn wrong_dimensions_and_counts() {
    for dims in [&[6][..], &[2, 3], &[1, 1, 2, 3], &[0, 2, 3], &[2, 0, 3]] {
        let len = dims.iter().product::<u32>() as usize;
        let (error, message) = error_of(&idx(dims, &vec![0; len]), &[]);
        assert!(matches!(error, Error::IdxDims { .. }), "{dims:?}: {message}");
    }
    let images = idx(&[2, 1, 1], &[0, 0]);
    let (error, message) = error_of(&images, &idx(&[3], &[0, 1, 2]));
    assert!(matches!(error, Error::LabelCount { samples: 2, labels: 3, .. }), "{message}");
    assert!(message.contains(TRAIN_LABELS), "{message}");
    let (error, message) = error_of(&images, &idx(&[2, 1], &[0, 1]));
    assert!(matches!(error, Error::IdxDims { .. }), "{message}");
}

#[test]
fn parts_of_different_sizes() {
    let folder = tempfile::tempdir().unwrap();
    write_mnist(folder.path(), "", <[u8]>::to_vec);
    fs::write(folder.path().join("t10k-images-idx3-ubyte"), idx(&[1, 3, 2], &[0; 6])).unwrap();
    let (error, message) = load_error("idx", folder.path(), &split(Split::All));
    assert!(matches!(error, Error::IdxDims { .. }) && message.contains("t10k"), "{message}");
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let (error, message) = load_error("idx", empty.path(), &LoadOptions::default());
    assert!(matches!(error, Error::NotFound { .. }) && message.contains(TRAIN_IMAGES), "{message}");
    let (error, message) = load_error("idx", &empty.path().join("nowhere"), &LoadOptions::default());
    assert!(matches!(error, Error::NotFound { .. }) && message.contains("nowhere"), "{message}");
}
