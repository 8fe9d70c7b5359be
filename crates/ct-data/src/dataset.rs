//! A data set in memory.

use std::path::PathBuf;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// A file that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, relative to the folder that was loaded.
    pub path: PathBuf,
    /// Why it could not be read.
    pub reason: String,
}

/// Samples of one shape in memory, with labels where there are any.
///
/// Images are kept as bytes, one for each value; vectors as f32.
/// [`Source::load`](crate::Source::load) makes one; so do [`Dataset::from_images`] and [`Dataset::from_vectors`] from
/// data of your own.
///
/// ```
/// use ct_data::Dataset;
///
/// let black_and_white = Dataset::from_images("mine", [1, 1, 2], vec![0, 0, 255, 255])?
///     .with_labels(vec![0, 1], vec!["black".into(), "white".into()])?;
/// assert_eq!(black_and_white.len(), 2);
/// assert_eq!((black_and_white.mean(), black_and_white.std()), (0.0, 1.0));
/// assert_eq!(black_and_white.tensor(&[1])?.dims(), [1, 1, 1, 2]);
/// # Ok::<(), ct_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    sample_shape: Vec<usize>,
    values: Values,
    labels: Option<Labels>,
    flip_allowed: bool,
    skipped: Vec<Skipped>,
}

/// The values of all samples, one sample after the other.
#[derive(Clone, Debug)]
enum Values {
    /// Levels `0..=brightest`; level `v` stands for `2 v / brightest - 1`.
    Levels {
        levels: Vec<u8>,
        brightest: u8,
    },
    Floats(Vec<f32>),
}

#[derive(Clone, Debug)]
struct Labels {
    of_samples: Vec<u32>,
    class_names: Vec<String>,
}

impl Dataset {
    /// Images from bytes: 0 is -1, 255 is 1.
    ///
    /// # Shapes
    /// `pixels`: `[N, C, H, W]`, flattened.
    ///
    /// # Errors
    /// If there are no images, or if the number of bytes is no multiple of `C * H * W`.
    pub fn from_images(name: impl Into<String>, sample_shape: [usize; 3], pixels: Vec<u8>) -> Result<Self> {
        Self::from_levels(name, sample_shape, pixels, u8::MAX)
    }

    /// Images with levels `0..=brightest`: 0 is -1, `brightest` is 1.
    pub(crate) fn from_levels(
        name: impl Into<String>,
        sample_shape: [usize; 3],
        levels: Vec<u8>,
        brightest: u8,
    ) -> Result<Self> {
        let values = Values::Levels { levels, brightest };
        Self::new(name.into(), sample_shape.to_vec(), values)
    }

