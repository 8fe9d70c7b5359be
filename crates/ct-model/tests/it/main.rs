//! Tests of the crate from outside.

mod folder;
mod golden;
mod golden_unet;
mod parameterization;
