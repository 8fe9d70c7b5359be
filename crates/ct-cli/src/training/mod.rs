//! The parts of `ct train`.

pub(crate) mod finish;
pub(crate) mod pictures;
pub(crate) mod place;
mod progress;
mod score;
pub(crate) mod setup;
pub(crate) mod start;
pub(crate) mod watch;
