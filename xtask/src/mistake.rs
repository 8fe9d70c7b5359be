//! The one error that is told apart from the others: what the person asked for cannot be done.

use std::fmt;

/// A mistake on the command line, which ends the program with exit code 2.
/// The message says what was wrong and what to try.
#[derive(Debug)]
pub(crate) struct Mistake(pub(crate) String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}
