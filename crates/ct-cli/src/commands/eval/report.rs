//! What `ct eval` says: a table for people, one JSON object for programs.

use std::fmt;
use std::path::PathBuf;

use ct_eval::{Figure, Report};
use serde_json::{Map, Value, json};

use crate::sampling::Way;

/// Where the samples come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Drawn from a model, in this way.
    Model(PathBuf, Way),
    /// Read from a file.
    File(PathBuf),
}

/// A comparison of samples with data, beside that of held-out data with the training data.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) origin: Origin,
    /// The data, by its spec.
    pub(crate) data: String,
    /// `train`, or `held-out` for points.
    pub(crate) reference: &'static str,
    /// What is compared: the name of the network, `pixels` or `points`.
    pub(crate) space: String,
    pub(crate) samples: Report,
    /// What a perfect model would have, where there is held-out data.
    pub(crate) floor: Option<Report>,
}

impl Evaluation {
    /// One object with every figure.
    pub(crate) fn to_json(&self) -> Value {
        let figures: Map<String, Value> = (self.samples.figures.iter().enumerate())
            .map(|(idx, figure)| {
                let floor = self.floor.as_ref().and_then(|floor| floor.figures.get(idx));
                let value = json!({
                    "value": figure.value,
                    "std": figure.std,
                    "floor": floor.map(|floor| floor.value),
                });
                (figure.name.clone(), value)
            })
            .collect();
        let (model, file, sigmas) = match &self.origin {
            Origin::Model(path, way) => (Some(path), None, Some(&way.sigmas)),
            Origin::File(path) => (None, Some(path), None),
        };
        json!({
            "model": model,
            "samples": file,
            "sigmas": sigmas,
            "num_samples": self.samples.num_generated,
            "data": self.data,
            "reference": self.reference,
            "num_real": self.samples.num_real,
            "num_held_out": self.floor.as_ref().map(|floor| floor.num_generated),
            "space": self.space,
            "figures": figures,
        })
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { num_generated, num_real, figures } = &self.samples;
        let how = match &self.origin {
            Origin::Model(path, way) => match way.evaluations() {
                1 => format!("one-step samples of {}", path.display()),
                evaluations => format!("samples of {} in {evaluations} evaluations", path.display()),
            },
            Origin::File(path) => format!("samples of {}", path.display()),
        };
        writeln!(f, "{num_generated} {how} against {num_real} of {} ({})", self.data, self.reference)?;
        let held_out = self.floor.as_ref().map(|floor| format!("{} held-out", floor.num_generated));
        let mut rows = vec![[String::new(), "samples".to_owned(), held_out.unwrap_or_default()]];
        for (idx, figure) in figures.iter().enumerate() {
            let floor = self.floor.as_ref().and_then(|floor| floor.figures.get(idx));
            rows.push([figure.name.clone(), number(figure), floor.map(number).unwrap_or_default()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for (idx, [name, samples, floor]) in rows.iter().enumerate() {
            let line = format!("{name:<0$}  {samples:>1$}  {floor:>2$}", widths[0], widths[1], widths[2]);
            write!(f, "{}{}", if idx > 0 { "\n" } else { "" }, line.trim_end())?;
        }
        match &self.floor {
            Some(floor) if floor.num_generated < *num_generated => write!(
                f,
                "\nthere are only {} held-out ones: FD, SWD and recall of so few are worse than of many",
                floor.num_generated
            ),
            Some(_) => Ok(()),
            None => write!(f, "\n{} has no held-out part to compare with", self.data),
        }
    }
}

fn number(figure: &Figure) -> String {
    // With one subset there is no spread.
    match figure.std.filter(|&std| std > 0.0) {
        Some(std) => format!("{:.5} ± {std:.5}", figure.value),
        None => format!("{:.4}", figure.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Sampler;

    fn one_step() -> Way {
        Way { sampler: Sampler::Multistep, sigmas: vec![80.0], guidance: None, gamma: None }
    }

    #[test]
    fn the_table_is_aligned() {
        let report = |num_generated, fd, kid| Report {
            num_real: 100,
            num_generated,
            figures: vec![
                Figure { name: "FD-digits".into(), value: fd, std: None },
                Figure { name: "KID-digits".into(), value: kid, std: Some(0.001) },
            ],
        };
        let evaluation = Evaluation {
            origin: Origin::Model("run".into(), one_step()),
            data: "digits".into(),
            reference: "train",
            space: "digits".into(),
            samples: report(500, 12.5, 0.25),
            floor: Some(report(30, 1.25, 0.0)),
        };
        let table = "500 one-step samples of run against 100 of digits (train)
                       samples         30 held-out
FD-digits              12.5000              1.2500
KID-digits  0.25000 ± 0.00100  0.00000 ± 0.00100
there are only 30 held-out ones: FD, SWD and recall of so few are worse than of many";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&evaluation.to_string()), squeezed(table));
        let lengths: Vec<usize> =
            evaluation.to_string().lines().skip(1).take(3).map(|line| line.chars().count()).collect();
        assert!(lengths.iter().all(|&length| length == lengths[0]), "{lengths:?}");
        assert_eq!(evaluation.to_json()["figures"]["FD-digits"]["floor"], 1.25);
    }
}
