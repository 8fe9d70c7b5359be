//! The features of images in a safetensors file, `samples` in and `features` out, to compare with other programs.
//!
//! `cargo run --release -p ct-eval --example features -- WEIGHTS.safetensors SAMPLES.safetensors OUT.safetensors`

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use ct_eval::Features;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [weights, samples, out] = args.as_slice() else {
        return Err("usage: features WEIGHTS SAMPLES OUT".into());
    };
    let network = Features::load(Path::new(weights))?;
    let tensors = candle_core::safetensors::load(samples, &Device::Cpu)?;
    let samples = tensors.get("samples").ok_or("no tensor `samples`")?;
    let start = Instant::now();
    let features = network.of(samples, &mut |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let values: Vec<f32> = features.rows().flatten().copied().collect();
    let tensor = Tensor::from_vec(values, (features.len(), features.dim()), &Device::Cpu)?;
    candle_core::safetensors::save(&HashMap::from([("features", tensor)]), out)?;
    writeln!(
        std::io::stdout(),
        "{} images, {} features of {}, {:.3} ms each",
        features.len(),
        features.dim(),
        network.name(),
        1e3 * seconds / features.len() as f64
    )?;
    Ok(())
}
