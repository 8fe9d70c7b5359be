//! The peer's side: `bench/pytorch/run.py`, which prints one JSON object for each measurement.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use xshell::Shell;

use super::effort::Effort;
use super::process::NUM_SAMPLES;
use super::samples::Samples;
use crate::mistake::Mistake;

const RUN: &str = "bench/pytorch/run.py";
const SAMPLE_PROCESS: &str = "bench/pytorch/sample_process.py";
/// What the scripts import.
const MODULES: [&str; 2] = ["torch", "diffusers"];
/// Layouts of images in memory, each a setting that the peer may be at its best with.
const MEMORY_FORMATS: [&str; 2] = ["contiguous", "channels_last"];

/// A Python that measures `PyTorch`.
#[derive(Debug)]
pub(super) struct Peer {
    python: PathBuf,
    root: PathBuf,
    /// What it can measure.
    names: Vec<String>,
}

/// What the script prints; facts that are not listed here are for people.
#[derive(Deserialize)]
struct Line {
    name: String,
    /// Milliseconds of each run, by memory format.
    times_ms: Option<BTreeMap<String, Vec<f64>>>,
    peak_rss_mib: Option<f64>,
}

impl Peer {
    /// Says what is missing before an hour of measuring, not after.
    pub(super) fn new(sh: &Shell, python: &Path) -> Result<Self> {
        let root = sh.current_dir();
        for script in [RUN, SAMPLE_PROCESS] {
            ensure!(root.join(script).is_file(), "the peer's script {script} is missing");
        }
        for module in MODULES {
            let imports = Command::new(python).args(["-c", &format!("import {module}")]).output();
            if !imports.is_ok_and(|output| output.status.success()) {
                bail!(Mistake(format!(
                    "{} cannot import {module}; give a Python that can: pip install torch diffusers",
                    python.display()
                )));
            }
        }
        let mut peer = Self { python: python.to_path_buf(), root, names: Vec::new() };
        peer.names = peer.run(["--list"])?.lines().map(str::to_owned).collect();
        Ok(peer)
    }

    /// Milliseconds of a measurement; `None` if the peer has none of this name.
    pub(super) fn time(&self, name: &str, threads: usize, effort: &Effort) -> Result<Option<Samples>> {
        if !self.knows(name) {
            return Ok(None);
        }
        let threads = threads.to_string();
        let arguments = [&[name, "--threads", &threads][..], effort.peer].concat();
        let line = parse(&self.run(arguments)?, name)?;
        let mut samples = Samples::default();
        for (setting, times) in line.times_ms.with_context(|| format!("no times of {name}"))? {
            samples.extend(Samples::of(&setting, times));
        }
        Ok(Some(samples))
    }

    /// Peak memory in MiB, each memory format in a process of its own; `None` if the peer has none of this name.
    pub(super) fn memory(&self, name: &str, threads: usize) -> Result<Option<Samples>> {
        if !self.knows(name) {
            return Ok(None);
        }
        let threads = threads.to_string();
        let mut samples = Samples::default();
        for setting in MEMORY_FORMATS {
            let printed = self.run([name, "--threads", &threads, "--memory-format", setting])?;
            let peak = parse(&printed, name)?.peak_rss_mib.with_context(|| format!("no peak of {name}"))?;
            samples.extend(Samples::of(setting, vec![peak]));
        }
        Ok(Some(samples))
    }

    /// The process that loads `model`, samples and writes `picture`.
    pub(super) fn sample_process(&self, model: &Path, picture: &Path, threads: usize) -> Command {
        let mut command = Command::new(&self.python);
        command.current_dir(&self.root).arg(SAMPLE_PROCESS).arg("--model").arg(model);
        command.arg("--grid").arg(picture).args(["--num", NUM_SAMPLES, "--threads", &threads.to_string()]);
        command
    }

    fn knows(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let output = Command::new(&self.python)
            .arg(RUN)
            .args(arguments)
            .current_dir(&self.root)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.python.display()))?;
        ensure!(output.status.success(), "{RUN} failed ({})", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The measurement of this name among the lines; other lines are for people.
fn parse(text: &str, name: &str) -> Result<Line> {
    for line in text.lines().map(str::trim).filter(|line| line.starts_with('{')) {
        let read: Line = serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))?;
        if read.name == name {
            return Ok(read);
        }
    }
    bail!("{RUN} printed no measurement of {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_among_others() {
        let text =
            "torch 2.15\n{\"name\": \"step\", \"times_ms\": {\"contiguous\": [2, 3.5]}, \"torch\": \"2\"}\n";
        let line = parse(text, "step").unwrap();
        assert_eq!(line.times_ms.unwrap()["contiguous"], [2.0, 3.5]);
        assert_eq!(line.peak_rss_mib, None);
    }

    #[test]
    fn another_name_or_no_name_is_no_answer() {
        let error = |text| parse(text, "step").err().map(|error| format!("{error:#}")).unwrap();
        assert!(error(r#"{"name": "conv"}"#).contains("no measurement of step"));
        assert!(error(r#"{"ms": 3}"#).contains("not a measurement"));
    }

    #[test]
    fn the_scripts_and_the_task_agree_on_their_names() {
        let sh = crate::workspace::shell().unwrap();
        for script in [RUN, SAMPLE_PROCESS] {
            assert!(sh.current_dir().join(script).is_file(), "{script}");
        }
    }
}
