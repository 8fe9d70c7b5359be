//! The rows of `bench.json`, and the table that a person reads.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::samples::Samples;

/// One row of `bench.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: String,
    /// Median of ours: a time in milliseconds, or whatever `unit` says.
    pub(super) ms: f64,
    /// Median of the peer's under its best setting.
    pub(super) peer_ms: Option<f64>,
    /// `ms`, or `MiB` for memory.
    pub(super) unit: String,
    /// Values that our median is taken over.
    pub(super) runs: usize,
    pub(super) device: String,
    pub(super) commit: String,
    pub(super) threads: usize,
    pub(super) peer_runs: Option<usize>,
    /// The peer's best setting.
    pub(super) peer_setting: Option<String>,
    /// Whether something was measured although the machine was busy.
    pub(super) noisy: bool,
    /// Work of one run: multiply-adds in the scaling series, elsewhere images, rows or parameters.
    pub(super) work: Option<u64>,
}

/// What all rows of a sitting share.
#[derive(Debug, Clone)]
pub(super) struct Sitting {
    pub(super) commit: String,
    pub(super) threads: usize,
}

/// All that was measured of one question.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) ours: Samples,
    pub(super) peers: Samples,
    pub(super) work: Option<u64>,
    pub(super) noisy: bool,
}

impl Row {
    /// The row of a question; `None` if ours was not measured.
    pub(super) fn new(name: &str, unit: &str, measured: &Measured, sitting: &Sitting) -> Option<Self> {
        let (ours, peers) = (measured.ours.best()?, measured.peers.best());
        Some(Self {
            name: name.to_owned(),
            ms: ours.median,
            peer_ms: peers.as_ref().map(|best| best.median),
            unit: unit.to_owned(),
            runs: ours.runs,
            device: "cpu".to_owned(),
            commit: sitting.commit.clone(),
            threads: sitting.threads,
            peer_runs: peers.as_ref().map(|best| best.runs),
            peer_setting: peers.map(|best| best.setting).filter(|setting| !setting.is_empty()),
            noisy: measured.noisy,
            work: measured.work,
        })
    }

    /// Ours over the peer's.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.peer_ms.map(|peer| self.ms / peer)
    }
}

/// The rows as text for a terminal.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:width$}  {:>10}  {:>10}       {:>9}", "name", "ours", "peer", "ours/peer");
    for row in rows {
        let peer = row.peer_ms.map_or_else(String::new, |ms| format!("{ms:.3}"));
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let (name, ms, unit) = (&row.name, row.ms, &row.unit);
        let mark = if row.noisy { "  noisy" } else { "" };
        let _ = writeln!(text, "{name:width$}  {ms:>10.3}  {peer:>10}  {unit:<3}  {ratio:>9}{mark}");
    }
    text
}

/// The file of the newest sitting.
pub(super) fn path(target: &Path) -> PathBuf {
    target.join("xtask").join("bench.json")
}

/// Writes the rows beside their place and renames them, so that an interruption leaves the file whole.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let shown = path.display();
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let text = serde_json::to_string_pretty(rows).context("cannot write the rows as JSON")?;
    let beside = path.with_extension("json.partial");
    std::fs::write(&beside, text + "\n").with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot write {shown}"))
}

/// Reads what [`write()`] wrote.
pub(super) fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what this task writes: measure again", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn row(name: &str, ours: f64, peer: Option<f64>, work: Option<u64>) -> Row {
        let peers = peer.map_or_else(Samples::default, |peer| Samples::of("contiguous", vec![peer]));
        let measured = Measured { ours: Samples::of("", vec![ours]), peers, work, noisy: false };
        let sitting = Sitting { commit: "abc".to_owned(), threads: 2 };
        Row::new(name, "ms", &measured, &sitting).unwrap()
    }

    #[test]
    fn a_row_needs_a_measurement_of_ours() {
        let sitting = Sitting { commit: "abc".to_owned(), threads: 2 };
        let measured = Measured { peers: Samples::of("contiguous", vec![1.0]), ..Measured::default() };
        assert_eq!(Row::new("step", "ms", &measured, &sitting), None);
    }

    #[test]
    fn the_table_leaves_unknown_numbers_empty() {
        let text = table(&[row("conv", 2.0, None, None), row("step", 3.0, Some(6.0), None)]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[1], "conv       2.000              ms");
        assert_eq!(lines[2], "step       3.000       6.000  ms        0.50");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn json_rows_have_the_published_keys() {
        let text = serde_json::to_string(&row("conv", 2.0, None, None)).unwrap();
        let expected = r#"{"name":"conv","ms":2.0,"peer_ms":null,"unit":"ms","runs":1,"device":"cpu","commit":"abc","threads":2,"peer_runs":null,"peer_setting":null,"noisy":false,"work":null}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn rows_survive_the_file() {
        let home = tempfile::tempdir().unwrap();
        let path = path(home.path());
        let rows = [row("conv", 2.0, Some(4.0), Some(64))];
        write(&path, &rows).unwrap();
        assert_eq!(read(&path).unwrap(), rows);
    }
}
