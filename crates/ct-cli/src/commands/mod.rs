//! The commands, one file each.

pub(crate) mod edit;
pub(crate) mod ema;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod forward;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod sample;
pub(crate) mod search;
pub(crate) mod train;