    /// Vectors of `dim` numbers.
    ///
    /// # Shapes
    /// `values`: `[N, dim]`, flattened; of a standard deviation near 0.5 if you have the choice.
    ///
    /// # Errors
    /// If there are no vectors, if the number of values is no multiple of `dim`, or if one is not finite.
    pub fn from_vectors(name: impl Into<String>, dim: usize, values: Vec<f32>) -> Result<Self> {
        let name = name.into();
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            let value = values[index];
            return Err(Error::NotFinite { name, index, value });
        }
        Self::new(name, vec![dim], Values::Floats(values))
    }

    fn new(name: String, sample_shape: Vec<usize>, values: Values) -> Result<Self> {
        let numel: usize = sample_shape.iter().product();
        let found = values.len();
        if numel == 0 || !found.is_multiple_of(numel) {
            return Err(Error::Shape { name, shape: sample_shape, found });
        }
        if found == 0 {
            return Err(Error::NoSamples { name });
        }
        Ok(Self { name, sample_shape, values, labels: None, flip_allowed: false, skipped: Vec::new() })
    }

    /// Adds a class for each sample: an index into `class_names`.
    ///
    /// # Errors
    /// If there is not one label for each sample, or if a label has no name.
    pub fn with_labels(mut self, labels: Vec<u32>, class_names: Vec<String>) -> Result<Self> {
        let path = || PathBuf::from(&self.name);
        if labels.len() != self.len() {
            return Err(Error::LabelCount { path: path(), samples: self.len(), labels: labels.len() });
        }
        let classes = class_names.len();
        if let Some(index) = labels.iter().position(|&l| l as usize >= classes) {
            return Err(Error::BadLabel { path: path(), index, label: labels[index], classes });
        }
        self.labels = Some(Labels { of_samples: labels, class_names });
        Ok(self)
    }

    /// Says whether an image may be mirrored: whether it would still be one of its kind.
    #[must_use]
    pub fn with_flip_allowed(mut self, flip_allowed: bool) -> Self {
        self.flip_allowed = flip_allowed;
        self
    }

    pub(crate) fn with_name(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn with_skipped(mut self, skipped: Vec<Skipped>) -> Self {
        self.skipped = skipped;
        self
    }

    /// Its name: the spec that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of samples, at least 1.
    pub fn len(&self) -> usize {
        self.values.len() / self.sample_len()
    }

    /// Never: the constructors refuse empty data sets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one sample: `[C, H, W]` or `[D]`.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// Number of classes, if the samples have labels.
    pub fn num_classes(&self) -> Option<usize> {
        self.class_names().map(<[String]>::len)
    }

    /// Names of the classes, if the samples have labels.
    pub fn class_names(&self) -> Option<&[String]> {
        self.labels.as_ref().map(|l| l.class_names.as_slice())
    }

    /// The class of sample `index`; none without labels, or beyond the end.
    pub fn label(&self, index: usize) -> Option<u32> {
        self.labels()?.get(index).copied()
    }

    /// The class of each sample, if they have labels.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_ref().map(|l| l.of_samples.as_slice())
    }

    /// Whether a mirrored sample would still be one of its kind: true for pictures, false for digits, letters and vectors.
    pub fn flip_allowed(&self) -> bool {
        self.flip_allowed
    }

    /// Files that could not be read and were left out, sorted by path.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The samples with these indices, on the CPU.
    ///
    /// # Shapes
    /// Returns `[N, C, H, W]` f32 in [-1, 1], or `[N, D]` f32.
    ///
    /// # Errors
    /// If an index is beyond the end.
    pub fn tensor(&self, indices: &[usize]) -> Result<Tensor> {
        self.gather(indices.iter().map(|&index| (index, false)))
    }

    /// The samples with these indices, mirrored where the flag says so.
    pub(crate) fn gather(&self, samples: impl ExactSizeIterator<Item = (usize, bool)>) -> Result<Tensor> {
        let mut shape = vec![samples.len()];
        shape.extend(&self.sample_shape);
        let mut out = Vec::with_capacity(samples.len() * self.sample_len());
        for (index, mirrored) in samples {
            if index >= self.len() {
                return Err(Error::Index { name: self.name.clone(), index, len: self.len() });
            }
            self.append(index, mirrored, &mut out);
        }
        Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
    }

    /// Appends sample `index`, which exists.
    fn append(&self, index: usize, mirrored: bool, out: &mut Vec<f32>) {
        let range = index * self.sample_len()..(index + 1) * self.sample_len();
        let start = out.len();
        match &self.values {
            Values::Floats(values) => out.extend_from_slice(&values[range]),
            Values::Levels { levels, brightest } => {
                let table = level_values(*brightest);
                out.extend(levels[range].iter().map(|&v| table[usize::from(v)]));
            }
        }
        if mirrored && let [_, _, width] = self.sample_shape[..] {
            out[start..].chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
    }

    /// Mean over all values of all samples.
    pub fn mean(&self) -> f64 {
        self.moments().0
    }

    /// `sigma_data`: standard deviation of all values of all samples about their common mean.
    ///
    /// One pass over the bytes of images, two over vectors; in f64.
    pub fn std(&self) -> f64 {
        self.moments().1
    }

    /// Mean and standard deviation.
    fn moments(&self) -> (f64, f64) {
        match &self.values {
            Values::Floats(values) => moments(values.iter().map(|&v| (f64::from(v), 1.0))),
            Values::Levels { levels, brightest } => {
                let mut counts = [0_u64; 256];
                for &v in levels {
                    counts[usize::from(v)] += 1;
                }
                let scale = 2.0 / f64::from(*brightest);
                moments(
                    (0..=u8::MAX).zip(counts).map(|(v, count)| (f64::from(v) * scale - 1.0, count as f64)),
                )
            }
        }
    }

    /// Values in one sample, at least 1.
    fn sample_len(&self) -> usize {
        self.sample_shape.iter().product()
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Levels { levels, .. } => levels.len(),
            Self::Floats(values) => values.len(),
        }
    }
}

/// The f32 nearest to `2 v / brightest - 1` for each byte `v`.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the point")]
fn level_values(brightest: u8) -> [f32; 256] {
    std::array::from_fn(|v| (2.0 * v as f64 / f64::from(brightest) - 1.0) as f32)
}

/// Mean and standard deviation of values, each with how often it occurs.
fn moments(values: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let total: f64 = values.clone().map(|(_, count)| count).sum();
    let mean = values.clone().map(|(v, count)| v * count).sum::<f64>() / total;
    let variance = values.map(|(v, count)| (v - mean).powi(2) * count).sum::<f64>() / total;
    (mean, variance.sqrt())
}

/// Class names `0`, `1`, ...
pub(crate) fn numbered_classes(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_exact_at_the_ends_and_for_digits() {
        let bytes = level_values(255);
        assert_eq!((bytes[0], bytes[255]), (-1.0, 1.0));
        let digits = level_values(16);
        for v in 0..=16_u8 {
            let exact = f32::from(v) / 8.0 - 1.0;
            assert_eq!(digits[usize::from(v)].to_bits(), exact.to_bits());
        }
    }

    #[test]
    fn moments_of_bytes_and_of_their_floats_agree() {
        let bytes: Vec<u8> = (0..=255).chain(0..100).collect();
        let floats = bytes.iter().map(|&v| level_values(255)[usize::from(v)]).collect();
        let from_bytes = Dataset::from_images("b", [1, 2, 2], bytes).unwrap();
        let from_floats = Dataset::from_vectors("f", 4, floats).unwrap();
        // The floats are rounded to 24 bits.
        assert!((from_bytes.mean() - from_floats.mean()).abs() < 1e-7);
        assert!((from_bytes.std() - from_floats.std()).abs() < 1e-7);
    }

    #[test]
    fn mirrored_rows_are_reversed_in_every_channel() {
        let data = Dataset::from_images("m", [2, 1, 3], vec![0, 51, 255, 255, 51, 0]).unwrap();
        let plain = data.gather([(0, false)].into_iter()).unwrap();
        let mirrored = data.gather([(0, true)].into_iter()).unwrap();
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(plain), [-1.0, -0.6, 1.0, 1.0, -0.6, -1.0]);
        assert_eq!(values(mirrored), [1.0, -0.6, -1.0, -1.0, -0.6, 1.0]);
    }
}
