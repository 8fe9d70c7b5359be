//! Measurements, and how ours and the peer's become one table.

use std::fmt::Write as _;

use serde::Serialize;

/// One number that somebody measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    /// What was measured; ours and the peer's are the same question when the names are equal.
    pub(super) name: String,
    /// Median time in milliseconds.
    pub(super) ms: f64,
    /// How many timings the median is taken over, where that is known.
    pub(super) runs: Option<usize>,
    pub(super) device: String,
}

/// One row of `bench.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    name: String,
    ms: f64,
    peer_ms: Option<f64>,
    unit: &'static str,
    runs: Option<usize>,
    device: String,
    commit: String,
}

/// A row for each of our measurements, with the peer's of the same name and device beside it.
pub(super) fn join(ours: &[Measurement], peers: &[Measurement], commit: &str) -> Vec<Row> {
    ours.iter()
        .map(|our| Row {
            name: our.name.clone(),
            ms: our.ms,
            peer_ms: peers.iter().find(|peer| same_question(our, peer)).map(|peer| peer.ms),
            unit: "ms",
            runs: our.runs,
            device: our.device.clone(),
            commit: commit.to_owned(),
        })
        .collect()
}

/// Names of what the peer measured and we did not.
pub(super) fn without_ours<'a>(ours: &[Measurement], peers: &'a [Measurement]) -> Vec<&'a str> {
    let unmatched = peers.iter().filter(|peer| !ours.iter().any(|our| same_question(our, peer)));
    unmatched.map(|peer| peer.name.as_str()).collect()
}

fn same_question(our: &Measurement, peer: &Measurement) -> bool {
    our.name == peer.name && our.device == peer.device
}

/// The rows as text for a terminal.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:width$}  {:>10}  {:>10}  {:>10}", "name", "ms", "peer ms", "ours/peer");
    for row in rows {
        let peer = row.peer_ms.map_or_else(String::new, |ms| format!("{ms:.3}"));
        let ratio = row.peer_ms.map_or_else(String::new, |ms| format!("{:.2}", row.ms / ms));
        let _ = writeln!(text, "{:width$}  {:>10.3}  {peer:>10}  {ratio:>10}", row.name, row.ms);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, ms: f64) -> Measurement {
        Measurement { name: name.to_owned(), ms, runs: None, device: "cpu".to_owned() }
    }

    #[test]
    fn rows_join_by_name() {
        let ours = [measured("conv/a", 2.0), measured("conv/b", 3.0)];
        let peers = [measured("conv/b", 6.0), measured("step", 1700.0)];
        let rows = join(&ours, &peers, "abc");
        assert_eq!(rows.iter().map(|row| row.peer_ms).collect::<Vec<_>>(), [None, Some(6.0)]);
        assert_eq!(without_ours(&ours, &peers), ["step"]);
    }

    #[test]
    fn another_device_is_another_question() {
        let peer = Measurement { device: "cuda".to_owned(), ..measured("conv/a", 1.0) };
        assert_eq!(join(&[measured("conv/a", 2.0)], &[peer], "abc")[0].peer_ms, None);
    }

    #[test]
    fn the_table_leaves_unknown_numbers_empty() {
        let text = table(&join(&[measured("conv", 2.0)], &[], "abc"));
        assert_eq!(text.lines().nth(1).map(str::trim_end), Some("conv       2.000"));
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn json_rows_have_the_published_keys() {
        let row = &join(&[measured("conv", 2.0)], &[], "abc")[0];
        let text = serde_json::to_string(row).unwrap();
        let expected = r#"{"name":"conv","ms":2.0,"peer_ms":null,"unit":"ms","runs":null,"device":"cpu","commit":"abc"}"#;
        assert_eq!(text, expected);
    }
}
