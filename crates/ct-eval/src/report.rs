//! Several measures at once, each figure under a name that says what it is.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Result},
    frechet::frechet_distance,
    kid::{KidConfig, kid},
    mmd::{Kernel, squared_mmd},
    precision_recall::precision_recall,
    samples::Samples,
    sliced_wasserstein::sliced_wasserstein,
};

/// A measure of how far generated samples are from real ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// [`frechet_distance`], `fd`.
    Frechet,
    /// [`kid`], `kid`.
    Kid,
    /// [`precision_recall`], `pr`.
    PrecisionRecall,
    /// [`sliced_wasserstein`], `swd`.
    SlicedWasserstein,
    /// [`squared_mmd`] with [`Kernel::Energy`], `mmd`.
    Mmd,
}

impl Metric {
    /// Every measure, in the order of a full report.
    pub const ALL: [Self; 5] =
        [Self::Frechet, Self::Kid, Self::PrecisionRecall, Self::SlicedWasserstein, Self::Mmd];

    /// The short name: `fd`, `kid`, `pr`, `swd` or `mmd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frechet => "fd",
            Self::Kid => "kid",
            Self::PrecisionRecall => "pr",
            Self::SlicedWasserstein => "swd",
            Self::Mmd => "mmd",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| Error::UnknownMetric {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The space that the samples live in, which is part of the name of every figure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// Flattened images: `FD-pixels`.
    Pixels,
    /// Points of a vector data set: `FD-points`.
    Points,
    /// Features of the named network: `FD-efflite0`.
    Features(String),
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pixels => "pixels",
            Self::Points => "points",
            Self::Features(network) => network,
        })
    }
}

/// What the measures need to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Key of random directions and subsets.
    pub seed: u64,
    /// Directions of the sliced Wasserstein distance.
    pub num_projections: usize,
    /// Subsets of the kernel distance.
    pub num_subsets: usize,
    /// Samples per subset of the kernel distance.
    pub subset_size: usize,
    /// Neighbours of precision and recall.
    pub neighbours: usize,
    /// Samples of a set of SWD and MMD: what they say of finite sets depends on the size and on the draw, so larger
    /// sets are cut into several of this size, over which figures are averaged.
    pub set_size: usize,
}

impl Default for Settings {
    /// Seed 0, 256 directions, 100 subsets of 1000, 3 neighbours, sets of 4000.
    fn default() -> Self {
        Self {
            seed: 0,
            num_projections: 256,
            num_subsets: 100,
            subset_size: 1000,
            neighbours: 3,
            set_size: 4000,
        }
    }
}

/// One number of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Measure and space, such as `FD-pixels`; stable from version to version.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its standard deviation over subsets, where there is one.
    pub std: Option<f64>,
}

/// The figures of one comparison, and how many samples they come from.
///
/// Its `Display` is a table, one figure a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Number of real samples.
    pub num_real: usize,
    /// Number of generated samples.
    pub num_generated: usize,
    /// The figures, in the order that was asked for.
    pub figures: Vec<Figure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} generated against {} real samples", self.num_generated, self.num_real)?;
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for Figure { name, value, std } in &self.figures {
            write!(f, "{name:<width$}  {value:.6}")?;
            if let Some(std) = std {
                write!(f, " ± {std:.6}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Runs the given measures on one pair of sets.
///
/// ```
/// use ct_eval::{Metric, Samples, Settings, Space, evaluate};
///
/// let real = Samples::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 1)?;
/// let generated = Samples::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1)?;
/// let report = evaluate(&real, &generated, &[Metric::Frechet, "pr".parse()?], &Space::Points, &Settings::default())?;
/// assert_eq!(
///     report.to_string(),
///     "6 generated against 6 real samples\n\
///      FD-points         1.000000\n\
///      precision-points  1.000000\n\
///      recall-points     1.000000\n"
/// );
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// The first error of a measure.
pub fn evaluate(
    real: &Samples,
    generated: &Samples,
    metrics: &[Metric],
    space: &Space,
    settings: &Settings,
) -> Result<Report> {
    let figures: Vec<Vec<Figure>> = metrics
        .iter()
        .map(|&metric| measure(real, generated, metric, space, settings))
        .collect::<Result<_>>()?;
    Ok(Report { num_real: real.len(), num_generated: generated.len(), figures: figures.concat() })
}

/// The figures of one measure.
fn measure(
    real: &Samples,
    generated: &Samples,
    metric: Metric,
    space: &Space,
    settings: &Settings,
) -> Result<Vec<Figure>> {
    let figure = |kind: &str, value| Figure { name: format!("{kind}-{space}"), value, std: None };
    Ok(match metric {
        Metric::Frechet => {
            let value = frechet_distance(real, generated)?;
            // Only in the features of Inception it has this name.
            let is_fid = matches!(space, Space::Features(network) if network == "inception");
            vec![if is_fid {
                Figure { name: "FID".to_owned(), value, std: None }
            } else {
                figure("FD", value)
            }]
        }
        Metric::Kid => {
            let Settings { seed, num_subsets, subset_size, .. } = *settings;
            let found = kid(real, generated, &KidConfig { num_subsets, subset_size, seed })?;
            vec![Figure { std: Some(found.std), ..figure("KID", found.mean) }]
        }
        Metric::PrecisionRecall => {
            let found = precision_recall(real, generated, settings.neighbours)?;
            vec![figure("precision", found.precision), figure("recall", found.recall)]
        }
        Metric::SlicedWasserstein => {
            let Settings { seed, num_projections, .. } = *settings;
            let distance = |a: &Samples, b: &Samples| sliced_wasserstein(a, b, num_projections, seed);
            let (value, std) = over_sets(real, generated, settings.set_size, distance)?;
            vec![Figure { std, ..figure("SWD", value) }]
        }
        Metric::Mmd => {
            let distance = |a: &Samples, b: &Samples| squared_mmd(a, b, Kernel::Energy);
            let (value, std) = over_sets(real, generated, settings.set_size, distance)?;
            vec![Figure { std, ..figure("MMD2-energy", value) }]
        }
    })
}

/// A distance as the mean over disjoint sets of `size` samples, and its standard deviation from set to set; of the
/// whole where there are not two such sets.
fn over_sets(
    real: &Samples,
    generated: &Samples,
    size: usize,
    distance: impl Fn(&Samples, &Samples) -> Result<f64>,
) -> Result<(f64, Option<f64>)> {
    let num = real.len().min(generated.len()).checked_div(size).unwrap_or(1);
    if num < 2 {
        return Ok((distance(real, generated)?, None));
    }
    let values: Vec<f64> = (0..num)
        .map(|idx| distance(&real.part(idx * size, size), &generated.part(idx * size, size)))
        .collect::<Result<_>>()?;
    let mean = values.iter().sum::<f64>() / num as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (num - 1) as f64;
    Ok((mean, Some(variance.sqrt())))
}
