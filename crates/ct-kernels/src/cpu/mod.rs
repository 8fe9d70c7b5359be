//! CPU kernels on slices, and the way from tensors to slices.

pub(crate) mod access;
pub(crate) mod block;
pub(crate) mod buffer;
pub(crate) mod conv;
pub(crate) mod matrix;
pub(crate) mod parallel;
pub(crate) mod real;
pub(crate) mod scratch;
pub(crate) mod simd;
pub(crate) mod strided;

pub(crate) use access::{read, tensor, write};
pub(crate) use block::{BLOCK, build, build_overwritten, build_with, fold_rows, map, map2, sum_blocks};
pub(crate) use buffer::{overwritten, overwritten_if_needed};
pub(crate) use real::Real;
