//! Where data comes from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::suggest::nearest;
use crate::{Dataset, Error, LoadOptions, Result, Toy, cifar10, digits, folder, idx};

/// Sources that are a kind and a path.
const KINDS_WITH_PATH: [&str; 3] = ["folder", "idx", "cifar10"];

/// Where data comes from, written `digits`, `toy:two-moons`, `folder:PATH`, `idx:PATH` or `cifar10:PATH`.
///
/// ```
/// use ct_data::Source;
///
/// let source: Source = "folder:my/pictures".parse()?;
/// assert_eq!(source, Source::Folder("my/pictures".into()));
/// assert_eq!(source.to_string(), "folder:my/pictures");
///
/// let error = "toy:moons".parse::<Source>().unwrap_err();
/// assert!(error.to_string().starts_with("unknown data source `toy:moons`, did you mean `toy:two-moons`?"));
/// # Ok::<(), ct_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// 1797 handwritten digits of 8x8 pixels that are part of the binary; see [`LoadOptions`] for other sizes.
    ///
    /// UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, CC BY 4.0, as packaged by scikit-learn.
    /// The test split is the last 297 of a fixed permutation.
    Digits,
    /// Points of a 2-D distribution, 65536 for each split.
    Toy(Toy),
    /// A folder of png, jpg, jpeg and webp files, at any depth; hidden files and folders are left out.
    ///
    /// Each picture is turned upright (EXIF), laid over white where it is transparent, cropped to the largest centred
    /// region of the model's aspect, and resized with a Lanczos filter that widens when it downscales.
    /// A file that cannot be read is [reported](Dataset::skipped) and left out.
    /// When every picture is in a subfolder and there are at least two, the names of the subfolders directly under
    /// PATH are the classes, in alphabetical order.
    /// Where PATH has pictures in a folder `train` and in a folder `test`, those are the splits, classes are the
    /// subfolders below them, and pictures beside them are left out.
    /// Elsewhere the test split is one picture in ten, chosen by a hash of its path below PATH: new files do not move
    /// old ones from one split to the other.
    Folder(PathBuf),
    /// A file of images in the IDX format of MNIST, raw or gzip, or a folder with the four files of MNIST:
    /// `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`.
    ///
    /// The names may end in `.gz` and may have a dot for the last dash but one, as in `train-images.idx3-ubyte`.
    /// Labels are read when the file for them lies beside the images.
    Idx(PathBuf),
    /// The binary version of CIFAR-10: a folder with `data_batch_*.bin` and `test_batch.bin`, or one such file.
    Cifar10(PathBuf),
}

impl Source {
    /// Reads the data into memory.
    ///
    /// # Errors
    /// If files are missing, damaged or not in the format that the source names, if an option does not suit the source,
    /// or if nothing is left to learn from.
    pub fn load(&self, options: &LoadOptions) -> Result<Dataset> {
        self.load_with_progress(options, &|_, _| ())
    }

    /// [`Source::load`] with a call `progress(done, total)` after each picture of a folder, from any thread.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_with_progress(
        &self,
        options: &LoadOptions,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Dataset> {
        options.validate()?;
        let dataset = match self {
            Self::Digits => digits::load(options),
            Self::Toy(toy) => toy.load(options),
            Self::Folder(path) => folder::load(path, options, progress),
            Self::Idx(path) => idx::load(path, options),
            Self::Cifar10(path) => cifar10::load(path, options),
        }?;
        Ok(dataset.with_name(self.to_string()))
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self> {
        let unknown = || Error::UnknownSource { spec: spec.to_owned(), suggestion: suggestion(spec) };
        if spec == "digits" {
            return Ok(Self::Digits);
        }
        let (kind, rest) = spec.split_once(':').ok_or_else(unknown)?;
        match kind {
            "toy" => Toy::ALL.into_iter().find(|toy| toy.as_str() == rest).map(Self::Toy).ok_or_else(unknown),
            "folder" => path("folder", rest).map(Self::Folder),
            "idx" => path("idx", rest).map(Self::Idx),
            "cifar10" => path("cifar10", rest).map(Self::Cifar10),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits => f.write_str("digits"),
            Self::Toy(toy) => write!(f, "toy:{toy}"),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Idx(path) => write!(f, "idx:{}", path.display()),
            Self::Cifar10(path) => write!(f, "cifar10:{}", path.display()),
        }
    }
}

/// Every possible spec, for messages.
pub(crate) fn possible() -> String {
    let toys = Toy::ALL.map(|toy| format!("toy:{toy}")).join(", ");
    format!("digits, {toys}, folder:PATH, idx:PATH, cifar10:PATH")
}

fn path(kind: &'static str, rest: &str) -> Result<PathBuf> {
    if rest.is_empty() {
        return Err(Error::PathMissing { kind });
    }
    Ok(PathBuf::from(rest))
}

/// The possible spec nearest to one that is not.
fn suggestion(spec: &str) -> Option<String> {
    let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
    let toys = Toy::ALL.map(Toy::as_str);
    let toy = |name| nearest(name, &toys).map(|toy| format!("toy:{toy}"));
    if kind == "toy" {
        return toy(rest);
    }
    if nearest(kind, &["digits"]).is_some() {
        return Some("digits".to_owned());
    }
    if let Some(kind) = nearest(kind, &KINDS_WITH_PATH) {
        let rest = if rest.is_empty() { "PATH" } else { rest };
        return Some(format!("{kind}:{rest}"));
    }
    // A bare path, or one with a drive letter.
    if kind.contains(['/', '\\']) || rest.contains('\\') {
        return Some(format!("folder:{spec}"));
    }
    toy(rest).or_else(|| toy(kind))
}
