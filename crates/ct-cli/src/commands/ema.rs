//! `ct ema`: averages of the weights of any length, after the run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use candle_core::Device;
use ct_model::folder::{self, Card};
use ct_train::{Reconstruction, RunFolder};

use crate::mistake::mistake;
use crate::{output, terminal};

/// Make an average of the weights that the run did not keep, from its snapshots.
///
/// The run must have been trained with `train.snapshot_steps` and one or better two widths in `train.ema_power`.
/// The width is relative to the length of the training: 0.1 is an average over about the last tenth.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ct train digits --set train.ema_power=[0.05,0.1] --set train.snapshot_steps=250
  ct ema --run runs/digits --sigma-rel 0.07 --out models/digits-0.07
  ct ema --run runs/digits --sigma-rel 0.15 --step 1000 --out models/digits-early
  ct sample --model models/digits-0.07")]
pub(crate) struct Args {
    /// Folder of the run.
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Width of the average, relative to the length of the training.
    #[arg(long, value_name = "S")]
    sigma_rel: f64,
    /// The step at which the average ends, one with a snapshot [default: the last].
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Folder for the model; it must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Makes an average and writes it as a model folder.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    output::check_new_dir(&args.out)?;
    if !args.run.is_dir() {
        return Err(mistake(format!("{} not found, expected the folder of a run", args.run.display())));
    }
    let run = RunFolder::open(&args.run)?;
    let snapshots = run.snapshots()?;
    // The snapshots hold weights alone; what network they belong to, the newest checkpoint says.
    let newest = folder::load(&run.model()?, &Device::Cpu)?;
    let Reconstruction { model, step, images_seen, num_averages, residual } =
        ct_train::reconstruct(&snapshots, &newest.model, args.sigma_rel, args.step)?;
    let card = Card {
        written_by: Card::default().written_by,
        step: Some(step),
        images_seen,
        ema: Some(format!("ema-power-{}, post hoc", args.sigma_rel)),
        ..newest.card
    };
    let shown = args.out.display();
    folder::save(&args.out, &model, &card).with_context(|| format!("cannot write {shown}"))?;
    terminal::say(format_args!(
        "made the average of width {} at step {step} of {num_averages} stored ones; its profile is {:.2} % away\nto sample it:  ct sample --model {shown}",
        args.sigma_rel,
        100.0 * residual
    ));
    Ok(ExitCode::SUCCESS)
}
