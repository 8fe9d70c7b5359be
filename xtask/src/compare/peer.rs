//! The same data and network trained by the peer, on as many images as our own run of the same recipe.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::table::Row;
use super::{Comparison, finish, last_metrics};

const SCRIPT: &str = "bench/pytorch/ict_peer.py";
/// The name of its row, and of the plan of ours that it repeats.
pub(super) const NAME: &str = "ict-peer";
pub(super) const OURS: &str = "ict";

impl Comparison<'_> {
    /// Trains with the peer's code, unless that is done, and scores its samples of one and two steps.
    pub(super) fn peer_row(&self, python: &Path) -> Result<Row> {
        let (args, ours) = (self.args, last_metrics(&self.out.join(OURS))?);
        let folder = self.out.join(NAME);
        let facts = folder.join("facts.json");
        let mut command = Command::new(python);
        command.arg(SCRIPT).args(["--data", self.data()]);
        let step = ours.get("step").and_then(Value::as_u64).context("our run has no steps")?;
        command.args(["--steps", &step.to_string()]);
        if let Some(num) = args.num {
            command.args(["--num", &num.to_string()]);
        }
        if let Some(code) = &args.peer_code {
            command.arg("--peer").arg(code);
        }
        command.arg("--out").arg(&folder);
        let shown = format!("{command:?}").replace('"', "");
        if !facts.is_file() {
            finish(command)?;
        }
        let facts = std::fs::read(&facts).with_context(|| format!("cannot read {}", facts.display()))?;
        let facts: Value = serde_json::from_slice(&facts).context("the peer's facts are no JSON")?;
        let scores = [1, 2].map(|steps| {
            let samples = folder.join(format!("samples-{steps}.safetensors"));
            // A model knows its data; recorded samples do not.
            self.eval(NAME, steps, |command| {
                command.args(["--data", self.data(), "--samples"]).arg(samples);
            })
        });
        Ok(Row {
            name: NAME.to_owned(),
            images: facts.get("images_seen").and_then(Value::as_u64).unwrap_or(0),
            secs: facts.get("train_secs").and_then(Value::as_f64).unwrap_or(f64::NAN),
            scores: scores.into_iter().collect::<Result<_>>()?,
            commands: vec![shown],
        })
    }
}
