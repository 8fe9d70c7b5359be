//! How long a whole training step takes on the CPU, and how that grows with the work.
//!
//! A step is all that `Trainer::step` does: data, noise, the teacher's forward, the student's forward and
//! backward, the optimizer, the average of the weights.
//! `bench/pytorch/train_step.py` measures the same names.
//! `CT_BENCH_THREADS` sets the number of threads; all cores without it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]

mod common;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use ct_model::{NetworkConfig, UNet2DConfig};
use ct_train::{Recipe, Trainer};

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

/// The network and batch of a step, the smallest first, and its images.
const STEPS: [(&str, u64); 3] = [("digits_b64", 64), ("unet28_b64", 64), ("unet32_b16", 16)];
/// Batches of the series over the batch, at `SCALING_CHANNELS`.
const SCALING_BATCHES: [usize; 5] = [16, 32, 64, 128, 256];
/// Channels of the series over the channels, at `SCALING_BATCH`.
const SCALING_CHANNELS: [usize; 4] = [32, 64, 128, 256];
const FIXED_CHANNELS: usize = 64;
const FIXED_BATCH: usize = 16;

/// Forward passes whose multiply-adds a step costs: the teacher's, the student's, and its two backwards.
const PASSES: u64 = 4;

fn main() {
    ct_alloc::keep_pages();
    common::start_threads();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    steps(&mut criterion);
    recipes(&mut criterion);
    scaling(&mut criterion);
    criterion.final_summary();
}

fn steps(criterion: &mut Criterion) {
    for &(name, images) in some(&STEPS) {
        measure(criterion, "train_step", name, Throughput::Elements(images), || common::named(name));
    }
}

/// What a step with the exact tangent costs beside one with a target at a smaller noise level.
fn recipes(criterion: &mut Criterion) {
    let networks = [("unet28", 64), ("unet32", 16)];
    for &(network, batch) in some(&networks) {
        let config = common::network(network);
        for recipe in [Recipe::Ect, Recipe::Sct] {
            let (name, images) = (format!("{recipe}_{network}_b{batch}"), Throughput::Elements(batch as u64));
            let make = || common::unet_by(recipe, &config, batch);
            measure(criterion, "recipe_step", &name, images, make);
        }
    }
}

/// Throughput is in multiply-adds here, so that the cost of one can be compared over the series.
fn scaling(criterion: &mut Criterion) {
    let batches = SCALING_BATCHES.map(|batch| (format!("b{batch}"), FIXED_CHANNELS, batch));
    let channels = SCALING_CHANNELS.map(|channels| (format!("c{channels}"), channels, FIXED_BATCH));
    for (name, channels, batch) in some(&batches).iter().chain(some(&channels)) {
        let config = UNet2DConfig { block_out_channels: vec![*channels; 2], ..common::network("scaling") };
        let work = Throughput::Elements(PASSES * *batch as u64 * multiply_adds(&config));
        measure(criterion, "train_step_scaling", name, work, || common::unet(&config, *batch));
    }
}

/// All cases in release; as a test in a debug build the first one, which is enough to see that it runs.
fn some<T>(cases: &[T]) -> &[T] {
    if cfg!(debug_assertions) { &cases[..1] } else { cases }
}

fn measure(
    criterion: &mut Criterion,
    group: &str,
    name: &str,
    throughput: Throughput,
    make: impl Fn() -> Trainer,
) {
    let mut group = criterion.benchmark_group(format!("cpu_f32/{group}"));
    group.sampling_mode(SamplingMode::Flat).throughput(throughput);
    let mut trainer: Option<Trainer> = None;
    group.bench_function(name, |b| {
        let trainer = trainer.get_or_insert_with(&make);
        b.iter(|| trainer.step().unwrap());
    });
    group.finish();
}

/// Multiply-adds of convolutions and linear layers in one forward pass for one image, attention left out.
///
/// A weight is used once for each pixel of its layer's output, and that of a linear layer once.
fn multiply_adds(config: &UNet2DConfig) -> u64 {
    let network = NetworkConfig::from(config.clone()).build().unwrap();
    let [_, height, width] = *network.sample_shape() else { unreachable!("UNets take images") };
    let levels = config.block_out_channels.len();
    let cost = |name: &str, shape: &[usize]| {
        let elements: usize = shape.iter().product();
        match shape.len() {
            2 => elements,
            4 => elements * ((height * width) >> (2 * level(name, levels))),
            _ => 0,
        }
    };
    network.layout().iter().map(|(_, spec)| cost(&spec.name, &spec.shape) as u64).sum()
}

/// How often the output of the convolution `name` was halved.
fn level(name: &str, levels: usize) -> usize {
    let mut parts = name.split('.');
    let (block, idx) = (parts.next(), parts.next().and_then(|idx| idx.parse::<usize>().ok()));
    match (block, idx) {
        (Some("down_blocks"), Some(idx)) => idx + usize::from(name.contains("downsamplers")),
        (Some("up_blocks"), Some(idx)) => levels - 1 - idx - usize::from(name.contains("upsamplers")),
        (Some("mid_block"), _) => levels - 1,
        _ => 0,
    }
}
