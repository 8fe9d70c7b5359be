//! Whole processes, timed from start to exit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

/// Samples that a process makes.
pub(super) const NUM_SAMPLES: &str = "64";

/// A model of the `digits` preset after one step, which samples as fast as a good one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelFolder {
    ct: PathBuf,
    home: PathBuf,
}

impl ModelFolder {
    /// Its place; it is made when it is first needed.
    pub(super) fn new(ct: PathBuf, target: &Path) -> Self {
        Self { ct, home: target.join("xtask").join("sample_digits") }
    }

    /// Trains the model, in the place of an earlier one, whose format may be another.
    pub(super) fn make(&self) -> Result<()> {
        if self.home.exists() {
            let shown = self.home.display();
            std::fs::remove_dir_all(&self.home).with_context(|| format!("cannot clear {shown}"))?;
        }
        let mut command = Command::new(&self.ct);
        command.args(["train", "digits", "--set", "train.steps=1", "--set", "score.num=0"]);
        run(command.arg("--out").arg(self.run_folder()))
    }

    /// The model folder, in the layout of diffusers.
    pub(super) fn model(&self) -> Result<PathBuf> {
        find(&self.run_folder().join("checkpoints"), "model_index.json")
            .with_context(|| format!("{} holds no model", self.home.display()))
    }

    /// Where one side writes its picture.
    pub(super) fn picture(&self, side: &str) -> PathBuf {
        self.home.join(format!("{side}.png"))
    }

    /// Times `ct sample`.
    pub(super) fn time_ours(&self, threads: usize, runs: usize) -> Result<Vec<f64>> {
        let mut command = Command::new(&self.ct);
        command.arg("sample").arg("--model").arg(self.model()?).args(["--num", NUM_SAMPLES]);
        command.arg("--grid").arg(self.picture("ours")).args(["--threads", &threads.to_string()]);
        time(command, runs)
    }

    fn run_folder(&self) -> PathBuf {
        self.home.join("run")
    }
}

/// Milliseconds of each run, after one that warms the file system's cache.
pub(super) fn time(mut command: Command, runs: usize) -> Result<Vec<f64>> {
    run(&mut command)?;
    let timed = (0..runs).map(|_| {
        let start = Instant::now();
        run(&mut command)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    });
    timed.collect()
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, said.trim());
    Ok(())
}

/// The first folder below `dir`, by name, that holds `file`.
fn find(dir: &Path, file: &str) -> Option<PathBuf> {
    if dir.join(file).is_file() {
        return Some(dir.to_path_buf());
    }
    let mut below: Vec<PathBuf> = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    below.sort();
    below.iter().filter(|path| path.is_dir()).find_map(|path| find(path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_by_what_it_holds() {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("step-1/ema");
        std::fs::create_dir_all(home.path().join("step-1/a")).unwrap();
        std::fs::create_dir_all(&model).unwrap();
        assert_eq!(find(home.path(), "model_index.json"), None);
        std::fs::write(model.join("model_index.json"), "{}").unwrap();
        assert_eq!(find(home.path(), "model_index.json"), Some(model));
    }

    #[test]
    fn a_process_that_fails_is_no_measurement() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--no-such-option");
        assert!(time(command, 1).is_err());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--list");
        assert_eq!(time(command, 2).unwrap().len(), 2);
    }
}
