//! The IDX format of MNIST and its relatives.
//!
//! Two zero bytes, the type (8: bytes), the number of dimensions, each dimension as a big-endian u32, then the values.
//! Format: <http://yann.lecun.com/exdb/mnist/>.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::dataset::numbered_classes;
use crate::fit::to_shape;
use crate::{Dataset, Error, LoadOptions, Result, Split};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTES_MAGIC: [u8; 3] = [0, 0, 8];

pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset> {
    let mut whole = Part::default();
    for images in image_files(path, options.split)? {
        whole.append(Part::read(&images)?, &images)?;
    }
    let Part { pixels, size, labels } = whole;

    let own = [1, size[0], size[1]];
    let [height, width] = options.size.unwrap_or(size);
    let shape = [options.channels.unwrap_or(1), height, width];
    let name = path.to_string_lossy();
    let dataset = Dataset::from_images(name, shape, to_shape(pixels, own, shape))?;
    let Some(labels) = labels else {
        return Ok(dataset);
    };
    let classes = labels.iter().max().map_or(0, |&l| l as usize + 1);
    dataset.with_labels(labels, numbered_classes(classes))
}

/// One file of images, with its labels.
#[derive(Default)]
struct Part {
    /// `[N, H, W]`.
    pixels: Vec<u8>,
    /// Height and width.
    size: [usize; 2],
    labels: Option<Vec<u32>>,
}

impl Part {
    fn read(images: &Path) -> Result<Self> {
        let (dims, pixels) = read_idx(images)?;
        let [count, height, width] = dims[..] else {
            return Err(Error::IdxDims {
                path: images.to_owned(),
                expected: "[images, height, width]".to_owned(),
                found: dims,
            });
        };
        let labels = match labels_beside(images) {
            Some(path) => Some(read_labels(&path, count)?),
            None => None,
        };
        Ok(Self { pixels, size: [height, width], labels })
    }

    /// Puts a second part behind this one, which may be empty.
    fn append(&mut self, other: Self, path: &Path) -> Result<()> {
        if self.pixels.is_empty() {
            *self = other;
            return Ok(());
        }
        if self.size != other.size {
            let [height, width] = self.size;
            return Err(Error::IdxDims {
                path: path.to_owned(),
                expected: format!("[images, {height}, {width}] as in the other file"),
                found: other.size.to_vec(),
            });
        }
        self.pixels.extend(other.pixels);
        self.labels = self.labels.take().zip(other.labels).map(|(mut labels, more)| {
            labels.extend(more);
            labels
        });
        Ok(())
    }
}

/// The files of images of a split.
fn image_files(path: &Path, split: Split) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        let train = || image_file_in(path, &["train"]);
        let test = || image_file_in(path, &["t10k", "test"]);
        return match split {
            Split::Train => train().map(|file| vec![file]),
            Split::Test => test().map(|file| vec![file]),
            Split::All => Ok(vec![train()?, test()?]),
        };
    }
    if !path.exists() {
        return Err(Error::NotFound {
            path: path.to_owned(),
            expected: "an IDX file, or a folder with train-images-idx3-ubyte".to_owned(),
        });
    }
    if split == Split::Test {
        return test_file_beside(path).map(|file| vec![file]);
    }
    Ok(vec![path.to_owned()])
}

/// `PREFIX-images-idx3-ubyte` in a folder, under any of its usual names.
fn image_file_in(folder: &Path, prefixes: &[&str]) -> Result<PathBuf> {
    prefixes
        .iter()
        .flat_map(|prefix| ["-", "."].map(|dash| format!("{prefix}-images{dash}idx3-ubyte")))
        .find_map(|name| raw_or_gzip(&folder.join(name)))
        .ok_or_else(|| Error::NotFound {
            path: folder.join(format!("{}-images-idx3-ubyte", prefixes[0])),
            expected: "a file of images, with or without .gz".to_owned(),
        })
}

/// The test file that belongs to a single file of images.
fn test_file_beside(path: &Path) -> Result<PathBuf> {
    let name = file_name(path);
    if name.contains("t10k") || name.contains("test") {
        return Ok(path.to_owned());
    }
    let beside = |test: &str| raw_or_gzip(&path.with_file_name(name.replacen("train", test, 1)));
    ["t10k", "test"].into_iter().filter(|_| name.contains("train")).find_map(beside).ok_or_else(|| {
        Error::NoSplit {
            path: path.to_owned(),
            split: Split::Test,
            reason: "no t10k file lies beside it; name a folder that holds both".to_owned(),
        }
    })
}

/// The file of labels that belongs to a file of images, if it is there.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = file_name(images);
    let labels = name.replacen("images", "labels", 1).replacen("idx3", "idx1", 1);
    if labels == name {
        return None;
    }
    raw_or_gzip(&images.with_file_name(labels))
}

/// This file, or the one whose name has `.gz` where this one's has not, or the other way round.
fn raw_or_gzip(path: &Path) -> Option<PathBuf> {
    let name = file_name(path);
    let raw = name.strip_suffix(".gz").unwrap_or(&name);
    [name.clone(), raw.to_owned(), format!("{raw}.gz")]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read_labels(path: &Path, samples: usize) -> Result<Vec<u32>> {
    let (dims, labels) = read_idx(path)?;
    if dims.len() != 1 {
        return Err(Error::IdxDims { path: path.to_owned(), expected: "[labels]".to_owned(), found: dims });
    }
    if labels.len() != samples {
        return Err(Error::LabelCount { path: path.to_owned(), samples, labels: labels.len() });
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

/// Dimensions and values; the file may be compressed, whatever its name.
fn read_idx(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = fs::read(path).map_err(Error::io(path))?;
    if bytes.starts_with(&GZIP_MAGIC) {
        let mut raw = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut raw).map_err(Error::io(path))?;
        bytes = raw;
    }
    parse_idx(path, bytes)
}

fn parse_idx(path: &Path, mut bytes: Vec<u8>) -> Result<(Vec<usize>, Vec<u8>)> {
    if !bytes.starts_with(&BYTES_MAGIC) {
        bytes.truncate(BYTES_MAGIC.len());
        return Err(Error::IdxMagic { path: path.to_owned(), found: bytes });
    }
    let rank = bytes.get(3).map_or(1, |&rank| usize::from(rank));
    let header = 4 + 4 * rank;
    let found = bytes.len() as u64;
    let length = |expected: u64| Error::Length { path: path.to_owned(), expected, found };
    let dims: Vec<u32> = bytes
        .get(4..header)
        .ok_or_else(|| length(header as u64))?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|be| u32::from_be_bytes(*be))
        .collect();
    // Saturates far beyond the length of any file.
    let expected = dims
        .iter()
        .fold(1_u64, |product, &dim| product.saturating_mul(u64::from(dim)))
        .saturating_add(header as u64);
    let dims: Vec<usize> = dims.into_iter().map(|dim| dim as usize).collect();
    if dims.is_empty() || dims.contains(&0) {
        return Err(Error::IdxDims {
            path: path.to_owned(),
            expected: "at least one, and none of them 0".to_owned(),
            found: dims,
        });
    }
    if found != expected {
        return Err(length(expected));
    }
    bytes.drain(..header);
    Ok((dims, bytes))
}
