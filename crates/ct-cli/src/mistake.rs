//! Whose fault an error is: exit code 2 for a mistake of the person who typed, 1 for the rest.

use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;

/// A mistake on the command line or in a file: the message says what was wrong and what to try.
#[derive(Debug)]
pub(crate) struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Mistake {}

/// An error that ends the program with exit code 2.
pub(crate) fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}

/// The exit code for an error: 2 if any part of its chain is the user's to repair, 1 otherwise.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_mistake) { 2 } else { 1 }
}

fn is_mistake(error: &(dyn StdError + 'static)) -> bool {
    error.is::<Mistake>()
        || error.downcast_ref().is_some_and(data)
        || error.downcast_ref().is_some_and(model)
        || error.downcast_ref().is_some_and(train)
        || error.downcast_ref().is_some_and(sample)
        || error.downcast_ref().is_some_and(eval)
        || error.is::<ct_schedule::Error>()
}

fn data(error: &ct_data::Error) -> bool {
    use ct_data::Error;
    match error {
        Error::Io { source, .. } => of_path(source),
        error => !matches!(error, Error::Embedded { .. } | Error::Index { .. } | Error::Candle(_)),
    }
}

fn model(error: &ct_model::Error) -> bool {
    use ct_model::Error;
    match error {
        Error::Io { source, .. } => of_path(source),
        Error::Config { .. }
        | Error::Unsupported { .. }
        | Error::Weights { .. }
        | Error::Format { .. }
        | Error::Shape { .. }
        | Error::Labels(_)
        | Error::Schedule(_) => true,
        _ => false,
    }
}

fn train(error: &ct_train::Error) -> bool {
    use ct_train::Error;
    match error {
        Error::Io { source, .. } => of_path(source),
        Error::Data(error) => data(error),
        Error::Model(error) => model(error),
        Error::Config { .. }
        | Error::DataShape { .. }
        | Error::DataClasses { .. }
        | Error::Parameterization { .. }
        | Error::NoTeacher { .. }
        | Error::TeacherShape { .. }
        | Error::Checkpoint { .. }
        | Error::Schedule(_) => true,
        _ => false,
    }
}

fn sample(error: &ct_sample::Error) -> bool {
    use ct_sample::Error;
    match error {
        Error::Io { source, .. } => of_path(source),
        Error::File(error) => model(error),
        Error::Image { action, .. } => *action == "decode",
        error => !matches!(error, Error::Tensor(_)),
    }
}

fn eval(error: &ct_eval::Error) -> bool {
    use ct_eval::Error;
    match error {
        Error::Io { source, .. } => of_path(source),
        error => matches!(
            error,
            Error::Weights { .. }
                | Error::Images { .. }
                | Error::TooFewSamples { .. }
                | Error::UnknownMetric { .. }
        ),
    }
}

/// Whether the system refused because of the path that it was given, and not because a disk is full or broken.
fn of_path(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
    )
}

/// The message of an error, with one line for each cause that the line before does not tell already.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    fn io_error(kind: ErrorKind) -> ct_train::Error {
        ct_train::Error::Io { path: "x".into(), source: kind.into() }
    }

    #[test]
    fn mistakes_are_found_below_context() {
        assert_eq!(exit_code(&mistake("no").context("above")), 2);
        assert_eq!(exit_code(&anyhow!("no").context("above")), 1);
        assert_eq!(exit_code(&anyhow::Error::from(io_error(ErrorKind::NotFound)).context("above")), 2);
        assert_eq!(exit_code(&io_error(ErrorKind::StorageFull).into()), 1);
        let wrapped: Result<(), _> = Err(ct_data::Error::PathMissing { kind: "idx" });
        assert_eq!(exit_code(&wrapped.context("cannot load").unwrap_err()), 2);
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::Error::from(io_error(ErrorKind::NotFound)).context("cannot resume");
        assert_eq!(message(&error), "error: cannot resume\n  because: x: entity not found");
    }
}
