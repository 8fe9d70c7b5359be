//! The networks of `bench/networks.toml` and of two presets, each with its batch, optimizer and recipe.

use std::sync::Arc;

use candle_core::Device;
use ct_data::{Dataset, LoadOptions, Source};
use ct_model::{Network, NetworkConfig, NoiseRange, UNet2DConfig};
use ct_random::{Purpose, Stream};
use ct_train::{OptimizerKind, Recipe, TrainConfig, Trainer};

const NETWORKS: &str = include_str!("../../../../bench/networks.toml");
const DIGITS: &str = include_str!("../../../../presets/digits.toml");
const ICONS: &str = include_str!("../../../../presets/icons.toml");

/// Images that a network of the benches is trained on.
const NUM_IMAGES: usize = 512;

/// A trainer by its name: `unet28_b64`, `unet32_b16` or `digits_b64`.
pub(crate) fn named(name: &str) -> Trainer {
    match name {
        "unet28_b64" => unet(&network("unet28"), 64),
        "unet32_b16" => unet(&network("unet32"), 16),
        _ => digits(),
    }
}

/// A trainer on random images: improved consistency training with `AdamW` and one average of the weights.
pub(crate) fn unet(config: &UNet2DConfig, batch_size: usize) -> Trainer {
    unet_by(Recipe::Ict, config, batch_size)
}

/// The same by another recipe, in the phase that costs most: without a denoising part, and with a noisy target for all samples.
pub(crate) fn unet_by(recipe: Recipe, config: &UNet2DConfig, batch_size: usize) -> Trainer {
    let train = TrainConfig { recipe, optimizer: OptimizerKind::Adamw, batch_size, ..Default::default() };
    unet_on(&Device::Cpu, config, train)
}

/// The same on any device, with other settings.
pub(crate) fn unet_on(device: &Device, config: &UNet2DConfig, mut train: TrainConfig) -> Trainer {
    (train.ect.q, train.ect.stages) = (256.0, 1);
    let network = NetworkConfig::from(config.clone()).build().unwrap();
    let data = random_images(network.sample_shape());
    trainer(network, data, NoiseRange::default(), train, device)
}

/// The `digits` preset without the part in which it trains a denoiser, so that every step has a teacher.
fn digits() -> Trainer {
    let preset: toml::Table = DIGITS.parse().unwrap();
    let mut train: TrainConfig = preset["train"].clone().try_into().unwrap();
    train.ect.pretrain = 0.0;
    let sigma_max = preset["noise"]["sigma_max"].as_float().unwrap();
    let source: Source = preset["data"]["source"].as_str().unwrap().parse().unwrap();
    let data = source.load(&LoadOptions::default()).unwrap();
    let network = NetworkConfig::from(network("digits")).build().unwrap();
    trainer(network, data, NoiseRange { sigma_max, ..NoiseRange::default() }, train, &Device::Cpu)
}

/// A network of `bench/networks.toml`, or of the preset `digits` or `icons`.
pub(crate) fn network(name: &str) -> UNet2DConfig {
    let (preset, [channels, height, width]) = match name {
        "digits" => (DIGITS, [1, 8, 8]),
        "icons" => (ICONS, [3, 32, 32]),
        _ => return NETWORKS.parse::<toml::Table>().unwrap()[name].clone().try_into().unwrap(),
    };
    let config: UNet2DConfig =
        preset.parse::<toml::Table>().unwrap()["model"]["unet"].clone().try_into().unwrap();
    config.for_samples(channels, height, width)
}

fn trainer(
    network: Arc<dyn Network>,
    data: Dataset,
    range: NoiseRange,
    config: TrainConfig,
    device: &Device,
) -> Trainer {
    let range = NoiseRange { sigma_data: data.std(), ..range };
    Trainer::new(network, Arc::new(data), range, config, 0, false, device).unwrap()
}

fn random_images(shape: &[usize]) -> Dataset {
    let [channels, height, width] = *shape else { unreachable!("UNets take images") };
    let mut stream = Stream::new(0, Purpose::Data, 0, 0);
    let words = NUM_IMAGES * channels * height * width / 4;
    let pixels = (0..words).flat_map(|_| stream.next_u32().to_le_bytes()).collect();
    Dataset::from_images("random", [channels, height, width], pixels).unwrap()
}

/// Starts the pool that `ct` works with; `CT_BENCH_THREADS` sets its size.
pub(crate) fn start_threads() {
    let threads = std::env::var("CT_BENCH_THREADS").ok().map_or(0, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global().unwrap();
}
