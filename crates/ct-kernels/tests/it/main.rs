//! Every operation against plain loops and finite differences.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::float_cmp, reason = "compared where bits must agree")]

mod attention;
mod cast;
mod checkpoint;
mod composed;
mod convolution;
mod elementwise;
mod features;
mod harness;
mod hostile;
mod images;
mod loss;
mod normalization;
mod random;
mod shapes;
mod tape;
mod timestep;
mod update;
