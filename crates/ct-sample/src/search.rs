//! Which noise levels sample best in a few steps: a greedy ternary search.
//!
//! One level is added at a time, with those before it held fixed (Song et al. 2023, "Consistency Models", section 4
//! and algorithm 1's remark; the search of openai's `cm`, `scripts/ternary_search.py`).
//! Between two positions l and r of a grid, while r - l >= 3:
//!
//! ```text
//! a = l + floor((r - l) / 3) ,  b = r - floor((r - l) / 3) ,  r <- b if score(a) < score(b), else l <- a
//! ```
//!
//! then every position that is left is scored, and the best of all that were ever scored is taken.
//! The reference returns a stale third in place of the best of the end, and calls its sampler with arguments in the
//! wrong order. It also looks only below the last level; here every gap is searched, so that a third level may lie
//! between the first two. Within a gap the score is assumed to fall and then to rise.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The levels for 1, 2, .. steps, each descending.
    pub sigmas: Vec<Vec<f64>>,
    /// Their scores; less is better.
    pub scores: Vec<f64>,
    /// How many sets of levels were scored.
    pub evaluations: usize,
}

/// Searches for the noise levels of 1 to `num_steps` steps among those of a grid.
///
/// `score` is asked once for each set of levels, given in descending order, and should give the same answer each time:
/// samples from the same noise against the same data. The first level is always the largest of the grid.
///
/// # Errors
/// [`Error::Zero`] for no step, [`Error::GridTooShort`] when the grid has fewer levels than there are steps,
/// [`Error::SigmaNotDescending`] when it does not descend, or what `score` says.
pub fn search<E: From<Error>>(
    grid: &[f64],
    num_steps: usize,
    score: &mut dyn FnMut(&[f64]) -> Result<f64, E>,
) -> Result<Found, E> {
    if num_steps == 0 {
        return Err(Error::Zero { what: "the number of steps" }.into());
    }
    if grid.len() < num_steps {
        return Err(Error::GridTooShort { levels: grid.len(), steps: num_steps }.into());
    }
    if let Some(step) =
        (1..grid.len()).find(|&i| grid[i].partial_cmp(&grid[i - 1]) != Some(std::cmp::Ordering::Less))
    {
        return Err(Error::SigmaNotDescending { step, sigma: grid[step], previous: grid[step - 1] }.into());
    }
    let mut scorer = Scorer { grid, score, known: HashMap::new() };
    let mut chosen = vec![0];
    let mut scores = vec![scorer.of(&chosen)?];
    let mut sets = vec![chosen.clone()];
    while chosen.len() < num_steps {
        let (next, value) = best_addition(&chosen, &mut scorer)?;
        chosen = next;
        sets.push(chosen.clone());
        scores.push(value);
    }
    let sigmas = sets.iter().map(|set| set.iter().map(|&i| grid[i]).collect()).collect();
    Ok(Found { sigmas, scores, evaluations: scorer.known.len() })
}

/// Scores that are asked for once.
struct Scorer<'a, E> {
    grid: &'a [f64],
    score: &'a mut dyn FnMut(&[f64]) -> Result<f64, E>,
    known: HashMap<Vec<usize>, f64>,
}

impl<E> Scorer<'_, E> {
    fn of(&mut self, set: &[usize]) -> Result<f64, E> {
        if let Some(&score) = self.known.get(set) {
            return Ok(score);
        }
        let sigmas: Vec<f64> = set.iter().map(|&i| self.grid[i]).collect();
        let score = (self.score)(&sigmas)?;
        // What is no number is worse than any.
        let score = if score.is_nan() { f64::INFINITY } else { score };
        self.known.insert(set.to_vec(), score);
        Ok(score)
    }
}

