//! How long training steps and one-step samples take on a GPU, in f32 and in bf16.
//!
//! ```text
//! cargo bench -p ct-train --bench device_steps --features cuda -- cuda
//! ```
//!
//! Prints a line of JSON for each measurement, under the names of `bench/pytorch/cuda_steps.py`: milliseconds of every
//! timing, images per second of the median, and how much memory the GPU has in use when they end.
//! Without the word `cuda` it makes a step of the smallest network in each on the CPU and says nothing: that is what it does as a test.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints its measurement")]

mod common;

use std::process::Command;
use std::time::Instant;

use candle_core::{Device, Tensor};
use ct_model::{Denoiser as _, Precision};
use ct_train::{OptimizerKind, Recipe, TrainConfig, Trainer};

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

/// Networks, and the batches that each is trained with.
const NETWORKS: [(&str, &[usize]); 2] = [("icons", &[128]), ("cifar", &[128, 512])];
/// One image for the latency, many for the throughput.
const SAMPLES: [usize; 2] = [1, 256];
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];
const WARM_UP: usize = 5;
const RUNS: usize = 20;

fn main() {
    ct_alloc::keep_pages();
    common::start_threads();
    if !std::env::args().any(|argument| argument == "cuda") {
        let half = trainer("digits", 2, Precision::Bf16, &Device::Cpu);
        for (mut trainer, precision) in
            [(common::named("digits_b64"), Precision::F32), (half, Precision::Bf16)]
        {
            trainer.step().unwrap();
            sample(&trainer, 1, precision);
        }
        return;
    }
    if !candle_core::utils::cuda_is_available() {
        println!("skipped: no CUDA device");
        return;
    }
    let device = Device::new_cuda_with_stream(0).unwrap();
    for (network, batches) in NETWORKS {
        for precision in PRECISIONS {
            for &batch in batches {
                let mut trainer = trainer(network, batch, precision, &device);
                let times = times_ms(&device, || _ = trainer.step().unwrap());
                report(&format!("cuda/train_step/{network}_b{batch}/{precision}"), batch, &times);
            }
            let trainer = trainer(network, 1, precision, &device);
            for num in SAMPLES {
                let times = times_ms(&device, || _ = sample(&trainer, num, precision));
                report(&format!("cuda/sample/{network}_b{num}/{precision}"), num, &times);
            }
        }
    }
}

fn trainer(network: &str, batch_size: usize, precision: Precision, device: &Device) -> Trainer {
    let (recipe, optimizer) = (Recipe::Ict, OptimizerKind::Adamw);
    let train = TrainConfig { recipe, optimizer, batch_size, precision, ..TrainConfig::default() };
    common::unet_on(device, &common::network(network), train)
}

/// One evaluation at the largest noise level.
fn sample(trainer: &Trainer, num: usize, precision: Precision) -> Tensor {
    let model = trainer.model().unwrap().with_precision(precision);
    let shape = [&[num], model.sample_shape()].concat();
    let x = Tensor::ones(shape, candle_core::DType::F32, model.device()).unwrap();
    let sigma_max = model.noise_range().sigma_max;
    model.denoise(&(x * sigma_max).unwrap(), sigma_max, None).unwrap()
}

fn times_ms(device: &Device, mut work: impl FnMut()) -> Vec<f64> {
    let mut timed = || {
        let start = Instant::now();
        work();
        device.synchronize().unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..WARM_UP).for_each(|_| _ = timed());
    (0..RUNS).map(|_| timed()).collect()
}

fn report(name: &str, num_images: usize, times_ms: &[f64]) {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let images_per_s = 1e3 * num_images as f64 / sorted[sorted.len() / 2];
    let line = serde_json::json!({
        "name": name,
        "times_ms": times_ms,
        "images_per_s": images_per_s,
        "used_mib": used_mib(),
    });
    println!("{line}");
}

/// Memory in use on the first GPU by all programs, as its driver says.
fn used_mib() -> Option<u64> {
    let query = ["--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let answer = Command::new("nvidia-smi").args(query).output().ok()?;
    String::from_utf8(answer.stdout).ok()?.trim().parse().ok()
}
