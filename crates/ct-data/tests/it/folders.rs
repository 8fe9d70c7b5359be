//! Folders of pictures, written here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ct_data::{Dataset, Error, LoadOptions, Source, Split};
use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, ImageEncoder, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use crate::{load, load_error, values};

fn options(size: [usize; 2], split: Split) -> LoadOptions {
    LoadOptions { size: Some(size), split, ..LoadOptions::default() }
}

fn all(size: [usize; 2]) -> LoadOptions {
    options(size, Split::All)
}

/// Writes a plain picture in the format that its name says.
fn plain(root: &Path, name: &str, colour: [u8; 3]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(6, 5, Rgb(colour)).save(path).unwrap();
}

/// The values of image `i` as bytes.
fn bytes(data: &Dataset, i: usize) -> Vec<u8> {
    let to_byte = |v: f32| ((v + 1.0) * 127.5).round() as u8;
    values(data, &[i]).into_iter().map(to_byte).collect()
}

#[test]
fn formats_depth_and_order() {
    let root = tempfile::tempdir().unwrap();
    // JPEG rounds to multiples of 1/8 of a byte or so in a plain picture, so its colour is chosen to survive.
    plain(root.path(), "b/deep/deeper/2.webp", [4, 5, 6]);
    plain(root.path(), "a.PNG", [1, 2, 3]);
    plain(root.path(), "c.jpg", [128, 128, 128]);
    plain(root.path(), "d.jpeg", [255, 255, 255]);
    plain(root.path(), ".hidden/no.png", [9, 9, 9]);
    plain(root.path(), "._no.png", [9, 9, 9]);
    fs::write(root.path().join("notes.txt"), "not a picture").unwrap();

    let data = load("folder", root.path(), &all([4, 4])).unwrap();
    assert_eq!((data.len(), data.sample_shape()), (4, &[3, 4, 4][..]));
    assert!(data.flip_allowed() && data.skipped().is_empty());
    assert_eq!(data.labels(), None);
    assert_eq!(data.name(), format!("folder:{}", root.path().display()));
    let first_of_planes = |i: usize| [0, 16, 32].map(|at| bytes(&data, i)[at]);
    let colours: Vec<[u8; 3]> = (0..4).map(first_of_planes).collect();
    assert_eq!(colours, [[1, 2, 3], [4, 5, 6], [128; 3], [255; 3]]);
}

#[test]
fn names_may_lie_about_the_format() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "a.webp", [10, 20, 30]);
    fs::rename(root.path().join("a.webp"), root.path().join("a.jpg")).unwrap();
    let data = load("folder", root.path(), &all([2, 2])).unwrap();
    assert_eq!(bytes(&data, 0)[0], 10);
}

#[test]
fn crops_to_the_centre() {
    let root = tempfile::tempdir().unwrap();
    // Red, green, blue from left to right; only the green third fits a square.
    let stripes = RgbImage::from_fn(24, 8, |x, _| {
        let mut colour = [0; 3];
        colour[x as usize / 8] = 255;
        Rgb(colour)
    });
    stripes.save(root.path().join("x.png")).unwrap();
    let data = load("folder", root.path(), &all([4, 4])).unwrap();
    assert_eq!(bytes(&data, 0), [[0; 16], [255; 16], [0; 16]].concat());
    let wide = load("folder", root.path(), &all([8, 24])).unwrap();
    assert_eq!(bytes(&wide, 0)[..24], [[255; 8], [0; 8], [0; 8]].concat());
}

#[test]
fn grayscale_and_transparency() {
    let root = tempfile::tempdir().unwrap();
    let half = RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 128]));
    half.save(root.path().join("half.png")).unwrap();
    RgbaImage::from_pixel(4, 4, Rgba([255, 0, 0, 0])).save(root.path().join("none.webp")).unwrap();
    RgbImage::from_pixel(4, 4, Rgb([0, 255, 0])).save(root.path().join("x.png")).unwrap();
    let options = LoadOptions { channels: Some(1), ..all([4, 4]) };
    let data = load("folder", root.path(), &options).unwrap();
    assert_eq!(data.sample_shape(), [1, 4, 4]);
    let gray: Vec<u8> = (0..3).map(|i| bytes(&data, i)[0]).collect();
    assert_eq!(gray, [127, 255, 150]);
}

#[test]
fn gray_16_bit_and_colour_on_request() {
    let root = tempfile::tempdir().unwrap();
    GrayImage::from_pixel(3, 3, Luma([77])).save(root.path().join("a.png")).unwrap();
    image::ImageBuffer::<Luma<u16>, Vec<u16>>::from_pixel(3, 3, Luma([77 * 257]))
        .save(root.path().join("b.png"))
        .unwrap();
    let data = load("folder", root.path(), &all([2, 2])).unwrap();
    assert_eq!((bytes(&data, 0), bytes(&data, 1)), (vec![77; 12], vec![77; 12]));
}

