//! The command line, from the arguments to the exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::{edit, ema, eval, export, forward, import, inspect, sample, search, train};
use crate::global::Global;
use crate::{device, logging, mistake, terminal};

/// Consistency models: train a one-step image generator on your own pictures, sample it and edit with it.
#[derive(Debug, Parser)]
#[command(name = "ct", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  ct train digits                           a few minutes on 2 cores, ends with a picture
  ct sample --model runs/digits --num 64    64 new digits in one step each
  ct edit inpaint --model runs/digits --data digits --rect 2,2,4,4
                                            fill a hole; `ct edit` lists all edits
  ct eval --model runs/digits               how far its samples are from the data
  ct inspect runs/digits                    what the run holds")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Sample(sample::Args),
    Edit(edit::Args),
    Search(search::Args),
    Eval(eval::Args),
    Forward(forward::Args),
    Inspect(inspect::Args),
    Ema(ema::Args),
    Import(import::Args),
    Export(export::Args),
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|fault| {
        terminal::set_bar(None);
        terminal::note(format_args!(
            "error: ct came upon a fault of its own and stops: {fault}\nwhat was saved is whole; please report this"
        ));
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A terminal that is gone has no use for the message.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    logging::init(cli.global.verbose, cli.global.log_json);
    run(&cli).unwrap_or_else(|error| {
        terminal::set_bar(None);
        let error = device::explained(error, || {
            "with so many samples at once; lower --batch, or --num where there is none".to_owned()
        });
        terminal::note(mistake::message(&error));
        ExitCode::from(mistake::exit_code(&error))
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let threads = device::start_threads(cli.global.threads.map(usize::from))?;
    match &cli.command {
        Command::Train(args) => train::run(args, &cli.global, threads),
        Command::Sample(args) => sample::run(args, &cli.global),
        Command::Edit(args) => edit::run(args, &cli.global),
        Command::Search(args) => search::run(args, &cli.global),
        Command::Eval(args) => eval::run(args, &cli.global),
        Command::Forward(args) => forward::run(args, &cli.global),
        Command::Inspect(args) => inspect::run(args),
        Command::Ema(args) => ema::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
