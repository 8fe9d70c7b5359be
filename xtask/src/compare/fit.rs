//! How many steps fit into the time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::plan::{Plan, Stage};
use super::{Comparison, finish, remove};
use crate::workspace;

/// Steps that are timed at a time, and those of them that come before the caches are warm.
const TIMED_STEPS: u64 = 20;
const WARM_UP: usize = 4;
/// How often each kind of step is timed; the shortest time counts, as other guests of a machine only ever add to it.
const ROUNDS: usize = 3;

/// Seconds of a step of each kind, by its settings.
type Times = BTreeMap<String, f64>;

impl Comparison<'_> {
    /// The steps of each stage, by times of an earlier call where there are some: `times.json` of the output folder.
    pub(super) fn fit(&self, plans: &[&Plan]) -> Result<BTreeMap<String, u64>> {
        let file = self.out.join("times.json");
        let mut times: Times = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not what this command writes; delete it", file.display()))?,
            Err(_) => Times::new(),
        };
        let stages: Vec<&Stage> = plans.iter().flat_map(|plan| plan.stages).collect();
        if stages.iter().flat_map(|stage| self.kinds(stage)).any(|kind| !times.contains_key(&kind.key())) {
            times.extend(self.time(&stages)?);
            workspace::write_json(&file, &times)?;
        }
        let mut steps = BTreeMap::new();
        for stage in stages {
            let step_secs: f64 = self.kinds(stage).iter().map(|kind| kind.share * times[&kind.key()]).sum();
            let fits = steps_within(self.args.budget * stage.share, step_secs);
            println!("{}: {fits} steps fit", stage.folder);
            steps.insert(stage.folder.to_owned(), fits);
        }
        Ok(steps)
    }

    /// Times every kind of step that these stages have.
    fn time(&self, stages: &[&Stage]) -> Result<Times> {
        let timing = self.out.join("timing");
        let mut times = Times::new();
        for _ in 0..ROUNDS {
            for stage in stages {
                for kind in self.kinds(stage) {
                    let secs = self.time_of_a_step(stage, &kind, &timing)?;
                    let shortest = times.entry(kind.key()).or_insert(f64::INFINITY);
                    *shortest = shortest.min(secs);
                }
            }
        }
        remove(&timing)?;
        Ok(times)
    }

    fn kinds(&self, stage: &Stage) -> Vec<Kind> {
        kinds(stage, &self.preset)
    }

    /// Seconds of one step, the median of some.
    fn time_of_a_step(&self, stage: &Stage, kind: &Kind, timing: &Path) -> Result<f64> {
        let folder = timing.join(stage.folder);
        remove(&folder)?;
        let mut command = self.train_command(stage, timing, &folder, 1_000_000);
        command.args(["--stop-after", &TIMED_STEPS.to_string(), "--set", "metrics.every_steps=1"]);
        for setting in &kind.settings {
            command.args(["--set", setting]);
        }
        finish(command)?;
        let text =
            std::fs::read_to_string(folder.join("metrics.jsonl")).context("no metrics were written")?;
        let at: Vec<f64> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("wall_secs")?.as_f64())
            .collect();
        let mut steps: Vec<f64> = at.windows(2).skip(WARM_UP).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().context("too few steps were timed")
    }
}

/// Steps that cost the same, and their share of a stage.
struct Kind {
    settings: Vec<String>,
    share: f64,
}

impl Kind {
    fn key(&self) -> String {
        self.settings.join(" ")
    }
}

/// The kinds of steps of a stage, of which some have a first part that only learns to denoise.
fn kinds(stage: &Stage, preset: &toml::Table) -> Vec<Kind> {
    let kind = |share: f64, part: Option<String>| {
        let mut settings = vec![format!("train.recipe={}", stage.recipe)];
        settings.extend(stage.set.iter().map(|&setting| setting.to_owned()));
        settings.extend(part);
        Kind { settings, share }
    };
    let Some(key) = stage.pretrain else { return vec![kind(1.0, None)] };
    let share = number(preset, key).unwrap_or(0.0);
    vec![kind(share, Some(format!("{key}=1"))), kind(1.0 - share, Some(format!("{key}=0")))]
}

/// The number at a dotted path.
fn number(table: &toml::Table, path: &str) -> Option<f64> {
    let (last, tables) = path.rsplit_once('.').map(|(tables, last)| (last, tables.split('.')))?;
    let table = tables.into_iter().try_fold(table, |table, name| table.get(name)?.as_table())?;
    table.get(last)?.as_float()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of steps")]
fn steps_within(secs: f64, step_secs: f64) -> u64 {
    ((secs / step_secs) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::plan::PLANS;
    use super::*;

    #[test]
    fn shares_of_a_stage_add_up_and_equal_steps_are_one_kind() {
        let stage = |folder: &str| {
            let mut stages = PLANS.iter().flat_map(|plan| plan.stages);
            stages.find(|stage| stage.folder == folder).unwrap()
        };
        let preset = super::super::preset("digits").unwrap();
        let kinds = |folder| kinds(stage(folder), &preset);
        let [denoising, rest] = &kinds("ect")[..] else { panic!("two kinds") };
        assert!((denoising.share - 0.6).abs() < 1e-12 && (rest.share - 0.4).abs() < 1e-12);
        assert_eq!(kinds("teacher")[0].key(), kinds("diffusion")[0].key());
        assert_ne!(kinds("teacher-trigflow")[0].key(), kinds("diffusion")[0].key());
    }

    #[test]
    fn a_budget_fits_whole_steps_and_at_least_one() {
        assert_eq!(steps_within(60.0, 0.25), 240);
        assert_eq!(steps_within(0.1, 0.25), 1);
    }
}
