//! How a folder of pictures is divided: by its own `train` and `test` folders, or one in ten by a hash.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ct_random::{Purpose, Stream, hash_name};

use super::key;
use crate::{Skipped, Split};

/// The part of a folder that is held out where it does not say itself.
const TEST_FRACTION: f64 = 0.1;

/// The pictures of one split, and the classes of both.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pictures: Vec<PathBuf>,
    pub(super) classes: Option<Classes>,
    /// What lies beside `train` and `test`.
    pub(super) skipped: Vec<Skipped>,
}

/// Names of the subfolders that hold the pictures, in alphabetical order.
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) names: Vec<String>,
    depth: usize,
}

impl Classes {
    /// Nothing if a picture is in no subfolder, or if there is one alone: one class would say nothing.
    /// Both splits are asked, so that a number means the same class in each.
    fn of(pictures: &[PathBuf], depth: usize) -> Option<Self> {
        let names: Option<BTreeSet<String>> = pictures.iter().map(|path| folder_at(path, depth)).collect();
        let names = names.filter(|names| names.len() > 1)?;
        Some(Self { names: names.into_iter().collect(), depth })
    }

    /// The class of a picture.
    pub(super) fn of_picture(&self, picture: &Path) -> Option<u32> {
        let name = folder_at(picture, self.depth)?;
        self.names.binary_search(&name).ok().and_then(|class| u32::try_from(class).ok())
    }
}

/// The pictures of a split; `pictures` is sorted and relative to the folder.
pub(super) fn part(pictures: Vec<PathBuf>, split: Split) -> Part {
    let of_folder = |name: &str| {
        let inside = |path: &&PathBuf| folder_at(path, 0).as_deref() == Some(name);
        pictures.iter().filter(inside).cloned().collect::<Vec<_>>()
    };
    let (train, test) = (of_folder("train"), of_folder("test"));
    if train.is_empty() || test.is_empty() {
        let classes = Classes::of(&pictures, 0);
        return Part { pictures: by_hash(pictures, split), classes, skipped: Vec::new() };
    }

    let all = [train.as_slice(), &test].concat();
    let classes = Classes::of(&all, 1);
    let inside: BTreeSet<&PathBuf> = all.iter().collect();
    let beside = pictures.iter().filter(|path| !inside.contains(path));
    let reason = "it lies beside the folders `train` and `test`".to_owned();
    let skipped = beside.map(|path| Skipped { path: path.clone(), reason: reason.clone() }).collect();
    let pictures = match split {
        Split::Train => train,
        Split::Test => test,
        Split::All => all,
    };
    Part { pictures, classes, skipped }
}

/// The name of the subfolder at a depth that a picture is in.
fn folder_at(picture: &Path, depth: usize) -> Option<String> {
    let mut parts = picture.iter().skip(depth);
    let folder = parts.next()?;
    parts.next()?;
    Some(folder.to_string_lossy().into_owned())
}

/// The pictures of a split where the folder has none of its own. Where one belongs depends on its own path alone.
fn by_hash(pictures: Vec<PathBuf>, split: Split) -> Vec<PathBuf> {
    let is_held_out = |path: &PathBuf| {
        let mut stream = Stream::new(0, Purpose::Data, 0, hash_name(&key(path)));
        stream.uniform() < TEST_FRACTION
    };
    match split {
        Split::All => pictures,
        Split::Train => pictures.into_iter().filter(|path| !is_held_out(path)).collect(),
        Split::Test => pictures.into_iter().filter(is_held_out).collect(),
    }
}
