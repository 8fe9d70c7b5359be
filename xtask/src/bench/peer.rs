//! The peer's side: the scripts in `bench/pytorch`, each printing one JSON object per measurement.
//!
//! A line gives its name outright (`name`, `ms`), or the facts that make one up:
//! `bench`, then `config` or `part`, then the shape or the batch, in the order in which criterion builds
//! `group/function/value`.
//! So a bench of ours called `conv/both/64x32x28` stands beside the peer's line
//! `{"bench": "conv", "part": "both", "shape": [64, 32, 28], "median_ms": ..}`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use xshell::Shell;

use super::rows::Measurement;
use crate::mistake::Mistake;

const FOLDER: &str = "bench/pytorch";

/// Each script with its arguments.
const CALLS: [(&str, &[&str]); 4] = [
    ("train_step.py", &["digits"]),
    ("train_step.py", &["unet28_b64"]),
    ("sample.py", &["digits"]),
    ("conv.py", &[]),
];

/// Repetitions for a first impression.
const QUICK: [&str; 2] = ["--runs", "3"];

/// What a script prints; facts that are not listed here are for people.
#[derive(Deserialize)]
struct Line {
    name: Option<String>,
    #[serde(alias = "median_ms")]
    ms: f64,
    runs: Option<usize>,
    device: Option<String>,
    bench: Option<String>,
    config: Option<String>,
    part: Option<String>,
    shape: Option<Vec<usize>>,
    batch: Option<usize>,
}

/// Says what is missing before an hour of measuring, not after.
pub(super) fn check(sh: &Shell, python: &Path) -> Result<()> {
    for (script, _) in CALLS {
        let path = sh.current_dir().join(FOLDER).join(script);
        ensure!(path.is_file(), "the peer's script {} is missing", path.display());
    }
    let imports_torch = Command::new(python).args(["-c", "import torch"]).output();
    if !imports_torch.is_ok_and(|output| output.status.success()) {
        bail!(Mistake(format!("{} cannot import torch; give a Python that can", python.display())));
    }
    Ok(())
}

/// Runs every script and collects what it printed.
pub(super) fn measure(sh: &Shell, python: &Path, quick: bool) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for (script, arguments) in CALLS {
        let script = Path::new(FOLDER).join(script);
        eprintln!("$ {} {} {}", python.display(), script.display(), arguments.join(" "));
        let output = Command::new(python)
            .arg(&script)
            .args(arguments)
            .args(if quick { &QUICK[..] } else { &[] })
            .current_dir(sh.current_dir())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", python.display()))?;
        ensure!(output.status.success(), "{} failed ({})", script.display(), output.status);
        let printed = String::from_utf8_lossy(&output.stdout);
        measurements.extend(parse(&printed).with_context(|| script.display().to_string())?);
    }
    Ok(measurements)
}

/// Reads the JSON objects among the lines; other lines are for people.
fn parse(text: &str) -> Result<Vec<Measurement>> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('{'));
    lines.map(|line| parse_line(line).with_context(|| format!("not a measurement: {line}"))).collect()
}

fn parse_line(text: &str) -> Result<Measurement> {
    let line: Line = serde_json::from_str(text)?;
    let name = match &line.name {
        Some(name) => name.clone(),
        None => name_from_facts(&line).context("it has neither `name` nor `bench`")?,
    };
    let device = line.device.unwrap_or_else(|| "cpu".to_owned());
    Ok(Measurement { name, ms: line.ms, runs: line.runs, device })
}

fn name_from_facts(line: &Line) -> Option<String> {
    let mut name = line.bench.clone()?;
    for part in [&line.config, &line.part].into_iter().flatten() {
        name = name + "/" + part;
    }
    if let Some(shape) = &line.shape {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        name = name + "/" + &sizes.join("x");
    }
    if let Some(batch) = line.batch {
        write!(name, "/b{batch}").ok()?;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_lines_are_read_among_others() {
        let text = "torch 2.15\n{\"name\": \"step\", \"ms\": 1737.5}\n {\"name\": \"conv\", \"ms\": 2, \"runs\": 9}\n";
        let read = parse(text).unwrap();
        let first = Measurement { name: "step".to_owned(), ms: 1737.5, runs: None, device: "cpu".to_owned() };
        assert_eq!(read[0], first);
        assert_eq!(read[1].runs, Some(9));
    }

    #[test]
    fn facts_make_a_name() {
        let name = |text| parse_line(text).unwrap().name;
        let conv =
            r#"{"bench": "conv", "shape": [64, 32, 28], "part": "both", "median_ms": 22.1, "torch": "2"}"#;
        assert_eq!(name(conv), "conv/both/64x32x28");
        let sample = r#"{"bench": "sample", "config": "digits", "batch": 64, "median_ms": 9.5}"#;
        assert_eq!(name(sample), "sample/digits/b64");
    }

    #[test]
    fn a_line_without_a_number_is_refused() {
        let error = parse(r#"{"name": "step"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("not a measurement"), "{error:#}");
        assert!(parse(r#"{"ms": 3}"#).is_err());
    }
}
