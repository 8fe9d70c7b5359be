//! `cargo xtask compare`: every recipe of the family on one data set, each for the same time, in one table.
//!
//! A recipe's time is that of everything behind its model: a distillation shares its budget with its teacher, a second
//! stage with its first one. The steps that fit are found by timing some of them first, so that the learning rate reaches
//! its end when the time is up. All recipes have the network, the data and the settings of one preset.

mod plan;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::plan::{Plan, Stage};
use self::table::{Row, Score};
use crate::mistake::Mistake;
use crate::workspace;

/// Steps that are timed to find how many fit.
const TIMED_STEPS: u64 = 60;

/// Arguments of `cargo xtask compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask compare digits --budget 60\n  \
                  cargo xtask compare fashion --data idx:data/fashion-mnist --budget 180\n  \
                  cargo xtask compare digits --recipes ect,sct --out runs/two")]
pub(crate) struct Args {
    /// The preset that all recipes share.
    preset: String,
    /// What to learn from, as `ct train --data` takes it.
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// Seconds of training behind each model.
    #[arg(long, value_name = "SECS", default_value_t = 60.0)]
    budget: f64,
    /// Only these recipes.
    #[arg(long, value_name = "R,R,..", value_delimiter = ',')]
    recipes: Vec<String>,
    /// Samples behind each figure.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    num: usize,
    /// Weights of a feature network for `ct eval --features`.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// One setting more for every recipe, such as `train.batch_size=64`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the runs, the pictures and the table [default: runs/compare-PRESET].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Use this program instead of building `ct`.
    #[arg(long, value_name = "FILE")]
    ct: Option<PathBuf>,
}

/// Trains and scores every recipe, and writes `table.md` and `table.json` after each.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let plans = plan::chosen(&args.recipes)?;
    if !(args.budget.is_finite() && args.budget > 0.0) {
        return Err(Mistake(format!("--budget {}: expected seconds above 0", args.budget)).into());
    }
    let workspace = workspace::load()?;
    let ct = workspace::ct_program(&workspace, args.ct.as_deref())?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/compare-{}", args.preset)));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;

    let comparison = Comparison { args, ct, out };
    let mut rows = Vec::new();
    for plan in plans {
        println!("\n== {}", plan.name);
        rows.push(comparison.row(plan)?);
        table::write(&rows, args.budget, &comparison.out)?;
    }
    println!("\n{}", table::markdown(&rows, args.budget));
    println!("table and pictures in {}", comparison.out.display());
    Ok(ExitCode::SUCCESS)
}

/// What all recipes have in common.
struct Comparison<'a> {
    args: &'a Args,
    ct: PathBuf,
    out: PathBuf,
}

