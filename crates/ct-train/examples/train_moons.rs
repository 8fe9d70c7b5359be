//! Trains a one-step generator of points on two moons, in a few seconds, with the library alone.
//!
//! `cargo run --release -p ct-train --example train_moons`

use std::sync::Arc;

use candle_core::Device;
use ct_data::{LoadOptions, Source};
use ct_model::{Denoiser, MlpConfig, NetworkConfig, NoiseRange, normal};
use ct_random::Purpose;
use ct_train::{TrainConfig, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source: Source = "toy:two-moons".parse()?;
    let data = Arc::new(source.load(&LoadOptions::default())?);
    let network = NetworkConfig::Mlp(MlpConfig::default()).build()?;
    let range = NoiseRange { sigma_min: 0.005, sigma_max: 10.0, sigma_data: data.std(), rho: 7.0 };
    let mut config = TrainConfig { steps: 1000, batch_size: 256, lr: 2e-3, ..TrainConfig::default() };
    (config.ect.pretrain, config.ect.q, config.ect.stages) = (0.3, 4.0, 3);

    let mut trainer = Trainer::new(network, data, range, config, 0, false, &Device::Cpu)?;
    while !trainer.is_finished() {
        let report = trainer.step()?;
        if report.step.is_multiple_of(100) {
            print(&format!("step {:4}  {:9}  loss {:.4}", report.step, report.schedule, report.loss))?;
        }
    }

    let noise = normal(1, Purpose::Sample, 0, 0, 5, &[2], &Device::Cpu)?;
    let points = trainer.model()?.denoise(&(noise * range.sigma_max)?, range.sigma_max, None)?;
    print(&format!("five points, each from one evaluation of the network:\n{points}"))?;
    Ok(())
}

fn print(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}
