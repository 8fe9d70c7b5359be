//! How much of training is done.

/// `k / K`, at most 1; a run of no steps is done.
pub(crate) fn fraction(step: u64, total_steps: u64) -> f64 {
    if step >= total_steps { 1.0 } else { step as f64 / total_steps as f64 }
}
