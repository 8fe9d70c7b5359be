//! Options of every command.

use clap::Args;

use crate::device;

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, global = true, default_value_t, value_name = "DEVICE")]
    pub(crate) device: device::Choice,
    /// Seed of all randomness [default: 0, or what the configuration says].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX.cast_unsigned()))]
    pub(crate) seed: Option<u64>,
    /// Threads to compute with [default: one for each core].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Log what is going on; twice for more. `RUST_LOG` goes before it.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log in JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}
