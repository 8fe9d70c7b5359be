//! Nearest neighbours, exactly.

use rayon::prelude::*;

use crate::{
    distances::squared_distance,
    error::{Error, Result},
    samples::{Samples, check_pair},
};

/// A reference sample and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Index in the set of references.
    pub index: usize,
    /// Euclidean distance.
    pub distance: f64,
}

/// The `k` nearest references of each query, nearest first; of equally near ones the first.
///
/// Beside a generated image, its nearest training images show whether the model has memorized them.
///
/// ```
/// use ct_eval::{Samples, nearest};
///
/// let train = Samples::new(vec![0.0, 10.0, 20.0], 1)?;
/// let generated = Samples::new(vec![12.0], 1)?;
/// let found = nearest(&generated, &train, 2)?;
/// assert_eq!((found[0][0].index, found[0][0].distance), (1, 2.0));
/// assert_eq!((found[0][1].index, found[0][1].distance), (2, 8.0));
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When the dimensions differ, or `k` is 0 or more than there are references.
pub fn nearest(queries: &Samples, references: &Samples, k: usize) -> Result<Vec<Vec<Neighbour>>> {
    check_pair("the search for neighbours", queries, references, 0)?;
    check_k(k, references.len())?;
    Ok((0..queries.len())
        .into_par_iter()
        .map(|query| nearest_to(queries.row(query), references, k, None))
        .collect())
}

/// The distance of each sample to the `k`-th nearest other one.
pub(crate) fn radii(samples: &Samples, k: usize) -> Result<Vec<f64>> {
    check_k(k, samples.len().saturating_sub(1))?;
    Ok((0..samples.len())
        .into_par_iter()
        .map(|index| nearest_to(samples.row(index), samples, k, Some(index))[k - 1].distance)
        .collect())
}

fn nearest_to(query: &[f32], references: &Samples, k: usize, except: Option<usize>) -> Vec<Neighbour> {
    let mut found: Vec<Neighbour> = references
        .rows()
        .enumerate()
        .filter(|&(index, _)| Some(index) != except)
        .map(|(index, row)| Neighbour { index, distance: squared_distance(query, row) })
        .collect();
    let nearer = |a: &Neighbour, b: &Neighbour| a.distance.total_cmp(&b.distance).then(a.index.cmp(&b.index));
    if k < found.len() {
        found.select_nth_unstable_by(k, nearer);
        found.truncate(k);
    }
    found.sort_unstable_by(nearer);
    for neighbour in &mut found {
        neighbour.distance = neighbour.distance.sqrt();
    }
    found
}

fn check_k(k: usize, available: usize) -> Result<()> {
    if (1..=available).contains(&k) {
        return Ok(());
    }
    Err(Error::Setting {
        setting: "the number of neighbours",
        expected: "at least 1 and at most the number of other samples",
        got: k as f64,
    })
}
