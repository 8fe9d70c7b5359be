//! The end of a run: its pictures, its score, and what to type next.

use std::path::Path;

use anyhow::{Context as _, Result};
use ct_data::{Dataset, Split};
use ct_train::{RunFolder, Trainer};

use super::pictures::Pictures;
use super::watch::save_picture;
use super::{score, setup};
use crate::config::Config;
use crate::terminal;

/// Draws the pictures of a finished run, scores it, and says what to type next.
pub(crate) fn finish(
    folder: &RunFolder,
    config: &Config,
    pictures: &Pictures,
    trainer: &Trainer,
    data: &Dataset,
) -> Result<()> {
    let samples = folder.path().join("samples");
    let (one_step, two_step) = (samples.join("one-step.png"), samples.join("two-step.png"));
    let model = trainer.model()?;
    save_picture(&pictures.one_step(&model)?, &one_step)?;
    save_picture(&pictures.two_step(&model)?, &two_step)?;
    if config.score.num > 0 {
        // Not every source has held-out data.
        let held_out = setup::load(config, Split::Test).ok();
        let score = score::score(&model, data, held_out.as_ref(), config.score.num, config.seed)
            .context("the run is finished and saved, but cannot be scored")?;
        let text = format!("{:#}\n", score.to_json());
        ct_model::folder::write_file(&folder.path().join("score.json"), text.as_bytes())?;
        terminal::say(&score);
    }
    let num = if data.sample_shape().len() == 3 { 64 } else { 2000 };
    say_what_next(folder.path(), &one_step, &two_step, num);
    Ok(())
}

fn say_what_next(run: &Path, one_step: &Path, two_step: &Path, num: usize) {
    let (run, one_step, two_step) = (run.display(), one_step.display(), two_step.display());
    terminal::say(format_args!(
        "
look at     {one_step}
            {two_step}
sample it   ct sample --model {run} --num {num} --grid samples.png
inspect it  ct inspect {run}"
    ));
}
