//! Tasks of the workspace, as plain Rust: one file per task.
//!
//! Everything here drives `cargo`, `git` and the program `ct` as processes.
//! No crate of the workspace is imported, so that a task still runs while one of them does not compile.
//!
//! Exit codes: 0 success, 1 something failed, 2 the command line asks for something impossible.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal: what it prints is its result"
)]

mod bench;
mod ci;
mod compare;
mod curve;
mod data;
mod deps;
mod edits;
mod features;
mod kill_test;
mod mistake;
mod pack;
mod sanitize;
mod test;
mod train;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::mistake::Mistake;

/// Tasks of the consistency-models workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build `ct` for speed and train a model.
    Train(train::Args),
    /// Run every test and print one closing line.
    Test(test::Args),
    /// Format, lints, crate directions, docs, tests: what must pass before a change goes in.
    Ci,
    /// Check which crate imports which, and that all of them share the lints.
    Deps,
    /// Kill a training run again and again, and prove that it still ends with the same bytes.
    KillTest(kill_test::Args),
    /// Run the benches, beside the peer's when given its Python.
    Bench(bench::Args),
    /// Train every recipe of the family for the same time, and compare them in a table.
    Compare(compare::Args),
    /// Restore held-out pictures by every edit, and compare with doing without a model.
    Edits(edits::Args),
    /// Train with the fast kernels, with the strict ones and in PyTorch, and draw the three losses.
    Curve(curve::Args),
    /// Turn a data set as it is published into what `ct train` reads.
    Data(data::Args),
    /// Train the feature networks that are part of `ct` again, and compare them with those in the repository.
    Features(features::Args),
    /// Put the program, its tests and what they need into a folder, for a GPU machine that has no Rust.
    Pack(pack::Args),
    /// Run the tests of the kernels under the address sanitizer.
    Sanitize(sanitize::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Train(args) => train::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Ci => ci::run(),
        Task::Deps => deps::run(),
        Task::KillTest(args) => kill_test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Compare(args) => compare::run(&args),
        Task::Edits(args) => edits::run(&args),
        Task::Curve(args) => curve::run(&args),
        Task::Data(args) => data::run(&args),
        Task::Features(args) => features::run(&args),
        Task::Pack(args) => pack::run(&args),
        Task::Sanitize(args) => sanitize::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(if error.is::<Mistake>() { 2 } else { 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
