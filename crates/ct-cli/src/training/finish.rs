//! The end of a run: its pictures, its score, and what to type next.

use std::path::{Path, PathBuf};

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
    let model = trainer.model()?;
    let mut drawn = Vec::new();
    for (name, picture) in pictures.last(&model, trainer.trained_from_sigma())? {
        let path = samples.join(name);
        save_picture(&picture, &path)?;
        drawn.push(path);
    }
    if config.score.num > 0 {
        // Not every source has held-out data.
        let held_out = setup::load(config, Split::Test).ok();
        let generated = pictures.samples(&model, config.score.num)?;
        let score = score::score(&generated, data, held_out.as_ref(), config.seed)
            .context("the run is finished and saved, but cannot be scored")?;
        let text = format!("{:#}\n", score.to_json());
        ct_model::folder::write_file(&folder.path().join("score.json"), text.as_bytes())?;
        terminal::say(&score);
    }
    say_what_next(folder.path(), &drawn, data.sample_shape(), &config.data.source);
    Ok(())
}

fn say_what_next(run: &Path, drawn: &[PathBuf], sample_shape: &[usize], source: &str) {
    let run = run.display();
    let (num, edit) = match *sample_shape {
        [_, height, width] => {
            let rect = format!("{},{},{},{}", width / 4, height / 4, width / 2, height / 2);
            (64, format!("\nedit with it ct edit inpaint --model {run} --data {source} --rect {rect}"))
        }
        _ => (2000, String::new()),
    };
    let drawn: Vec<String> = drawn.iter().map(|path| path.display().to_string()).collect();
    terminal::say(format_args!(
        "
look at      {}
sample it    ct sample --model {run} --num {num} --grid samples.png{edit}
inspect it   ct inspect {run}",
        drawn.join("\n             ")
    ));
}
