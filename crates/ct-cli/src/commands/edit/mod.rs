//! `ct edit`: pictures made anew around what is known of them.

mod guided;
mod inputs;
mod known;
mod latent;
mod output;

mod request;
mod subject;

use std::process::ExitCode;

use anyhow::Result;

use crate::global::Global;

/// Edit pictures with a model that was never trained for it.
///
/// All edits but the last few go the same way: something is known of a picture (all but a hole, its gray version,
/// a small or a blurred one), and the model makes up the rest, in steps between which the known part is put back.
/// The picture that is written has a row for each input: what is known, and the results.
/// With --measure the inputs are whole pictures, from which the known part is taken first: to try an edit out,
/// and to measure how well it does.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  ct edit inpaint --model runs/digits --data digits --rect 2,2,4,4
  ct edit inpaint --model runs/icons --input face.png --mask hole.png --num 8
  ct edit upscale --model runs/icons --input small.png --factor 4 --out large.png
  ct edit colorize --model runs/icons --input *.png --measure
  ct edit denoise --model runs/fashion --input noisy.png
  ct edit stroke --model runs/icons --input sketch.png
  ct edit interpolate --model runs/digits --seeds 3,8"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    edit: Edit,
}

/// What can be done to a picture.
#[derive(Debug, clap::Subcommand)]
enum Edit {
    Inpaint(known::Inpaint),
    Outpaint(known::Outpaint),
    Colorize(known::Colorize),
    Upscale(known::Upscale),
    Deblur(known::Deblur),
    Demosaic(known::Demosaic),
    Sense(known::Sense),
    Linear(known::Linear),
    Denoise(guided::Denoise),
    Stroke(guided::Stroke),
    Vary(guided::Vary),
    Interpolate(latent::Interpolate),
    Invert(latent::Invert),
}

/// Edits pictures.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    match &args.edit {
        Edit::Inpaint(args) => known::run(args, global),
        Edit::Outpaint(args) => known::run(args, global),
        Edit::Colorize(args) => known::run(args, global),
        Edit::Upscale(args) => known::run(args, global),
        Edit::Deblur(args) => known::run(args, global),
        Edit::Demosaic(args) => known::run(args, global),
        Edit::Sense(args) => known::run(args, global),
        Edit::Linear(args) => known::run(args, global),
        Edit::Denoise(args) => guided::denoise(args, global),
        Edit::Stroke(args) => guided::stroke(args, global),
        Edit::Vary(args) => guided::vary(args, global),
        Edit::Interpolate(args) => latent::interpolate(args, global),
        Edit::Invert(args) => latent::invert(args, global),
    }?;
    Ok(ExitCode::SUCCESS)
}