impl Comparison<'_> {
    /// Trains the stages of a plan, those that another plan has trained already excepted, and scores the last.
    fn row(&self, plan: &Plan) -> Result<Row> {
        let (mut images, mut secs, mut commands) = (0, 0.0, Vec::new());
        for stage in plan.stages {
            let trained = self.train(stage)?;
            images += trained.images;
            secs += trained.secs;
            commands.push(trained.command);
        }
        let model = self.out.join(plan.model());
        let mut scores = Vec::new();
        for &steps in plan.steps {
            scores.push(self.score(&model, steps)?);
            let picture = self.out.join(format!("{}-{steps}.png", plan.name));
            self.ct(&["sample", "--num", "64", "--steps", &steps.to_string()], &model, |command| {
                command.arg("--grid").arg(&picture);
            })?;
        }
        Ok(Row { name: plan.name.to_owned(), images, secs, scores, commands })
    }

    /// Trains one stage for its share of the time.
    fn train(&self, stage: &Stage) -> Result<Trained> {
        let folder = self.out.join(stage.folder);
        if !folder.join("compare.done").is_file() {
            let steps = self.steps_that_fit(stage)?;
            remove(&folder)?;
            let start = Instant::now();
            let mut command = self.train_command(stage, &folder, steps);
            stage
                .pretrain
                .iter()
                .for_each(|(key, share)| _ = command.arg("--set").arg(format!("{key}={share}")));
            finish(command)?;
            println!("   {}: {steps} steps in {:.0} s", stage.folder, start.elapsed().as_secs_f64());
            let file = folder.join("compare.done");
            std::fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
        }
        let last = last_metrics(&folder)?;
        let images = last.get("images_seen").and_then(Value::as_u64).unwrap_or(0);
        let secs = last.get("wall_secs").and_then(Value::as_f64).unwrap_or(f64::NAN);
        let config = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
        let command = config.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
        Ok(Trained { images, secs, command })
    }

    /// How many steps of a stage fit into its share of the time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of steps")]
    fn steps_that_fit(&self, stage: &Stage) -> Result<u64> {
        let step_secs = match stage.pretrain {
            None => self.time_of_a_step(stage, None)?,
            // The first part of the run has other steps than the rest.
            Some((key, share)) => {
                let denoising = self.time_of_a_step(stage, Some(format!("{key}=1")))?;
                let other = self.time_of_a_step(stage, Some(format!("{key}=0")))?;
                share * denoising + (1.0 - share) * other
            }
        };
        Ok(((self.args.budget * stage.share / step_secs) as u64).max(TIMED_STEPS))
    }

    /// Seconds of one step, the median of some.
    fn time_of_a_step(&self, stage: &Stage, setting: Option<String>) -> Result<f64> {
        let folder = self.out.join("timing");
        remove(&folder)?;
        let mut command = self.train_command(stage, &folder, 1_000_000);
        command.args(["--stop-after", &TIMED_STEPS.to_string(), "--set", "metrics.every_steps=1"]);
        if let Some(setting) = setting {
            command.args(["--set", &setting]);
        }
        finish(command)?;
        let text =
            std::fs::read_to_string(folder.join("metrics.jsonl")).context("no metrics were written")?;
        let at: Vec<f64> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("wall_secs")?.as_f64())
            .collect();
        let mut steps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_by(f64::total_cmp);
        remove(&folder)?;
        steps.get(steps.len() / 2).copied().context("too few steps were timed")
    }

    fn train_command(&self, stage: &Stage, folder: &Path, steps: u64) -> Command {
        let args = self.args;
        let mut command = Command::new(&self.ct);
        command.args(["train", &args.preset]);
        if let Some(data) = &args.data {
            command.args(["--data", data]);
        }
        let mut set = |setting: String| _ = command.args(["--set", &setting]);
        set(format!("train.recipe={}", stage.recipe));
        set(format!("train.steps={steps}"));
        args.set.iter().cloned().for_each(&mut set);
        stage.set.iter().map(|&setting| setting.to_owned()).for_each(&mut set);
        if let Some(init) = stage.init {
            set(format!("init.model={}", self.out.join(init).display()));
        }
        set("score.num=0".to_owned());
        set(format!("sample.every_steps={steps}"));
        set(format!("checkpoint.every_steps={steps}"));
        command.arg("--out").arg(folder);
        command
    }

    fn score(&self, model: &Path, steps: usize) -> Result<Score> {
        let (num, data) = (self.args.num.to_string(), self.args.data.as_deref().unwrap_or(&self.args.preset));
        let steps_text = steps.to_string();
        let fixed =
            ["eval", "--num", &num, "--steps", &steps_text, "--metrics", "fd,kid", "--json", "--data", data];
        let text = self.ct(&fixed, model, |command| {
            if let Some(features) = &self.args.features {
                command.arg("--features").arg(features);
            }
        })?;
        Ok(Score { steps, report: serde_json::from_str(&text).context("ct eval wrote no JSON")? })
    }

    /// Runs `ct` on a model, and returns what it printed.
    fn ct(&self, args: &[&str], model: &Path, more: impl FnOnce(&mut Command)) -> Result<String> {
        let mut command = Command::new(&self.ct);
        command.args(args).arg("--model").arg(model);
        more(&mut command);
        let output = command.stderr(Stdio::inherit()).output().context("cannot start ct")?;
        ensure!(
            output.status.success(),
            "ct {} failed ({}); its message stands above",
            args[0],
            output.status
        );
        String::from_utf8(output.stdout).context("ct printed what is no text")
    }
}

/// What a stage took.
struct Trained {
    images: u64,
    secs: f64,
    command: String,
}

fn finish(mut command: Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start ct")?;
    ensure!(status.success(), "the training failed ({status}); its message stands above");
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn last_metrics(folder: &Path) -> Result<Value> {
    let path = folder.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let last = text.lines().last().context("no metrics were written")?;
    serde_json::from_str(last).with_context(|| format!("{} is not what a training writes", path.display()))
}

/// Every plan has a name of its own, and trains what it starts from before.
#[cfg(test)]
mod tests {
    use super::plan::PLANS;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_stage_starts_from_an_earlier_one_and_shares_add_up() {
        let mut names = BTreeSet::new();
        for plan in PLANS {
            assert!(names.insert(plan.name), "{} is there twice", plan.name);
            let total: f64 = plan.stages.iter().map(|stage| stage.share).sum();
            assert!((total - 1.0).abs() < 1e-12, "{}: the shares add up to {total}", plan.name);
            let mut trained = BTreeSet::new();
            for stage in plan.stages {
                assert!(stage.init.is_none_or(|init| trained.contains(init)), "{}", stage.folder);
                trained.insert(stage.folder);
            }
        }
    }

    #[test]
    fn unknown_recipes_are_named() {
        let error = plan::chosen(&["ect".to_owned(), "etc".to_owned()]).unwrap_err();
        assert!(error.is::<Mistake>() && error.to_string().contains("etc"), "{error}");
        assert_eq!(plan::chosen(&[]).unwrap().len(), PLANS.len());
    }
}
