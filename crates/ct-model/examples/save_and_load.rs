//! Builds a UNet with random weights, writes it as a diffusers pipeline folder, reads it back and runs it.
//!
//! `cargo run --release -p ct-model --example save_and_load`

use std::io::Write;

use candle_core::Device;
use ct_model::folder::{self, Card};
use ct_model::{ConsistencyModel, Denoiser, NetworkConfig, NoiseRange, Params, UNet2DConfig, normal};
use ct_random::Purpose;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = UNet2DConfig {
        block_out_channels: vec![32, 64],
        down_block_types: ["DownBlock2D", "AttnDownBlock2D"].map(str::to_owned).to_vec(),
        up_block_types: ["AttnUpBlock2D", "UpBlock2D"].map(str::to_owned).to_vec(),
        ..UNet2DConfig::default()
    };
    let network = NetworkConfig::from(config.for_samples(1, 16, 16)).build()?;
    let params = Params::init(network.layout(), 0, &Device::Cpu)?;
    let num_values = network.layout().num_elements();
    let model = ConsistencyModel::new(network, params, NoiseRange::default())?;

    let dir = std::env::temp_dir().join(format!("save-and-load-{}", std::process::id()));
    folder::save(&dir, &model, &Card::default())?;
    let loaded = folder::load(&dir, &Device::Cpu)?;
    std::fs::remove_dir_all(&dir)?;

    // At the least noise f is the identity, whatever the weights are.
    let x = normal(0, Purpose::Sample, 0, 0, 2, loaded.model.sample_shape(), &Device::Cpu)?;
    let f_x = loaded.model.denoise(&x, loaded.model.noise_range().sigma_min, None)?;
    let difference = (f_x - x)?.abs()?.max_all()?.to_scalar::<f32>()?;
    writeln!(std::io::stdout(), "{num_values} weights; |f(x, sigma_min) - x| = {difference}")?;
    Ok(())
}
