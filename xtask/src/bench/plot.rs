//! The picture of the scaling series.
//!
//! It is drawn by an example, so that the other tasks are built without a plotting library.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::rows::Row;
use crate::mistake::Mistake;

/// Where the picture goes, from the root of the workspace.
pub(super) const PICTURE: &str = "docs/images/scaling.png";

/// What the names of the series begin with.
const SERIES: &str = "cpu_f32/train_step_scaling/";

/// Draws the series among `rows`, which stand in the file `source`.
pub(super) fn draw(sh: &Shell, rows: &[Row], source: &Path, picture: &Path) -> Result<()> {
    if !rows.iter().any(|row| row.name.starts_with(SERIES)) {
        bail!(Mistake(format!(
            "{} holds no scaling series: measure one with `cargo xtask bench --filter scaling`",
            source.display()
        )));
    }
    cmd!(sh, "cargo run --quiet --package xtask --example plot_scaling -- {source} {picture}")
        .run()
        .context("the series could not be drawn; the message stands above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::tests::row;

    #[test]
    fn without_a_series_there_is_nothing_to_draw() {
        let sh = Shell::new().unwrap();
        let rows = [row("cpu_f32/conv3x3/b1", 1.0, None, None)];
        let error = draw(&sh, &rows, Path::new("bench.json"), Path::new("scaling.png")).unwrap_err();
        assert!(error.is::<Mistake>(), "{error}");
    }
}
