//! Seeded permutations.

use crate::{Purpose, Stream};

/// A uniformly random order of `0..n` (Fisher-Yates), a pure function of its arguments.
///
/// `n` is at most `u32::MAX`, the largest number of indices that fit the result; a larger one is taken as `u32::MAX`.
///
/// ```
/// use ct_random::{Purpose, permutation};
///
/// let mut order = permutation(0, Purpose::Shuffle, 5, 100);
/// order.sort_unstable();
/// assert!(order.into_iter().eq(0..100));
/// ```
pub fn permutation(seed: u64, purpose: Purpose, step: u64, n: usize) -> Vec<u32> {
    let mut stream = Stream::new(seed, purpose, step, 0);
    let mut order: Vec<u32> = (0..u32::try_from(n).unwrap_or(u32::MAX)).collect();
    for (i, bound) in (1..order.len()).zip(2..) {
        order.swap(i, stream.below(bound) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_of_three_is_equally_likely() {
        // Each count is binomial with mean 1000 and standard deviation 29: five of them.
        const TOLERANCE: u32 = 145;
        let mut counts = [0_u32; 6];
        for step in 0..6000 {
            let order = permutation(3, Purpose::Shuffle, step, 3);
            let rank = order[0] * 2 + u32::from(order[1] > order[2]);
            counts[rank as usize] += 1;
        }
        assert!(counts.iter().all(|c| c.abs_diff(1000) < TOLERANCE), "{counts:?}");
    }

    #[test]
    fn empty_and_single() {
        assert!(permutation(0, Purpose::Shuffle, 0, 0).is_empty());
        assert_eq!(permutation(0, Purpose::Shuffle, 0, 1), [0]);
    }
}
