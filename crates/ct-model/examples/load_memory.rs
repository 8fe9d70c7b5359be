//! How much memory loading a model takes beside its weights (Linux).
//!
//! ```text
//! cargo run -p ct-model --example load_memory -- write DIR   # a UNet of 89.5 million random parameters
//! cargo run -p ct-model --example load_memory -- DIR
//! ```

#![expect(clippy::print_stdout, reason = "an example may print")]

use std::error::Error;
use std::path::Path;

use candle_core::Device;
use ct_model::folder::{self, Card};
use ct_model::{ConsistencyModel, NetworkConfig, NoiseRange, Params, UNet2DConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", dir] => write(Path::new(dir)),
        [dir] => load(Path::new(dir)),
        _ => Err("expected: [write] DIR".into()),
    }
}

fn write(dir: &Path) -> Result<(), Box<dyn Error>> {
    let config = UNet2DConfig { block_out_channels: vec![128, 256, 384, 512], ..UNet2DConfig::default() };
    let network = NetworkConfig::from(config.for_samples(3, 64, 64)).build()?;
    let params = Params::init(network.layout(), 0, &Device::Cpu)?;
    Ok(folder::save(dir, &ConsistencyModel::new(network, params, NoiseRange::default())?, &Card::default())?)
}

fn load(dir: &Path) -> Result<(), Box<dyn Error>> {
    let before = peak()?;
    let loaded = folder::load(dir, &Device::Cpu)?;
    let sizes = loaded.model.params().iter().map(|(_, tensor)| tensor.elem_count() * 4 / 1024);
    let (sum, largest) = sizes.fold((0, 0), |(sum, largest), size| (sum + size, largest.max(size)));
    println!("weights: {sum} kB, the largest tensor {largest} kB");
    println!("peak: {} kB, before loading {before} kB", peak()?);
    Ok(())
}

/// The most memory that the process has had so far, in kB.
fn peak() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
