//! Folders of pictures.

mod splits;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use rayon::prelude::*;

use crate::fit::fit;
use crate::{Dataset, Error, LoadOptions, Result, Skipped};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

pub(crate) fn load(
    root: &Path,
    options: &LoadOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Dataset> {
    let Some([height, width]) = options.size else {
        return Err(Error::SizeMissing { path: root.to_owned() });
    };
    let shape = [options.channels.unwrap_or(3), height, width];

    let listing = Listing::of(root)?;
    let splits::Part { pictures: files, classes, skipped: beside } =
        splits::part(listing.pictures, options.split);
    if files.is_empty() {
        return Err(Error::NoSplit {
            path: root.to_owned(),
            split: options.split,
            reason: "the hashes of the file names put every picture in the other split; load all of them"
                .to_owned(),
        });
    }

    let decoded = decode_all(root, &files, shape, progress);
    if decoded.read.is_empty() {
        let count = files.len();
        let Some(Skipped { path, reason }) = decoded.skipped.into_iter().next() else {
            return Err(Error::NoPictures { path: root.to_owned() });
        };
        return Err(Error::NothingReadable { path: root.to_owned(), count, first: path, reason });
    }

    let mut skipped = [listing.skipped, beside, decoded.skipped].concat();
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let dataset = Dataset::from_images(root.to_string_lossy(), shape, decoded.pixels)?
        .with_flip_allowed(true)
        .with_skipped(skipped);
    let Some(classes) = classes else {
        return Ok(dataset);
    };
    let labels = decoded.read.iter().filter_map(|file| classes.of_picture(file)).collect();
    dataset.with_labels(labels, classes.names)
}

/// What a folder holds; paths are relative to it.
#[derive(Default)]
struct Listing {
    /// Sorted, so that the order is the same everywhere.
    pictures: Vec<PathBuf>,
    /// Subfolders that could not be listed.
    skipped: Vec<Skipped>,
    /// Folders seen, to get out of loops of links.
    seen: HashSet<PathBuf>,
}

impl Listing {
    fn of(root: &Path) -> Result<Self> {
        let mut listing = Self::default();
        listing.visit(root, Path::new("")).map_err(|source| {
            let path = root.to_owned();
            if source.kind() == io::ErrorKind::NotFound {
                let expected = "a folder of pictures".to_owned();
                return Error::NotFound { path, expected };
            }
            Error::Io { path, source }
        })?;
        if listing.pictures.is_empty() {
            return Err(Error::NoPictures { path: root.to_owned() });
        }
        listing.pictures.sort_by_cached_key(|path| key(path));
        Ok(listing)
    }

    fn visit(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        let full = root.join(folder);
        if !self.seen.insert(full.canonicalize()?) {
            return Ok(());
        }
        // Sorted, so that of two links to one folder the same is followed every time.
        let mut names = fs::read_dir(full)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let hidden = name.to_string_lossy().starts_with('.');
            if hidden {
                continue;
            }
            if root.join(&path).is_dir() {
                if let Err(error) = self.visit(root, &path) {
                    let reason = error.to_string();
                    self.skipped.push(Skipped { path, reason });
                }
            } else if is_picture(&path) {
                self.pictures.push(path);
            }
        }
        Ok(())
    }
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        let extension = extension.to_string_lossy().to_lowercase();
        EXTENSIONS.contains(&extension.as_str())
    })
}

/// The relative path with `/` on every platform.
fn key(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// Pictures that were read, as bytes `[N, C, H, W]`, and those that were not.
struct Decoded {
    pixels: Vec<u8>,
    read: Vec<PathBuf>,
    skipped: Vec<Skipped>,
}

fn decode_all(
    root: &Path,
    files: &[PathBuf],
    shape: [usize; 3],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Decoded {
    let sample_len: usize = shape.iter().product();
    let mut pixels = vec![0; files.len() * sample_len];
    let done = AtomicUsize::new(0);
    let failures: Vec<Option<String>> = pixels
        .par_chunks_exact_mut(sample_len)
        .zip(files)
        .map(|(slot, file)| {
            let decoded = decode(&root.join(file));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
            match decoded {
                Ok(picture) => {
                    slot.copy_from_slice(&fit(picture, shape));
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        })
        .collect();

    // Close the gaps that failures left.
    let (mut read, mut skipped) = (Vec::new(), Vec::new());
    for (i, (file, failure)) in files.iter().zip(failures).enumerate() {
        if let Some(reason) = failure {
            let path = file.clone();
            skipped.push(Skipped { path, reason });
        } else {
            let start = i * sample_len;
            pixels.copy_within(start..start + sample_len, read.len() * sample_len);
            read.push(file.clone());
        }
    }
    pixels.truncate(read.len() * sample_len);
    Decoded { pixels, read, skipped }
}

/// Reads a picture, whatever its name says it is, and turns it upright.
fn decode(path: &Path) -> std::result::Result<DynamicImage, ImageError> {
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut decoder = reader.into_decoder()?;
    // A small file can claim to be a huge picture: refuse what would take over 512 MiB.
    Limits::default().reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}
