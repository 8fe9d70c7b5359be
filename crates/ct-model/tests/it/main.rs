//! Tests of the crate from outside.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod adapted;
mod folder;
mod golden;
mod golden_unet;
mod lpips;
mod one_pass;
mod parameterization;
mod precision;
mod recomputation;
mod unet_flags;
mod weights;
