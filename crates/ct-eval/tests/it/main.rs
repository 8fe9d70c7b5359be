//! Every measure against cases with a known answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod features;
mod frechet;
mod gaussians;
mod kernels;
mod manifolds;
mod slices;
