//! What can be wrong with an argument.

/// A bad argument of a constructor; everything after construction is total.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A single argument is outside its range.
    #[error("{name} must be {expected}, got {got}")]
    OutOfRange {
        /// The argument.
        name: &'static str,
        /// Its range, in words.
        expected: &'static str,
        /// What was passed.
        got: f64,
    },
    /// Two arguments are in the wrong order.
    #[error("{low_name} must be below {high_name}, got {low} and {high}")]
    NotBelow {
        /// The argument that must be the smaller one.
        low_name: &'static str,
        /// The argument that must be the larger one.
        high_name: &'static str,
        /// The value of the first.
        low: f64,
        /// The value of the second.
        high: f64,
    },
    /// A distribution of noise levels has no mass between `sigma_min` and `sigma_max`.
    #[error(
        "{distribution} has no mass between sigma {sigma_min} and {sigma_max}; try a p_mean between their logarithms"
    )]
    NoMass {
        /// The distribution.
        distribution: &'static str,
        /// Lower end of the interval.
        sigma_min: f64,
        /// Upper end of the interval.
        sigma_max: f64,
    },
}

/// The result of a constructor of this crate.
pub type Result<T> = core::result::Result<T, Error>;
