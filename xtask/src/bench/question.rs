//! What can be measured, and how our side answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::criterion;
use super::effort::Effort;
use super::peer::Peer;
use super::process::ModelFolder;
use super::samples::Samples;
use crate::mistake::Mistake;

/// How many names an error message gives as examples.
const EXAMPLES: usize = 8;

/// One thing to measure; the peer knows it by the same name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) how: How,
}

/// Which program of ours answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// A criterion bench.
    Criterion { program: PathBuf },
    /// A program that does the work and prints the peak of its memory.
    Memory { program: PathBuf },
    /// `ct sample`, from its start to its exit.
    Process { folder: ModelFolder },
}

/// What a program that measures its memory prints.
#[derive(Deserialize)]
struct Peak {
    peak_rss_mib: Option<f64>,
}

impl Question {
    /// Unit of the values.
    pub(super) fn unit(&self) -> &'static str {
        if matches!(self.how, How::Memory { .. }) { "MiB" } else { "ms" }
    }

    /// Memory is measured once: it does not vary as time does.
    pub(super) fn rounds(&self, wanted: usize) -> usize {
        if matches!(self.how, How::Memory { .. }) { 1 } else { wanted }
    }

    /// One round of ours, and the work of one run where the bench tells it.
    pub(super) fn ask_us(&self, threads: usize, effort: &Effort) -> Result<(Samples, Option<u64>)> {
        match &self.how {
            How::Criterion { program } => criterion::measure(program, &self.name, threads, effort),
            How::Memory { program } => {
                Ok((Samples::of("", vec![memory(program, &self.name, threads)?]), None))
            }
            How::Process { folder } => {
                Ok((Samples::of("", folder.time_ours(threads, effort.processes)?), None))
            }
        }
    }

    /// One round of the peer's; `None` where it has no such measurement.
    pub(super) fn ask_peer(&self, peer: &Peer, threads: usize, effort: &Effort) -> Result<Option<Samples>> {
        match &self.how {
            How::Criterion { .. } => peer.time(&self.name, threads, effort),
            How::Memory { .. } => peer.memory(&self.name, threads),
            How::Process { folder } => {
                let command = peer.sample_process(&folder.model()?, &folder.picture("peer"), threads);
                let times = super::process::time(command, effort.peer_processes)?;
                Ok(Some(Samples::of("", times)))
            }
        }
    }
}

/// Runs `program` for one name and reads the line that it prints.
fn memory(program: &Path, name: &str, threads: usize) -> Result<f64> {
    let output = Command::new(program)
        .args(["--bench", name])
        .env(criterion::THREADS, threads.to_string())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(output.status.success(), "{} failed ({})", program.display(), output.status);
    let peak: Peak = serde_json::from_slice(&output.stdout).context("the peak of memory was not printed")?;
    peak.peak_rss_mib.context("this system does not tell the peak of a process's memory")
}

/// The questions whose names hold one of `filters`; all without a filter.
pub(super) fn select(questions: Vec<Question>, filters: &[String]) -> Result<Vec<Question>> {
    let is_wanted = |question: &Question| {
        filters.is_empty() || filters.iter().any(|filter| question.name.contains(filter.as_str()))
    };
    let (wanted, others): (Vec<_>, Vec<_>) = questions.into_iter().partition(is_wanted);
    if wanted.is_empty() {
        bail!(Mistake(format!(
            "no bench has a name with `{}` in it; names are for example\n  {}",
            filters.join("` or `"),
            examples(&others).join("\n  ")
        )));
    }
    Ok(wanted)
}

/// Names that show the range of questions.
fn examples(questions: &[Question]) -> Vec<&str> {
    let step = questions.len().div_ceil(EXAMPLES).max(1);
    questions.iter().step_by(step).map(|question| question.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions() -> Vec<Question> {
        let how = How::Criterion { program: PathBuf::from("bench") };
        ["cpu_f32/conv3x3/b1", "cpu_f32/conv3x3_fwd/b1", "cpu_f32/linear/n1"]
            .map(|name| Question { name: name.to_owned(), how: how.clone() })
            .to_vec()
    }

    fn selected(filters: &[&str]) -> Result<Vec<String>> {
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        Ok(select(questions(), &filters)?.into_iter().map(|question| question.name).collect())
    }

    #[test]
    fn filters_are_parts_of_names() {
        assert_eq!(selected(&["conv3x3/"]).unwrap(), ["cpu_f32/conv3x3/b1"]);
        assert_eq!(selected(&["_fwd", "linear"]).unwrap(), ["cpu_f32/conv3x3_fwd/b1", "cpu_f32/linear/n1"]);
        assert_eq!(selected(&[]).unwrap().len(), 3);
    }

    #[test]
    fn a_filter_that_fits_nothing_is_a_mistake_with_names_to_try() {
        let error = selected(&["cnov"]).unwrap_err();
        assert!(error.is::<Mistake>());
        assert!(error.to_string().contains("cpu_f32/linear/n1"), "{error}");
    }
}
