//! Options of every command.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use ct_model::Precision;
use ct_model::folder::{self, Loaded};

use crate::device;

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, global = true, default_value_t, value_name = "DEVICE")]
    pub(crate) device: device::Choice,
    /// What networks compute in: f32, or bf16, which is faster on a GPU and slower on a CPU [default: f32, or what the configuration says].
    #[arg(long, global = true, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
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

impl Global {
    /// The model in a model folder, where these options want it.
    pub(crate) fn load(&self, dir: &Path) -> Result<Loaded> {
        let Loaded { model, card } = folder::load(dir, &self.device.open()?)?;
        Ok(Loaded { model: model.with_precision(self.precision.unwrap_or_default()), card })
    }
}
