//! Every operation against plain loops and finite differences.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::float_cmp, reason = "compared where bits must agree")]

mod attention;
mod checkpoint;
mod convolution;
mod elementwise;
mod harness;
mod images;
mod loss;
mod normalization;
mod tape;
mod timestep;
mod update;
