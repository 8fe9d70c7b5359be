//! One criterion bench, and what it left on disk: `benchmark.json` and `sample.json` in a folder named `new`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::effort::Effort;
use super::samples::Samples;

/// How our benches are told the number of threads.
pub(super) const THREADS: &str = "CT_BENCH_THREADS";

const NS_PER_MS: f64 = 1e6;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: Option<u64>,
}

#[derive(Deserialize)]
struct Sample {
    /// Iterations of each sample.
    iters: Vec<f64>,
    /// Nanoseconds of all iterations of a sample together.
    times: Vec<f64>,
}

/// Runs one bench of `program`: milliseconds of each sample, and the elements that the bench counts.
pub(super) fn measure(
    program: &Path,
    name: &str,
    threads: usize,
    effort: &Effort,
) -> Result<(Samples, Option<u64>)> {
    let home = results_folder(program)?;
    let start = SystemTime::now();
    let output = Command::new(program)
        .args(["--bench", "--noplot", "--exact", name])
        .args(effort.criterion)
        .env("CRITERION_HOME", &home)
        .env(THREADS, threads.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed ({}): {}", program.display(), output.status, said.trim());
    let mut found = Vec::new();
    collect(&home, start, name, &mut found)?;
    found.pop().with_context(|| format!("criterion left no measurement of {name}"))
}

/// Where criterion writes: beside the program, which lies in the target folder.
fn results_folder(program: &Path) -> Result<PathBuf> {
    let folder = program.parent().context("a program without a folder")?;
    Ok(folder.join("criterion"))
}

/// What was measured of `name` since `start`; older results are another sitting's.
fn collect(
    folder: &Path,
    start: SystemTime,
    name: &str,
    found: &mut Vec<(Samples, Option<u64>)>,
) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(()); // a bench that measures nothing leaves no folder
    };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if !path.is_dir() {
            continue;
        }
        if !path.ends_with("new") {
            collect(&path, start, name, found)?;
        } else if is_recent(&path.join("sample.json"), start) {
            let benchmark: Benchmark = read_json(&path.join("benchmark.json"))?;
            if benchmark.full_id == name {
                let sample: Sample = read_json(&path.join("sample.json"))?;
                found.push((samples(&sample), benchmark.throughput.and_then(|of| of.elements)));
            }
        }
    }
    Ok(())
}

fn samples(sample: &Sample) -> Samples {
    let per_iteration = sample.times.iter().zip(&sample.iters).map(|(time, iters)| time / iters / NS_PER_MS);
    Samples::of("", per_iteration.collect())
}

fn is_recent(file: &Path, start: SystemTime) -> bool {
    std::fs::metadata(file).and_then(|data| data.modified()).is_ok_and(|time| time >= start)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what criterion writes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench_folder(home: &Path, name: &str, throughput: &str) {
        let folder = home.join(name).join("new");
        std::fs::create_dir_all(&folder).unwrap();
        let benchmark = format!(r#"{{"full_id":"{name}","throughput":{throughput}}}"#);
        std::fs::write(folder.join("benchmark.json"), benchmark).unwrap();
        let sample = r#"{"sampling_mode":"Flat","iters":[1.0,2.0,2.0],"times":[3e6,2e6,4e6]}"#;
        std::fs::write(folder.join("sample.json"), sample).unwrap();
    }

    fn found(home: &Path, start: SystemTime, name: &str) -> Vec<(Samples, Option<u64>)> {
        let mut found = Vec::new();
        collect(home, start, name, &mut found).unwrap();
        found
    }

    #[test]
    fn samples_are_milliseconds_of_one_iteration() {
        let home = tempfile::tempdir().unwrap();
        bench_folder(home.path(), "norm/fwd", r#"{"Elements":64}"#);
        bench_folder(home.path(), "conv", "null");
        let read = found(home.path(), SystemTime::UNIX_EPOCH, "norm/fwd");
        assert_eq!(read, [(Samples::of("", vec![3.0, 1.0, 2.0]), Some(64))]);
        assert_eq!(found(home.path(), SystemTime::UNIX_EPOCH, "conv")[0].1, None);
    }

    #[test]
    fn an_earlier_sitting_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        bench_folder(home.path(), "conv", "null");
        let later = SystemTime::now() + std::time::Duration::from_mins(1);
        assert_eq!(found(home.path(), later, "conv"), []);
        assert_eq!(found(&home.path().join("missing"), SystemTime::UNIX_EPOCH, "conv"), []);
    }
}