/// EXIF data that holds an orientation and nothing else.
fn exif(orientation: u8) -> Vec<u8> {
    let header = [b'I', b'I', 42, 0, 8, 0, 0, 0];
    let entry = [1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [&header[..], &entry, &[0; 4]].concat()
}

#[test]
fn photographs_are_turned_upright() {
    let root = tempfile::tempdir().unwrap();
    let dark_left = GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { 0 } else { 255 }]));
    // 1: as it is, 3: upside down, 6: a quarter clockwise.
    for orientation in [1, 3, 6] {
        let file = fs::File::create(root.path().join(format!("{orientation}.jpg"))).unwrap();
        let mut encoder = JpegEncoder::new_with_quality(file, 100);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(dark_left.as_raw(), 32, 32, image::ExtendedColorType::L8).unwrap();
    }
    let options = LoadOptions { channels: Some(1), ..all([32, 32]) };
    let data = load("folder", root.path(), &options).unwrap();
    let corners = |i: usize| {
        let image = bytes(&data, i);
        [0, 31, 31 * 32].map(|at| image[at] > 127)
    };
    // Top left, top right, bottom left.
    assert_eq!(corners(0), [false, true, false]);
    assert_eq!(corners(1), [true, false, true]);
    assert_eq!(corners(2), [false, false, true]);
}

#[test]
fn subfolders_are_classes_when_every_picture_is_in_one() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "dogs/small/1.png", [1; 3]);
    plain(root.path(), "cats/1.png", [2; 3]);
    plain(root.path(), "dogs/2.png", [3; 3]);
    let data = load("folder", root.path(), &all([2, 2])).unwrap();
    assert_eq!(data.class_names().unwrap(), ["cats", "dogs"]);
    assert_eq!(data.labels(), Some(&[0, 1, 1][..]));

    plain(root.path(), "loose.png", [4; 3]);
    assert_eq!(load("folder", root.path(), &all([2, 2])).unwrap().num_classes(), None);
    let one = load("folder", &root.path().join("dogs"), &all([2, 2])).unwrap();
    assert_eq!(one.num_classes(), None);
}

#[test]
fn unreadable_files_are_reported_and_skipped() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "a/1.png", [1; 3]);
    plain(root.path(), "a/3.png", [3; 3]);
    plain(root.path(), "b/4.png", [4; 3]);
    fs::write(root.path().join("a/2.png"), "not a PNG").unwrap();
    let whole = fs::read(root.path().join("a/1.png")).unwrap();
    fs::write(root.path().join("b/cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(root.path().join("b/empty.jpg"), "").unwrap();

    let data = load("folder", root.path(), &all([2, 2])).unwrap();
    let skipped: Vec<&Path> = data.skipped().iter().map(|s| s.path.as_path()).collect();
    assert_eq!(skipped, ["a/2.png", "b/cut.png", "b/empty.jpg"].map(Path::new));
    assert!(data.skipped().iter().all(|s| !s.reason.is_empty()));
    let kept: Vec<u8> = (0..data.len()).map(|i| bytes(&data, i)[0]).collect();
    assert_eq!(kept, [1, 3, 4]);
    assert_eq!(data.labels(), Some(&[0, 0, 1][..]));
}

#[test]
fn a_picture_too_large_for_memory_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "a.png", [1; 3]);
    // A PNG header that claims 60000x60000 pixels, with the right checksum.
    let mut huge = fs::read(root.path().join("a.png")).unwrap();
    huge[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(root.path().join("huge.png"), huge).unwrap();
    let data = load("folder", root.path(), &all([2, 2])).unwrap();
    assert_eq!((data.len(), data.skipped().len()), (1, 1));
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn nothing_readable_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let (error, message) = load_error("folder", root.path(), &all([2, 2]));
    assert!(matches!(error, Error::NoPictures { .. }), "{message}");

    fs::write(root.path().join("bad.png"), "not a PNG").unwrap();
    let (error, message) = load_error("folder", root.path(), &all([2, 2]));
    assert!(matches!(error, Error::NothingReadable { count: 1, .. }), "{message}");
    assert!(message.contains("bad.png"), "{message}");

    let (error, message) = load_error("folder", &root.path().join("nowhere"), &all([2, 2]));
    assert!(matches!(error, Error::NotFound { .. }) && message.contains("nowhere"), "{message}");
    let (error, message) = load_error("folder", &root.path().join("bad.png"), &all([2, 2]));
    assert!(matches!(error, Error::Io { .. }) && message.contains("bad.png"), "{message}");
}

#[test]
fn a_size_is_needed() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "a.png", [1; 3]);
    let (error, message) = load_error("folder", root.path(), &LoadOptions::default());
    assert!(matches!(error, Error::SizeMissing { .. }), "{message}");
}

/// The first bytes of the images of a split: their numbers, in the test below.
fn numbers(root: &Path, split: Split) -> BTreeSet<u8> {
    let data = load("folder", root, &options([1, 1], split)).unwrap();
    (0..data.len()).map(|i| bytes(&data, i)[0]).collect()
}

