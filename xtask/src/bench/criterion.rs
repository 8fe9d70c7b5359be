//! What criterion left on disk: `benchmark.json`, `estimates.json` and `sample.json` in folders named `new`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::rows::Measurement;
use crate::workspace::Workspace;

const NS_PER_MS: f64 = 1e6;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    /// Nanoseconds.
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Sample {
    times: Vec<f64>,
}

/// The arguments of `cargo bench` that select every bench target of the workspace.
/// Naming them keeps the unit tests out, whose harness does not know criterion's options.
pub(super) fn bench_targets(workspace: &Workspace) -> Vec<String> {
    let mut arguments = Vec::new();
    for package in &workspace.packages {
        let benches: Vec<_> =
            package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bench")).collect();
        if !benches.is_empty() {
            arguments.extend(["--package".to_owned(), package.name.clone()]);
        }
        for bench in benches {
            arguments.extend(["--bench".to_owned(), bench.name.clone()]);
        }
    }
    arguments
}

/// Medians of the benches that finished since `start`; older results are another sitting's.
pub(super) fn measurements_since(home: &Path, start: SystemTime) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    collect(home, start, &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(folder: &Path, start: SystemTime, found: &mut Vec<Measurement>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(()); // a bench that measures nothing leaves no folder
    };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if !path.is_dir() {
            continue;
        }
        if path.ends_with("new") && is_recent(&path.join("estimates.json"), start) {
            found.push(read_measurement(&path)?);
        } else {
            collect(&path, start, found)?;
        }
    }
    Ok(())
}

fn is_recent(file: &PathBuf, start: SystemTime) -> bool {
    std::fs::metadata(file).and_then(|data| data.modified()).is_ok_and(|time| time >= start)
}

fn read_measurement(folder: &Path) -> Result<Measurement> {
    let benchmark: Benchmark = read_json(&folder.join("benchmark.json"))?;
    let estimates: Estimates = read_json(&folder.join("estimates.json"))?;
    let runs = read_json(&folder.join("sample.json")).ok().map(|sample: Sample| sample.times.len());
    Ok(Measurement {
        name: benchmark.full_id,
        ms: estimates.median.point_estimate / NS_PER_MS,
        runs,
        device: "cpu".to_owned(),
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what criterion writes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench_folder(home: &Path, name: &str, ns: f64) {
        let folder = home.join(name).join("new");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("benchmark.json"), format!(r#"{{"full_id":"{name}"}}"#)).unwrap();
        let estimates = format!(r#"{{"median":{{"point_estimate":{ns}}}}}"#);
        std::fs::write(folder.join("estimates.json"), estimates).unwrap();
        std::fs::write(folder.join("sample.json"), r#"{"iters":[1,2],"times":[5,6]}"#).unwrap();
    }

    #[test]
    fn medians_are_read_in_milliseconds() {
        let home = tempfile::tempdir().unwrap();
        bench_folder(home.path(), "norm/fwd", 2.5e6);
        bench_folder(home.path(), "conv", 1e6);
        let found = measurements_since(home.path(), SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            found.iter().map(|one| (one.name.as_str(), one.ms)).collect::<Vec<_>>(),
            [("conv", 1.0), ("norm/fwd", 2.5)]
        );
        assert_eq!(found[0].runs, Some(2));
    }

    #[test]
    fn an_earlier_sitting_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        bench_folder(home.path(), "conv", 1e6);
        let later = SystemTime::now() + std::time::Duration::from_mins(1);
        assert_eq!(measurements_since(home.path(), later).unwrap(), []);
        assert_eq!(measurements_since(&home.path().join("missing"), later).unwrap(), []);
    }
}
