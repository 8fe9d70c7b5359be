//! The programs that measure, all built before the first measurement.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::process::ModelFolder;
use super::question::{How, Question};
use crate::workspace::{self, Workspace};

/// The bench that is no criterion bench: it prints the peak of its memory.
const PEAK_MEMORY: &str = "peak_memory";

/// One line of cargo's report, as far as it names a program.
#[derive(Deserialize)]
struct Artifact {
    target: Option<workspace::Target>,
    executable: Option<PathBuf>,
}

/// Builds everything, and asks each program which questions it can answer.
pub(super) fn questions(sh: &Shell, workspace: &Workspace) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    for (name, program) in build_benches(sh, workspace)? {
        let how = |program: &Path| {
            let program = program.to_path_buf();
            if name == PEAK_MEMORY { How::Memory { program } } else { How::Criterion { program } }
        };
        let names = list(&program)?;
        questions.extend(names.into_iter().map(|name| Question { name, how: how(&program) }));
    }
    let ct = workspace::build_ct(workspace)?;
    let folder = ModelFolder::new(ct, &workspace.target_directory);
    questions.push(Question { name: "process/sample_digits".to_owned(), how: How::Process { folder } });
    Ok(questions)
}

/// Names and programs of all bench targets.
fn build_benches(sh: &Shell, workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let targets = bench_targets(workspace);
    let report = cmd!(sh, "cargo bench --no-run --message-format json-render-diagnostics {targets...}")
        .read()
        .context("the benches did not build; the compiler's message stands above")?;
    Ok(report.lines().filter_map(bench_program).collect())
}

/// The arguments of `cargo bench` that select every bench target of the workspace.
fn bench_targets(workspace: &Workspace) -> Vec<String> {
    let mut arguments = Vec::new();
    for package in &workspace.packages {
        let benches: Vec<_> = package.targets.iter().filter(|target| is_bench(target)).collect();
        if !benches.is_empty() {
            arguments.extend(["--package".to_owned(), package.name.clone()]);
        }
        for bench in benches {
            arguments.extend(["--bench".to_owned(), bench.name.clone()]);
        }
    }
    arguments
}

fn is_bench(target: &workspace::Target) -> bool {
    target.kind.iter().any(|kind| kind == "bench")
}

/// The bench that a line of cargo's report names.
fn bench_program(line: &str) -> Option<(String, PathBuf)> {
    let Artifact { target, executable } = serde_json::from_str(line).ok()?;
    let target = target.filter(is_bench)?;
    Some((target.name, executable?))
}

/// What `program` can measure.
fn list(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program)
        .args(["--bench", "--list"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(output.status.success(), "{} cannot list its benches ({})", program.display(), output.status);
    Ok(parse_list(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_list(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim().strip_suffix(": benchmark")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_are_told_from_other_artifacts() {
        let line = |kind, executable| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"kernels","kind":["{kind}"]}},"executable":{executable}}}"#
            )
        };
        let found = bench_program(&line("bench", "\"target/kernels-1\""));
        assert_eq!(found, Some(("kernels".to_owned(), PathBuf::from("target/kernels-1"))));
        assert_eq!(bench_program(&line("lib", "null")), None);
        assert_eq!(bench_program(&line("test", "\"target/it-1\"")), None);
        assert_eq!(bench_program(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn lists_are_read() {
        let text = "cpu_f32/conv3x3/b1: benchmark\n\ncpu_f32/linear/n2: benchmark\n2 benchmarks\n";
        assert_eq!(parse_list(text), ["cpu_f32/conv3x3/b1", "cpu_f32/linear/n2"]);
    }
}
