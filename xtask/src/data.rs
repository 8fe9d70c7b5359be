//! `cargo xtask data`: turn a data set as it is published into what `ct train` reads.
//!
//! Nothing is downloaded: the help of each command says what to fetch, and its checksum.

mod emoji;
mod sheet;

use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `cargo xtask data`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    set: Set,
}

#[derive(Debug, clap::Subcommand)]
enum Set {
    /// Cut a sheet of emoji into a folder of pictures, some of them held out.
    Emoji(emoji::Args),
}

/// Prepares the data set that was named.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.set {
        Set::Emoji(args) => emoji::run(args),
    }
}
