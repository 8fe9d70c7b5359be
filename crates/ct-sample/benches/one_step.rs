//! How long one-step sampling takes on the CPU (noise, one evaluation, clipping), and filling a hole in 40 steps.
//!
//! `bench/pytorch/sample.py` measures the same names.
//! `CT_BENCH_THREADS` sets the number of threads; all cores without it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]

use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, SamplingMode, Throughput};
use ct_model::{ConsistencyModel, Denoiser as _, NetworkConfig, NoiseRange, Params, UNet2DConfig};
use ct_sample::{Draw, Known, Mask, SeededNoise, default_sigmas, edit, one_step, rectangle_mask};

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

const NETWORKS: &str = include_str!("../../../bench/networks.toml");
const DIGITS: &str = include_str!("../../../presets/digits.toml");
const NOISE: SeededNoise = SeededNoise { seed: 0, first_index: 0 };

fn main() {
    ct_alloc::keep_pages();
    let threads = std::env::var("CT_BENCH_THREADS").ok().map_or(0, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global().unwrap();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    measure(&mut criterion, "digits_b64", 64, digits);
    // As a test in a debug build one network is enough to see that it runs.
    if !cfg!(debug_assertions) {
        measure(&mut criterion, "b1", 1, unet28);
        measure(&mut criterion, "b64", 64, unet28);
        measure(&mut criterion, "unet32_b1", 1, unet32);
        measure(&mut criterion, "unet32_b64", 64, unet32);
        measure_inpainting(&mut criterion, "b1", unet28);
        measure_inpainting(&mut criterion, "unet32_b1", unet32);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, name: &str, num_images: usize, config: impl Fn() -> UNet2DConfig) {
    let mut group = criterion.benchmark_group("cpu_f32/sample_1step");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(num_images as u64));
    let mut model: Option<ConsistencyModel> = None;
    group.bench_function(name, |b| {
        let model = model.get_or_insert_with(|| build(config()));
        let draw = Draw::new(model, num_images);
        b.iter(|| one_step(model, &NOISE, &draw).unwrap());
    });
    group.finish();
}

fn measure_inpainting(criterion: &mut Criterion, name: &str, config: impl Fn() -> UNet2DConfig) {
    let mut group = criterion.benchmark_group("cpu_f32/inpaint_40steps");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(1));
    let mut model: Option<ConsistencyModel> = None;
    group.bench_function(name, |b| {
        let model = model.get_or_insert_with(|| build(config()));
        let shape = model.sample_shape();
        let (height, width) = (shape[1], shape[2]);
        let hole = rectangle_mask(shape, width / 4, height / 4, width / 2, height / 2).unwrap();
        let mask = Mask::new(&hole, shape).unwrap();
        let picture = Tensor::zeros([&[1], shape].concat(), DType::F32, &Device::Cpu).unwrap();
        let sigmas = default_sigmas(model.noise_range(), 40).unwrap();
        let draw = Draw::new(model, 1);
        b.iter(|| edit(model, &Known::of_samples(&mask, &picture).unwrap(), &sigmas, &NOISE, &draw).unwrap());
    });
    group.finish();
}

fn build(config: UNet2DConfig) -> ConsistencyModel {
    let network = NetworkConfig::from(config).build().unwrap();
    let params = Params::init(network.layout(), 0, &Device::Cpu).unwrap();
    ConsistencyModel::new(network, params, NoiseRange::default()).unwrap()
}

fn unet28() -> UNet2DConfig {
    network(NETWORKS, &["unet28"])
}

fn unet32() -> UNet2DConfig {
    network(NETWORKS, &["unet32"])
}

fn digits() -> UNet2DConfig {
    network(DIGITS, &["model", "unet"]).for_samples(1, 8, 8)
}

fn network(file: &str, path: &[&str]) -> UNet2DConfig {
    let file = toml::Value::Table(file.parse().unwrap());
    path.iter().fold(&file, |value, &key| &value[key]).clone().try_into().unwrap()
}
