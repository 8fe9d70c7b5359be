//! Checks of constructor arguments: each returns its argument or an error that names it.

use crate::{Error, Result};

fn require(ok: bool, name: &'static str, expected: &'static str, got: f64) -> Result<f64> {
    if ok { Ok(got) } else { Err(Error::OutOfRange { name, expected, got }) }
}

pub(crate) fn positive(name: &'static str, x: f64) -> Result<f64> {
    require(x > 0.0 && x.is_finite(), name, "positive and finite", x)
}

pub(crate) fn non_negative(name: &'static str, x: f64) -> Result<f64> {
    require(x >= 0.0 && x.is_finite(), name, "at least 0 and finite", x)
}

pub(crate) fn finite(name: &'static str, x: f64) -> Result<f64> {
    require(x.is_finite(), name, "finite", x)
}

pub(crate) fn above_one(name: &'static str, x: f64) -> Result<f64> {
    require(x > 1.0 && x.is_finite(), name, "above 1 and finite", x)
}

/// In `[0, 1)`.
pub(crate) fn below_one(name: &'static str, x: f64) -> Result<f64> {
    require((0.0..1.0).contains(&x), name, "at least 0 and below 1", x)
}

/// In `(0, 1)`.
pub(crate) fn inside_unit(name: &'static str, x: f64) -> Result<f64> {
    require(x > 0.0 && x < 1.0, name, "between 0 and 1, both excluded", x)
}

/// In `[0, 1]`.
pub(crate) fn unit(name: &'static str, x: f64) -> Result<f64> {
    require((0.0..=1.0).contains(&x), name, "between 0 and 1", x)
}

pub(crate) fn within(name: &'static str, expected: &'static str, ok: bool, x: f64) -> Result<f64> {
    require(ok, name, expected, x)
}

/// A count with a least value, which `expected` states in words.
pub(crate) fn at_least(name: &'static str, expected: &'static str, min: usize, n: usize) -> Result<usize> {
    require(n >= min, name, expected, n as f64).map(|_| n)
}

pub(crate) fn below(low_name: &'static str, low: f64, high_name: &'static str, high: f64) -> Result<()> {
    if low < high { Ok(()) } else { Err(Error::NotBelow { low_name, high_name, low, high }) }
}

/// `0 < sigma_min < sigma_max`, both finite.
pub(crate) fn noise_range(sigma_min: f64, sigma_max: f64) -> Result<()> {
    positive("sigma_min", sigma_min)?;
    positive("sigma_max", sigma_max)?;
    below("sigma_min", sigma_min, "sigma_max", sigma_max)
}