/// The best set with one position more, and its score.
fn best_addition<E: From<Error>>(
    chosen: &[usize],
    scorer: &mut Scorer<'_, E>,
) -> Result<(Vec<usize>, f64), E> {
    let mut best: Option<(Vec<usize>, f64)> = None;
    let ends = chosen[1..].iter().copied().chain([scorer.grid.len()]);
    for (&before, after) in chosen.iter().zip(ends) {
        if before + 1 == after {
            continue;
        }
        let mut score_with = |at: usize| {
            let mut set = chosen.to_vec();
            set.insert(set.partition_point(|&other| other < at), at);
            let score = scorer.of(&set)?;
            if best.as_ref().is_none_or(|(_, least)| score < *least) {
                best = Some((set, score));
            }
            Ok(score)
        };
        ternary::<E>(before + 1, after - 1, &mut score_with)?;
    }
    // There are more levels than steps, so there is a gap.
    best.ok_or_else(|| Error::GridTooShort { levels: scorer.grid.len(), steps: chosen.len() + 1 }.into())
}

/// Asks for the scores on the way to the least one between `left` and `right`, both included.
fn ternary<E>(
    mut left: usize,
    mut right: usize,
    score: &mut dyn FnMut(usize) -> Result<f64, E>,
) -> Result<(), E> {
    while right - left >= 3 {
        let third = (right - left) / 3;
        let (a, b) = (left + third, right - third);
        if score(a)? < score(b)? {
            right = b;
        } else {
            left = a;
        }
    }
    (left..=right).try_for_each(|at| score(at).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<f64> {
        (0..40).map(|i| 80.0 - 2.0 * f64::from(i)).collect()
    }

    #[test]
    fn the_least_of_a_valley_is_found_wherever_it_lies() {
        for goal in 1..40 {
            let grid = grid();
            let mut asked = 0;
            let found = search::<Error>(&grid, 2, &mut |sigmas| {
                asked += 1;
                Ok(sigmas.get(1).map_or(1e9, |sigma| (sigma - grid[goal]).abs()))
            })
            .unwrap();
            assert_eq!(found.sigmas, [vec![80.0], vec![80.0, grid[goal]]], "goal {goal}");
            assert_eq!(found.scores[1].to_bits(), 0f64.to_bits());
            assert_eq!(asked, found.evaluations, "every set is scored once");
            assert!(asked < 20, "{asked} evaluations for 40 levels");
        }
    }

    #[test]
    fn a_third_level_may_lie_between_the_first_two() {
        // The best level alone is 4; with it, the best second one is 40.
        let found = search::<Error>(&grid(), 3, &mut |sigmas| {
            let near = |goal: f64| sigmas[1..].iter().map(|s| (s - goal).abs()).fold(100.0, f64::min);
            Ok(10.0 * near(4.0) + near(40.0))
        })
        .unwrap();
        assert_eq!(found.sigmas[2], [80.0, 40.0, 4.0]);
        assert!(found.scores.windows(2).all(|pair| pair[1] <= pair[0]));
    }

    #[test]
    fn every_level_can_be_used_up() {
        let found =
            search::<Error>(&[3.0, 2.0, 1.0], 3, &mut |sigmas| Ok(1.0 / sigmas.len() as f64)).unwrap();
        assert_eq!(found.sigmas[2], [3.0, 2.0, 1.0]);
    }

    #[test]
    fn what_is_no_number_is_never_chosen() {
        let found = search::<Error>(&[3.0, 2.0, 1.0], 2, &mut |sigmas| {
            Ok(if sigmas.contains(&2.0) { f64::NAN } else { 1.0 })
        });
        assert_eq!(found.unwrap().sigmas[1], [3.0, 1.0]);
    }

    #[test]
    fn misfits_are_refused() {
        let mut score = |_: &[f64]| Ok::<f64, Error>(0.0);
        assert!(matches!(search(&[1.0], 0, &mut score), Err(Error::Zero { .. })));
        assert!(matches!(search(&[1.0], 2, &mut score), Err(Error::GridTooShort { .. })));
        assert!(matches!(search(&[1.0, 2.0], 2, &mut score), Err(Error::SigmaNotDescending { .. })));
        let failed = search(&[2.0, 1.0], 2, &mut |_| Err(Error::NoSigmas));
        assert!(matches!(failed, Err(Error::NoSigmas)));
    }
}
