//! Integration tests of ct-data. All files that they read are written by themselves.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "tests: values are compared exactly or turned back into the bytes that they came from; helpers may panic"
)]

mod augmentation;
mod batches;
mod cifar10;
mod digits;
mod folders;
mod idx;
mod sources;
mod toys;

use std::path::Path;

use candle_core::Tensor;
use ct_data::{Dataset, Error, LoadOptions, Result, Source, Split};

/// Options for a split, the rest by default.
fn split(split: Split) -> LoadOptions {
    LoadOptions { split, ..LoadOptions::default() }
}

/// The source of this kind at a path, loaded.
fn load(kind: &str, path: &Path, options: &LoadOptions) -> Result<Dataset> {
    let source: Source = format!("{kind}:{}", path.display()).parse()?;
    source.load(options)
}

/// The error that loading ends in, and its message.
fn load_error(kind: &str, path: &Path, options: &LoadOptions) -> (Error, String) {
    let error = load(kind, path, options).unwrap_err();
    let message = error.to_string();
    (error, message)
}

/// All values of some samples.
fn values(data: &Dataset, indices: &[usize]) -> Vec<f32> {
    flat(&data.tensor(indices).unwrap())
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}
