//! `cargo xtask compare`: every recipe of the family on one data set, each for the same time, in one table.
//!
//! A recipe's time is that of everything behind its model: a distillation shares its budget with its teacher, a second
//! stage with its first one. The steps that fit are found by timing some of each stage before anything is trained, while
//! the machine is quiet; from then on only their number counts, and other work beside the trainings costs no recipe any.
//! All recipes have the network, the data and the settings of one preset.

mod fit;
mod peer;
mod plan;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::plan::{Plan, Stage};
use self::table::{Row, Score};
use crate::mistake::Mistake;
use crate::workspace;

/// Arguments of `cargo xtask compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask compare digits --budget 60\n  \
                  cargo xtask compare fashion --data idx:data/fashion-mnist --budget 180\n  \
                  cargo xtask compare digits --recipes ect,sct --out runs/two\n  \
                  cargo xtask compare digits --fit-only && cargo xtask compare digits")]
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
    /// Samples behind each figure [default: that of ct eval].
    #[arg(long, value_name = "N")]
    num: Option<usize>,
    /// Weights of a feature network for `ct eval --features`.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// One setting more for every recipe, such as `train.batch_size=64`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the runs, the pictures and the table [default: runs/compare-PRESET].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only find the steps that fit, on a machine with nothing else to do, and keep them for the next call.
    #[arg(long)]
    fit_only: bool,
    /// A Python with `PyTorch` and diffusers: adds iCT by `Kinyugo/consistency_models`, on as many images as ours.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// A checkout of `Kinyugo/consistency_models`, where that Python has not installed it.
    #[arg(long, value_name = "DIR", requires = "peer")]
    peer_code: Option<PathBuf>,
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

    let preset = preset(&args.preset)?;
    let mut comparison = Comparison { args, ct, preset, out, steps: BTreeMap::new() };
    comparison.steps = comparison.fit(&plans)?;
    if args.fit_only {
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for plan in plans {
        println!("\n== {}", plan.name);
        rows.push(comparison.row(plan)?);
        if let (Some(python), peer::OURS) = (&args.peer, plan.name) {
            println!("\n== {}", peer::NAME);
            rows.push(comparison.peer_row(python)?);
        }
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
    /// The preset's settings.
    preset: toml::Table,
    out: PathBuf,
    /// How many steps of each stage fit into its share of the time, by its folder.
    steps: BTreeMap<String, u64>,
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
            scores.push(self.score(plan.name, &model, steps)?);
            let picture = self.out.join(format!("{}-{steps}.png", plan.name));
            self.ct("sample", |command| {
                command.args(["--num", "64", "--steps", &steps.to_string(), "--model"]).arg(&model);
                command.arg("--grid").arg(&picture);
            })?;
        }
        Ok(Row { name: plan.name.to_owned(), images, secs, scores, commands })
    }

    /// Trains one stage for its share of the time.
    fn train(&self, stage: &Stage) -> Result<Trained> {
        let folder = self.out.join(stage.folder);
        if !folder.join("compare.done").is_file() {
            let steps = *self.steps.get(stage.folder).context("a stage was not timed")?;
            remove(&folder)?;
            self.forget_scores(stage.folder)?;
            let start = Instant::now();
            let mut command = self.train_command(stage, &self.out, &folder, steps);
            if let Some(key) = stage.warmup {
                command.arg("--set").arg(format!("{key}={}", steps / 10));
            }
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

    /// The data, as `ct train --data` takes it; a preset that needs none is named like its own.
    fn data(&self) -> &str {
        self.args.data.as_deref().unwrap_or(&self.args.preset)
    }

    /// Removes what was scored of an earlier model of this name.
    fn forget_scores(&self, name: &str) -> Result<()> {
        let plans = plan::PLANS.iter().filter(|plan| plan.name == name);
        for steps in plans.flat_map(|plan| plan.steps) {
            let file = self.out.join(format!("{name}-{steps}.json"));
            if file.exists() {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Trains `stage` in `folder`, from what an earlier stage left in `from`.
    fn train_command(&self, stage: &Stage, from: &Path, folder: &Path, steps: u64) -> Command {
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
            set(format!("init.model={}", from.join(init).display()));
        }
        set("score.num=0".to_owned());
        set(format!("sample.every_steps={steps}"));
        set(format!("checkpoint.every_steps={steps}"));
        command.arg("--out").arg(folder);
        command
    }

    fn score(&self, row: &str, model: &Path, steps: usize) -> Result<Score> {
        let steps_text = steps.to_string();
        self.eval(row, steps, |command| _ = command.args(["--steps", &steps_text, "--model"]).arg(model))
    }

    /// What `ct eval` says of the samples that `of` names, unless it has said so in an earlier call.
    fn eval(&self, row: &str, steps: usize, of: impl FnOnce(&mut Command)) -> Result<Score> {
        let file = self.out.join(format!("{row}-{steps}.json"));
        if let Ok(bytes) = std::fs::read(&file) {
            let report = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not what ct eval writes; delete it", file.display()))?;
            return Ok(Score { steps, report });
        }
        let metrics = if self.args.preset == "toy" { "swd,mmd" } else { "fd,kid" };
        let text = self.ct("eval", |command| {
            command.args(["--metrics", metrics, "--json"]);
            if let Some(num) = self.args.num {
                command.args(["--num", &num.to_string()]);
            }
            if let Some(features) = &self.args.features {
                command.arg("--features").arg(features);
            }
            of(command);
        })?;
        let report = serde_json::from_str(&text).context("ct eval wrote no JSON")?;
        workspace::write_json(&file, &report)?;
        Ok(Score { steps, report })
    }

    /// Runs a command of `ct`, and returns what it printed.
    fn ct(&self, name: &str, more: impl FnOnce(&mut Command)) -> Result<String> {
        let mut command = Command::new(&self.ct);
        command.arg(name);
        more(&mut command);
        let output = command.stderr(Stdio::inherit()).output().context("cannot start ct")?;
        ensure!(output.status.success(), "ct {name} failed ({}); its message stands above", output.status);
        String::from_utf8(output.stdout).context("ct printed what is no text")
    }
}

/// What a stage took.
struct Trained {
    images: u64,
    secs: f64,
    command: String,
}

/// The settings of a preset.
fn preset(name: &str) -> Result<toml::Table> {
    let path = format!("presets/{name}.toml");
    let text = workspace::shell()?
        .read_file(&path)
        .map_err(|error| Mistake(format!("no preset {name}: {error}")))?;
    text.parse().with_context(|| format!("cannot read {path}"))
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
