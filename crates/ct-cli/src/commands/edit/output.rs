//! What an edit writes: a picture with a row for each input, files, numbers.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::Tensor;
use ct_model::folder;

use super::request::Editor;
use crate::{output, terminal};

/// Inputs that are shown; there can be more.
const MOST_ROWS: usize = 16;
/// Results that are shown for each.
const MOST_COLUMNS: usize = 16;
/// Pixels between the pictures of a strip.
const PADDING: usize = 2;

/// Where results go.
#[derive(Debug, clap::Args)]
pub(super) struct Outputs {
    /// One picture with a row for each input: what is known, and the results.
    #[arg(long, value_name = "FILE.png", default_value = "edit.png")]
    out: PathBuf,
    /// A new folder with a PNG for each result.
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// The results as numbers, with what they were made of.
    #[arg(long, value_name = "FILE.safetensors")]
    save_tensors: Option<PathBuf>,
}

/// What an edit has made.
pub(super) struct Made<'a> {
    /// Pictures of the inputs and of what is known of them, each `[N, C, H, W]`, with their names, from the left.
    pub(super) columns: Vec<(&'static str, Tensor)>,
    /// `[N * per_input, C, H, W]`.
    pub(super) results: &'a Tensor,
    pub(super) per_input: usize,
    /// What the results are, for the legend of the picture.
    pub(super) results_are: &'static str,
    /// More numbers to save, by name.
    pub(super) tensors: Vec<(&'static str, Tensor)>,
    /// What was done, such as `4 results of 40 steps`.
    pub(super) summary: String,
}

impl Outputs {
    /// Finds what cannot be written before the work starts.
    pub(super) fn check(&self) -> Result<()> {
        output::check_png("--out", &self.out)?;
        self.results.as_deref().map_or(Ok(()), output::check_new_dir)?;
        self.save_tensors.as_deref().map_or(Ok(()), output::check_file)
    }

    /// Writes everything, and says what that was.
    pub(super) fn write(&self, editor: &Editor, made: &Made<'_>) -> Result<()> {
        let mut written = Vec::new();
        if let Some(path) = &self.save_tensors {
            let results = made.results.contiguous()?;
            let others = made.tensors.iter().map(|(name, tensor)| (*name, tensor));
            folder::write_tensors(path, others.chain([("samples", &results)]))?;
            written.push(path.display().to_string());
        }
        if let Some(dir) = &self.results {
            ct_sample::save_all(made.results, dir, 0)?;
            written.push(format!("{}/*.png", dir.display()));
        }
        ct_sample::save_png(&strip(made)?, &self.out)?;
        let names: Vec<&str> = made.columns.iter().map(|(name, _)| *name).chain([made.results_are]).collect();
        written.push(format!("{} ({})", self.out.display(), names.join(" | ")));
        terminal::say(format_args!("{}, {:.2} s: {}", made.summary, editor.secs(), written.join(", ")));
        Ok(())
    }
}

/// A row for each input.
fn strip(made: &Made<'_>) -> Result<image::DynamicImage> {
    let num_inputs = made.results.dims()[0] / made.per_input;
    let shown = made.per_input.min(MOST_COLUMNS);
    let mut cells = Vec::new();
    for input in 0..num_inputs.min(MOST_ROWS) {
        for (_, column) in &made.columns {
            cells.push(column.narrow(0, input, 1)?);
        }
        cells.push(made.results.narrow(0, input * made.per_input, shown)?);
    }
    let all = Tensor::cat(&cells, 0)?;
    let (_, _, height, width) = all.dims4()?;
    let upscale = ct_sample::readable_upscale(height, width);
    Ok(ct_sample::grid(&all, made.columns.len() + shown, PADDING, upscale)?)
}
