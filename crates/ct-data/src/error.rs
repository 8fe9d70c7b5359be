//! What can go wrong with data.

use std::io;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with data: where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A spec that names no source.
    #[error("unknown data source `{spec}`{}; possible are {}", did_you_mean(.suggestion.as_deref()), crate::source::possible())]
    UnknownSource {
        /// What was given.
        spec: String,
        /// The nearest spec that is possible, when one is near.
        suggestion: Option<String>,
    },

    /// A spec such as `folder:` with nothing behind the colon.
    #[error("`{kind}:` needs a path, as in `{kind}:data/{kind}`")]
    PathMissing {
        /// The part before the colon.
        kind: &'static str,
    },

    /// A file or folder that could not be read.
    #[error("cannot read {path}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file or folder that is not there.
    #[error("{path} not found, expected {expected}", path = .path.display())]
    NotFound {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },

    /// A folder without pictures.
    #[error("no pictures in {path} or below it, expected png, jpg, jpeg or webp files", path = .path.display())]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },

    /// A folder in which no picture could be read.
    #[error("none of the {count} pictures in {path} could be read; the first is {first}: {reason}", path = .path.display(), first = .first.display())]
    NothingReadable {
        /// The folder.
        path: PathBuf,
        /// How many pictures were tried.
        count: usize,
        /// The first of them, relative to the folder.
        first: PathBuf,
        /// Why the first could not be read.
        reason: String,
    },

    /// A split that the source does not have, or that holds nothing.
    #[error("{path} has no {split} split: {reason}", path = .path.display())]
    NoSplit {
        /// The file or folder.
        path: PathBuf,
        /// The split that was asked for.
        split: crate::Split,
        /// Why there is none, and what to do.
        reason: String,
    },

    /// Pictures of any size need a size to be brought to.
    #[error("the pictures in {path} need a size to be brought to, such as 32x32; none was given", path = .path.display())]
    SizeMissing {
        /// The folder.
        path: PathBuf,
    },

    /// An image size that is impossible.
    #[error("image size {height}x{width}, expected sides from 1 to {max}")]
    BadSize {
        /// Height asked for.
        height: usize,
        /// Width asked for.
        width: usize,
        /// The longest side that is possible.
        max: usize,
    },

    /// A number of channels that images do not have.
    #[error("{channels} channels, expected 1 (grayscale) or 3 (colour)")]
    BadChannels {
        /// Channels asked for.
        channels: usize,
    },

    /// An image option for a source of vectors.
    #[error("{name} holds vectors, not images: it has no {option}")]
    NotImages {
        /// The data set.
        name: String,
        /// What was asked for.
        option: &'static str,
    },

    /// A file that does not begin as an IDX file of bytes does.
    #[error("{path} is not an IDX file of bytes: expected to begin with 00 00 08, found {found:02x?}", path = .path.display())]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// Its first bytes, at most three.
        found: Vec<u8>,
    },

    /// An IDX file with the wrong dimensions.
    #[error("{path} has dimensions {found:?}, expected {expected}", path = .path.display())]
    IdxDims {
        /// The file.
        path: PathBuf,
        /// What the dimensions should be.
        expected: String,
        /// The dimensions in its header.
        found: Vec<usize>,
    },

    /// A file that is shorter or longer than its header says.
    #[error("{path} holds {found} bytes, expected {expected}: it is cut off or damaged", path = .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that its header promises (after decompression).
        expected: u64,
        /// Bytes that are there (after decompression).
        found: u64,
    },

    /// A different number of labels than of samples.
    #[error("{labels} labels in {path} for {samples} samples", path = .path.display())]
    LabelCount {
        /// The file of the labels, or the name of the data set.
        path: PathBuf,
        /// How many samples there are.
        samples: usize,
        /// How many labels there are.
        labels: usize,
    },

    /// A label beyond the number of classes.
    #[error("label {label} of sample {index} in {path}, expected less than {classes}", path = .path.display())]
    BadLabel {
        /// The file, or the name of the data set.
        path: PathBuf,
        /// Which sample of the file.
        index: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },

    /// A CIFAR-10 file that is not a whole number of records.
    #[error("{path} holds {found} bytes, expected a positive multiple of 3073 (the binary version of CIFAR-10)", path = .path.display())]
    CifarLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },

    /// Embedded data that does not decode; a fault of the build.
    #[error("the embedded digits are damaged at line {line}")]
    Embedded {
        /// The first bad line, from 1; 0 if the file does not decompress.
        line: usize,
    },

    /// Values whose number does not suit their shape.
    #[error("{name}: {found} values do not make samples of shape {shape:?}")]
    Shape {
        /// The data set.
        name: String,
        /// Shape of one sample.
        shape: Vec<usize>,
        /// How many values were given.
        found: usize,
    },

    /// A value that is not finite.
    #[error("{name}: value {index} is {value}, expected a finite number")]
    NotFinite {
        /// The data set.
        name: String,
        /// Which value.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A data set without samples.
    #[error("{name} holds no samples")]
    NoSamples {
        /// The data set.
        name: String,
    },

    /// A batch of nothing.
    #[error("batch size 0, expected at least 1")]
    BatchSize,

    /// A sample that is not there.
    #[error("sample {index} of {name}, which holds {len}")]
    Index {
        /// The data set.
        name: String,
        /// The sample asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },

    /// A setting of the augmentation that is no chance.
    #[error("augmentation: {name} = {value}, expected {expected}")]
    AugmentSetting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is possible.
        expected: &'static str,
    },

    /// Values that are no image of the shape that was named, or no batch with a number for each image.
    #[error("augmentation: expected {expected}, got {got}")]
    AugmentShape {
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },

    /// A tensor could not be made or moved.
    #[error("tensor operation failed")]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// For `map_err`: an [`Error::Io`] about `path`.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |s| format!(", did you mean `{s}`?"))
}
