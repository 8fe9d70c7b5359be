//! Prints the noise levels of a small grid, and how likely improved consistency training picks each pair.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ct_schedule::{GridDraw, KarrasGrid, Result};

fn table() -> Result<Vec<(f64, f64, f64)>> {
    let grid = KarrasGrid::new(11, 0.002, 80.0, 7.0)?;
    let draw = GridDraw::lognormal(&grid, -1.1, 2.0)?;
    let rows = draw.probabilities().iter().enumerate().map(|(i, p)| {
        let (sigma_lo, sigma_hi) = grid.pair(i);
        (sigma_lo, sigma_hi, *p)
    });
    Ok(rows.collect())
}

fn main() -> Result<()> {
    for (sigma_lo, sigma_hi, p) in table()? {
        println!("{sigma_lo:8.4} .. {sigma_hi:8.4}  {:5.2}%", 100.0 * p);
    }
    Ok(())
}

#[test]
fn the_third_pair_is_the_likeliest() {
    let rows = table().unwrap();
    let likeliest = rows.iter().max_by(|a, b| a.2.total_cmp(&b.2)).unwrap();
    assert!((likeliest.0 - rows[2].0).abs() < 1e-12);
}
