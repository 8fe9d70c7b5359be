//! One function, written once: its value, its gradient and its directional derivative.
//!
//! `cargo run --release -p ct-kernels --example derivatives`

use std::io::Write;

use candle_core::{Device, Tensor};
use ct_kernels::{Tape, Value, linear, silu, sum_all};

/// The sum of silu(W x).
fn function(x: &Value, w: &Value) -> ct_kernels::Result<Value> {
    sum_all(&silu(&linear(x, w, None)?)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let x = Tensor::new(&[[1f64, -2.0, 0.5]], &Device::Cpu)?;
    let w = Tensor::new(&[[0.5f64, 0.1, -0.3], [1.0, 0.2, 0.4]], &Device::Cpu)?;
    let direction = Tensor::new(&[[1f64, 1.0, 1.0]], &Device::Cpu)?;

    let value = function(&x.clone().into(), &w.clone().into())?;

    let tape = Tape::new();
    let output = function(&tape.leaf(&x), &w.clone().into())?;
    let gradients = tape.backward(&output)?;
    let gradient = gradients.leaf(0).ok_or("x is a leaf")?;

    let dual = Value::dual(x.clone(), direction.clone())?;
    let output = function(&dual, &w.into())?;
    let tangent = output.tangent().ok_or("x is dual")?;

    let mut out = std::io::stdout();
    writeln!(out, "value                {}", value.tensor())?;
    writeln!(out, "gradient             {gradient}")?;
    writeln!(out, "gradient . direction {}", (gradient * direction)?.sum_all()?)?;
    writeln!(out, "forward mode         {tangent}")?;
    Ok(())
}