#[test]
fn the_split_is_a_tenth_and_stable() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..200 {
        plain(root.path(), &format!("{i}.png"), [i; 3]);
    }
    let (train, test) = (numbers(root.path(), Split::Train), numbers(root.path(), Split::Test));
    assert!(train.is_disjoint(&test));
    assert_eq!(train.len() + test.len(), 200);
    // Binomial: mean 20, standard deviation 4.2.
    assert!((5..=40).contains(&test.len()), "{}", test.len());

    for i in 200..=250 {
        plain(root.path(), &format!("{i}.png"), [i; 3]);
    }
    assert!(train.is_subset(&numbers(root.path(), Split::Train)));
    assert!(test.is_subset(&numbers(root.path(), Split::Test)));

    // Another place on the disk does not matter.
    let moved = tempfile::tempdir().unwrap();
    let to = moved.path().join("elsewhere");
    fs::rename(root.path(), &to).unwrap();
    assert!(test.is_subset(&numbers(&to, Split::Test)));
}

#[test]
fn folders_named_train_and_test_are_the_splits() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..20 {
        plain(root.path(), &format!("train/{i}.png"), [i; 3]);
        plain(root.path(), &format!("test/{i}.png"), [100 + i; 3]);
    }
    assert_eq!(numbers(root.path(), Split::Train), (0..20).collect());
    assert_eq!(numbers(root.path(), Split::Test), (100..120).collect());
    let both = load("folder", root.path(), &all([1, 1])).unwrap();
    let first: Vec<u8> = [0, 20].map(|i| bytes(&both, i)[0]).into();
    assert_eq!((both.len(), first), (40, vec![0, 100]), "train comes first");
    assert_eq!(both.num_classes(), None, "the splits are no classes");

    // What lies beside them belongs to neither, and is reported.
    plain(root.path(), "val/1.png", [200; 3]);
    plain(root.path(), "loose.png", [201; 3]);
    assert_eq!(numbers(root.path(), Split::Train), (0..20).collect());
    let test = load("folder", root.path(), &options([1, 1], Split::Test)).unwrap();
    let skipped: Vec<&Path> = test.skipped().iter().map(|s| s.path.as_path()).collect();
    assert_eq!((test.len(), skipped), (20, ["loose.png", "val/1.png"].map(Path::new).into()));
}

#[test]
fn classes_below_the_splits_have_one_numbering() {
    let root = tempfile::tempdir().unwrap();
    for (name, value) in
        [("train/dogs/1", 1), ("train/cats/deep/2", 2), ("test/dogs/3", 3), ("test/ants/4", 4)]
    {
        plain(root.path(), &format!("{name}.png"), [value; 3]);
    }
    let labels = |split| {
        let data = load("folder", root.path(), &options([1, 1], split)).unwrap();
        assert_eq!(data.class_names().unwrap(), ["ants", "cats", "dogs"]);
        let number = |i: usize| u32::from(bytes(&data, i)[0]);
        data.labels().unwrap().iter().enumerate().map(|(i, &label)| (number(i), label)).collect::<Vec<_>>()
    };
    assert_eq!(labels(Split::Train), [(2, 1), (1, 2)]);
    assert_eq!(labels(Split::Test), [(4, 0), (3, 2)]);
}

#[test]
fn one_of_the_two_folders_is_a_class_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "train/1.png", [1; 3]);
    plain(root.path(), "plane/1.png", [2; 3]);
    fs::create_dir(root.path().join("test")).unwrap();
    let data = load("folder", root.path(), &all([1, 1])).unwrap();
    assert_eq!(data.class_names().unwrap(), ["plane", "train"]);
}

#[test]
fn an_empty_split_is_an_error() {
    // One picture is in one of the splits, so the other is empty.
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "only.png", [1; 3]);
    let results =
        [Split::Train, Split::Test].map(|split| load("folder", root.path(), &options([1, 1], split)));
    let errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    assert!(matches!(errors[..], [Error::NoSplit { .. }]), "{errors:?}");
}

#[test]
fn progress_counts_every_file() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..12 {
        plain(root.path(), &format!("{i}.png"), [i; 3]);
    }
    let (calls, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = |done: usize, total: usize| {
        assert_eq!(total, 12);
        calls.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(done, Ordering::Relaxed);
    };
    let source = Source::Folder(PathBuf::from(root.path()));
    source.load_with_progress(&all([1, 1]), &progress).unwrap();
    assert_eq!((calls.into_inner(), most.into_inner()), (12, 12));
}

#[cfg(unix)]
#[test]
fn loops_of_links_end() {
    let root = tempfile::tempdir().unwrap();
    plain(root.path(), "a/1.png", [1; 3]);
    std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
    let data = load("folder", root.path(), &all([1, 1])).unwrap();
    assert_eq!(data.len(), 1);
}
