//! The commands, one file each.

pub(crate) mod ema;
pub(crate) mod forward;
pub(crate) mod inspect;
pub(crate) mod sample;
pub(crate) mod train;
