//! Every operation against plain loops and finite differences.

mod attention;
mod convolution;
mod elementwise;
mod harness;
mod images;
mod loss;
mod normalization;
mod tape;
mod timestep;
mod update;
