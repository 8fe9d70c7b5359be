//! Samplers against the closed form of a Gaussian, and files against what other programs expect.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod batches;
mod ddim;
mod diffusers;
mod edits;
mod files;
mod inversion;
mod measurements;
mod moments;
mod multistep;
mod ode;
