//! Tests of the crate from outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;
mod golden_losses;
mod golden_optimizers;
mod resume;
mod snapshots;
mod training;
