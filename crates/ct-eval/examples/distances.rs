//! How far a set of samples is from the data, beside how far the data is from itself.
//!
//! `cargo run --release -p ct-eval --example distances`

use std::io::Write;

use ct_eval::{Samples, frechet_distance, sliced_wasserstein};
use ct_random::{Purpose, Stream};

/// Points of the plane from a unit normal distribution around `mean`.
fn normal(index: u64, n: usize, mean: f32) -> Result<Samples, ct_eval::Error> {
    let mut values = vec![0f32; 2 * n];
    Stream::new(0, Purpose::Eval, 0, index).fill_normal(&mut values);
    for value in &mut values {
        *value += mean;
    }
    Samples::new(values, 2)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (data, held_out, samples) = (normal(0, 4000, 0.0)?, normal(1, 4000, 0.0)?, normal(2, 4000, 0.5)?);
    let mut out = std::io::stdout();
    for (name, set) in [("data against data", &held_out), ("shifted by (0.5, 0.5)", &samples)] {
        let swd = sliced_wasserstein(&data, set, 128, 0)?;
        let fd = frechet_distance(&data, set)?;
        writeln!(out, "{name:22}  SWD {swd:.4}  FD {fd:.4}")?;
    }
    Ok(())
}
