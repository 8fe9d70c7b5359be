//! Warm-up of sCM's tangent.

use crate::progress::fraction;

/// `r = min(1, step / warmup_steps)`, the factor of the terms of the tangent that pass through the network.
///
/// Lu & Song 2024 (arXiv 2410.11081), section 4.1, with 10 000 steps. rCM's code warms up fewer terms.
///
/// ```
/// use ct_schedule::tangent_warmup;
///
/// assert_eq!([0, 2500, 10_000, 99_999].map(|k| tangent_warmup(k, 10_000)), [0.0, 0.25, 1.0, 1.0]);
/// ```
pub fn tangent_warmup(step: u64, warmup_steps: u64) -> f64 {
    fraction(step, warmup_steps)
}
