//! The binary version of CIFAR-10.
//!
//! Records of 3073 bytes: the label, then the red, the green and the blue plane of 32x32 pixels.
//! Format: A. Krizhevsky, <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fit::to_shape;
use crate::{Dataset, Error, LoadOptions, Result, Split};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const TEST_FILE: &str = "test_batch.bin";

pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files(path, options.split)? {
        read_records(&file, &mut pixels, &mut labels)?;
    }
    let [height, width] = options.size.unwrap_or([SHAPE[1], SHAPE[2]]);
    let shape = [options.channels.unwrap_or(SHAPE[0]), height, width];
    let names = CLASSES.map(str::to_owned).to_vec();
    Dataset::from_images(path.to_string_lossy(), shape, to_shape(pixels, SHAPE, shape))?
        .with_flip_allowed(true)
        .with_labels(labels, names)
}

/// The files of a split, in the order of their names.
fn files(path: &Path, split: Split) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return Ok(match split {
            Split::Train => train_files_in(path)?,
            Split::Test => vec![test_file_in(path)?],
            Split::All => [train_files_in(path)?, vec![test_file_in(path)?]].concat(),
        });
    }
    if !path.exists() {
        return Err(Error::NotFound {
            path: path.to_owned(),
            expected: format!(
                "a file of CIFAR-10's binary version, or a folder with data_batch_1.bin and {TEST_FILE}"
            ),
        });
    }
    let file = match split {
        Split::Train | Split::All => path.to_owned(),
        Split::Test => test_file_in(path.parent().unwrap_or(Path::new("")))?,
    };
    Ok(vec![file])
}

fn train_files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("data_batch_") && name.ends_with(".bin") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::NotFound {
            path: folder.join("data_batch_1.bin"),
            expected: "the training files of CIFAR-10's binary version".to_owned(),
        });
    }
    files.sort();
    Ok(files)
}

fn test_file_in(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(TEST_FILE);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NotFound { path, expected: "the test file of CIFAR-10's binary version".to_owned() })
}

fn read_records(path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<()> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if records.is_empty() || !rest.is_empty() {
        return Err(Error::CifarLength { path: path.to_owned(), found: bytes.len() as u64 });
    }
    for (index, [label, planes @ ..]) in records.iter().enumerate() {
        if usize::from(*label) >= CLASSES.len() {
            return Err(Error::BadLabel {
                path: path.to_owned(),
                index,
                label: u32::from(*label),
                classes: CLASSES.len(),
            });
        }
        labels.push(u32::from(*label));
        pixels.extend_from_slice(planes);
    }
    Ok(())
}
