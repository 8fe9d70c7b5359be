//! `cargo xtask kill-test`: the proof that a run survives `kill -9` without losing or changing anything.
//!
//! One run goes through to the end.
//! The same run, in another folder, is killed by SIGKILL at pseudo-random moments, resumed each time, and then finished.
//! Both must end with the same checkpoint, byte for byte.
//! Every third kill is aimed: it waits until something happens in the checkpoint folder and strikes then.

mod compare;
mod killer;
mod progress;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::killer::{Moments, Pace, Strike};
use crate::mistake::Mistake;
use crate::workspace;

/// How many steps lie between two checkpoints, at most.
const STEPS_PER_CHECKPOINT: u64 = 5;

/// Fixed, so that both runs split their work alike on every machine.
const THREADS: &str = "2";

/// Arguments of `cargo xtask kill-test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask kill-test --rounds 5 --steps 60")]
pub(crate) struct Args {
    /// How often the run is killed.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// What is trained.
    #[arg(long, default_value = "digits")]
    preset: String,
    /// Length of the run; it must leave room for the kills.
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// Chooses the moments of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use this program instead of building `ct`.
    #[arg(long, value_name = "FILE")]
    ct: Option<PathBuf>,
    /// One more `key=value` for `ct train --set`, to make the run smaller (may be given several times).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Everything needed to start or resume the run of the test.
struct Run<'a> {
    ct: &'a Path,
    args: &'a Args,
    folder: PathBuf,
}

impl Run<'_> {
    fn start(&self) -> Command {
        let mut command = Command::new(self.ct);
        command.args(["train", &self.args.preset, "--threads", THREADS, "--out"]).arg(&self.folder);
        let steps = format!("train.steps={}", self.args.steps);
        let every = format!("checkpoint.every_steps={STEPS_PER_CHECKPOINT}");
        for setting in [steps, every].iter().chain(&self.args.settings) {
            command.args(["--set", setting]);
        }
        command
    }

    /// Goes on from the newest checkpoint, or from the beginning where none was written yet.
    fn start_or_resume(&self) -> Result<Command> {
        if progress::latest_checkpoint(&self.folder).is_none() {
            remove_folder(&self.folder)?;
            return Ok(self.start());
        }
        let mut command = Command::new(self.ct);
        command.args(["train", "--threads", THREADS, "--resume"]).arg(&self.folder);
        Ok(command)
    }
}

/// Runs both trainings and compares what they leave.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let least = u64::from(args.rounds) * STEPS_PER_CHECKPOINT * 2;
    if args.steps < least {
        bail!(Mistake(format!(
            "{} kills need at least {least} steps; raise --steps or lower --rounds",
            args.rounds
        )));
    }
    let workspace = workspace::load()?;
    let ct = match &args.ct {
        Some(program) => {
            program.canonicalize().map_err(|error| Mistake(format!("{}: {error}", program.display())))?
        }
        None => workspace::build_ct(&workspace)?,
    };
    let base = workspace.target_directory.join("xtask").join("kill-test");
    remove_folder(&base)?;
    std::fs::create_dir_all(&base).with_context(|| format!("cannot create {}", base.display()))?;

    let whole = Run { ct: &ct, args, folder: base.join("whole") };
    let pace = run_whole(&whole)?;
    let killed = Run { ct: &ct, args, folder: base.join("killed") };
    let kills = run_killed(&killed, pace)?;
    verdict(&whole.folder, &killed.folder, kills)
}

/// The run that nothing disturbs; tells how fast it went.
fn run_whole(run: &Run<'_>) -> Result<Pace> {
    let start = Instant::now();
    let mut child = spawn(run.start(), &run.folder)?;
    let mut clock = progress::Clock::default();
    let status = loop {
        clock.observe(start.elapsed(), progress::latest_step(&run.folder));
        if let Some(status) = child.try_wait().context("cannot wait for ct")? {
            break status;
        }
        std::thread::sleep(killer::POLL);
    };
    ensure!(
        status.success(),
        "the undisturbed run failed ({status}); see {}",
        log_file(&run.folder).display()
    );
    clock.observe(start.elapsed(), progress::latest_step(&run.folder));
    let pace = clock.pace().with_context(|| {
        format!("the undisturbed run left fewer than two checkpoints in {}", run.folder.display())
    })?;
    println!(
        "undisturbed: {} steps in {:.1} s ({:.2} s to start, {:.1} ms a step)",
        run.args.steps,
        start.elapsed().as_secs_f64(),
        pace.start_secs,
        pace.step_secs * 1e3,
    );
    Ok(pace)
}

/// The run that is killed again and again, then finished; tells how many kills struck.
fn run_killed(run: &Run<'_>, pace: Pace) -> Result<u32> {
    let rounds = run.args.rounds;
    let mut moments = Moments::new(run.args.seed);
    for round in 1..=rounds {
        let reached = progress::latest_step(&run.folder).unwrap_or(0);
        let steps_left = run.args.steps.saturating_sub(reached);
        let delay = moments.next(pace, steps_left as f64, rounds - round + 1);
        let aimed = round % 3 == 0;
        let child = spawn(run.start_or_resume()?, &run.folder)?;
        match killer::strike(child, delay, aimed.then_some(run.folder.as_path()))? {
            Strike::Killed(after) => println!(
                "kill {round}/{rounds}: after {:.3} s{}, newest checkpoint at step {} of {}",
                after.as_secs_f64(),
                if aimed { " (aimed at a write)" } else { "" },
                progress::latest_step(&run.folder).unwrap_or(0),
                run.args.steps,
            ),
            Strike::TooLate(status) if status.success() => {
                bail!("kill {round}/{rounds} came too late: the run had finished; raise --steps")
            }
            Strike::TooLate(status) => bail!(
                "round {round}/{rounds}: ct failed by itself ({status}); see {}",
                log_file(&run.folder).display(),
            ),
        }
    }
    let status = spawn(run.start_or_resume()?, &run.folder)?.wait().context("cannot wait for ct")?;
    ensure!(status.success(), "the last resume failed ({status}); see {}", log_file(&run.folder).display());
    Ok(rounds)
}

fn verdict(whole: &Path, killed: &Path, kills: u32) -> Result<ExitCode> {
    let final_of = |folder: &Path| {
        progress::latest_checkpoint(folder).with_context(|| format!("no checkpoint in {}", folder.display()))
    };
    let report = compare::folders(&final_of(whole)?, &final_of(killed)?)?;
    for (name, digest) in &report.same {
        println!("same  {}  {name}", &digest[..16]);
    }
    for difference in &report.different {
        println!("DIFF  {difference}");
    }
    if report.different.is_empty() && !report.same.is_empty() {
        println!(
            "nothing lost: {kills} kills, {} files of the last checkpoint equal byte for byte",
            report.same.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("LOST: the killed run ended differently; compare {} and {}", whole.display(), killed.display());
    Ok(ExitCode::FAILURE)
}

/// Starts `ct` with its output in a log beside the run folder.
fn spawn(mut command: Command, folder: &Path) -> Result<std::process::Child> {
    let path = log_file(folder);
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

fn log_file(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
