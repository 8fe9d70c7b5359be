//! The table of a comparison.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::workspace;

/// What one recipe came to.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) images: u64,
    pub(super) secs: f64,
    pub(super) scores: Vec<Score>,
    pub(super) commands: Vec<String>,
}

/// What `ct eval --json` said of a number of steps.
#[derive(Debug)]
pub(super) struct Score {
    pub(super) steps: usize,
    pub(super) report: Value,
}

/// Writes the table as text and as numbers.
pub(super) fn write(rows: &[Row], budget: f64, out: &Path) -> Result<()> {
    let numbers: Vec<Value> = rows
        .iter()
        .map(|row| {
            let scores: Vec<Value> = row
                .scores
                .iter()
                .map(|score| json!({ "steps": score.steps, "report": score.report }))
                .collect();
            let Row { name, images, secs, commands, .. } = row;
            json!({ "recipe": name, "images": images, "secs": secs, "commands": commands, "scores": scores })
        })
        .collect();
    workspace::write_tables(out, markdown(rows, budget), &numbers)
}

/// The table in markdown: a line for each recipe and number of steps, and the commands below.
pub(super) fn markdown(rows: &[Row], budget: f64) -> String {
    let names: Vec<String> = rows
        .iter()
        .flat_map(|row| &row.scores)
        .next()
        .map(|score| figures(score, "value"))
        .unwrap_or_default();
    let names: Vec<&str> =
        names.iter().filter_map(|figure| figure.split_once(' ')).map(|(name, _)| name).collect();
    let mut text =
        format!("| recipe ({budget:.0} s each) | steps | {} | images seen | training |\n", names.join(" | "));
    _ = writeln!(text, "|---|---|{}---|---|", "---|".repeat(names.len()));
    let values = |figures: Vec<String>| {
        let values: Vec<String> = figures
            .iter()
            .filter_map(|figure| figure.split_once(' '))
            .map(|(_, value)| value.to_owned())
            .collect();
        values.join(" | ")
    };
    for row in rows {
        for score in &row.scores {
            let (name, images, secs) = (&row.name, row.images, row.secs);
            let figures = values(figures(score, "value"));
            _ = writeln!(text, "| {name} | {} | {figures} | {images} | {secs:.0} s |", score.steps);
        }
    }
    if let Some(score) = rows.iter().flat_map(|row| &row.scores).next() {
        _ = writeln!(text, "| held-out data | | {} | | |", values(figures(score, "floor")));
    }
    for row in rows {
        _ = writeln!(text, "\n{}:\n", row.name);
        row.commands.iter().for_each(|command| _ = writeln!(text, "    {command}"));
    }
    text
}

/// `name value` of each figure of a report; `of` is `value` or `floor`.
fn figures(score: &Score, of: &str) -> Vec<String> {
    let figures = score.report.get("figures").and_then(Value::as_object);
    let shown = |figure: &Value| {
        let value = figure.get(of).and_then(Value::as_f64);
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
    };
    let named = |(name, figure): (&String, &Value)| format!("{name} {}", shown(figure));
    figures.map(|figures| figures.iter().map(named).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_number_of_steps_and_the_floor() {
        let report = json!({
            "figures": {
                "FD-digits": { "value": 1.5, "std": null, "floor": 0.5 },
                "KID-digits": { "value": 0.25, "std": 0.1, "floor": 0.0 },
            },
        });
        let scores = vec![Score { steps: 1, report: report.clone() }, Score { steps: 2, report }];
        let commands = vec!["ct train digits".to_owned()];
        let row = Row { name: "ect".to_owned(), images: 640, secs: 59.6, scores, commands };
        let expected = "\
| recipe (60 s each) | steps | FD-digits | KID-digits | images seen | training |
|---|---|---|---|---|---|
| ect | 1 | 1.5000 | 0.2500 | 640 | 60 s |
| ect | 2 | 1.5000 | 0.2500 | 640 | 60 s |
| held-out data | | 0.5000 | 0.0000 | | |

ect:

    ct train digits
";
        assert_eq!(markdown(&[row], 60.0), expected);
    }
}
