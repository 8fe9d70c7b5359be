//! What a network's forward-mode derivative costs on the CPU, beside the passes that it is weighed against.
//!
//! `plain` is a forward pass with constant weights, `dual` the same with tangents of the input and of `c_noise`,
//! and `forward_backward` a student's forward pass on a tape and its backward pass.
//! The networks are those of the presets, with every weight drawn at random, so that no branch is zero.
//! `CT_BENCH_THREADS` sets the number of threads; all cores without it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]

use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::{Criterion, SamplingMode, Throughput};
use ct_kernels::{Tape, Value, mean_all, mul};
use ct_model::{Input, Network, NetworkConfig, Params, UNet2DConfig};
use ct_random::{Purpose, Stream};

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

/// A preset, its batch, and the samples that it is for.
const PRESETS: [(&str, &str, usize, [usize; 3]); 3] = [
    ("digits_b64", include_str!("../../../presets/digits.toml"), 64, [1, 8, 8]),
    ("fashion_b32", include_str!("../../../presets/fashion.toml"), 32, [1, 28, 28]),
    ("icons_b32", include_str!("../../../presets/icons.toml"), 32, [3, 32, 32]),
];

fn main() {
    ct_alloc::keep_pages();
    let threads = std::env::var("CT_BENCH_THREADS").ok().map_or(0, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global().unwrap();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    // As a test in a debug build the first one is enough to see that it runs.
    let presets = if cfg!(debug_assertions) { &PRESETS[..1] } else { &PRESETS[..] };
    for &(name, preset, batch, shape) in presets {
        measure(&mut criterion, name, &Case::new(preset, batch, shape));
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, name: &str, case: &Case) {
    let mut group = criterion.benchmark_group(format!("cpu_f32/dual_pass/{name}"));
    let images = case.x.dims()[0] as u64;
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(images));
    group.bench_function("plain", |b| b.iter(|| case.plain()));
    group.bench_function("dual", |b| b.iter(|| case.dual()));
    group.bench_function("forward_backward", |b| b.iter(|| case.forward_backward()));
    group.finish();
}

/// A network with an input and the direction of its derivative.
struct Case {
    network: Arc<dyn Network>,
    params: Params,
    x: Tensor,
    x_dot: Tensor,
    c_noise: Tensor,
    c_noise_dot: Tensor,
}

impl Case {
    fn new(preset: &str, batch: usize, [channels, height, width]: [usize; 3]) -> Self {
        let preset: toml::Table = preset.parse().unwrap();
        let config: UNet2DConfig = preset["model"]["unet"].clone().try_into().unwrap();
        let network = NetworkConfig::from(config.for_samples(channels, height, width)).build().unwrap();
        let tensors = network
            .layout()
            .iter()
            .enumerate()
            .map(|(idx, (_, spec))| {
                let fan_in: usize = spec.shape.iter().skip(1).product();
                (spec.name.clone(), normal(10 + idx as u64, &spec.shape, 1.0 / (fan_in as f64).sqrt()))
            })
            .collect();
        let params = Params::from_tensors(network.layout(), tensors, &Device::Cpu).unwrap().unwrap();
        let shape = [batch, channels, height, width];
        Self {
            network,
            params,
            x: normal(0, &shape, 1.0),
            x_dot: normal(1, &shape, 1.0),
            c_noise: normal(2, &[batch], 300.0),
            c_noise_dot: normal(3, &[batch], 1.0),
        }
    }

    fn run(&self, weights: &ct_model::Weights, x: &Value, c_noise: &Value) -> Value {
        let input = Input { x, c_noise, class_labels: None, dropout: None, extra_embedding: None };
        self.network.forward(weights, &input).unwrap()
    }

    fn plain(&self) -> Value {
        self.run(&self.params.constants(), &(&self.x).into(), &(&self.c_noise).into())
    }

    fn dual(&self) -> Value {
        let x = Value::dual(self.x.clone(), self.x_dot.clone()).unwrap();
        let c_noise = Value::dual(self.c_noise.clone(), self.c_noise_dot.clone()).unwrap();
        self.run(&self.params.constants(), &x, &c_noise)
    }

    fn forward_backward(&self) -> ct_kernels::Gradients {
        let tape = Tape::new();
        let output = self.run(&self.params.watched(&tape), &(&self.x).into(), &(&self.c_noise).into());
        let loss = mean_all(&mul(&output, &(&self.x_dot).into()).unwrap()).unwrap();
        tape.backward(&loss).unwrap()
    }
}

/// Normal numbers with standard deviation `std`, the same in every run.
fn normal(index: u64, shape: &[usize], std: f64) -> Tensor {
    let mut numbers = vec![0f32; shape.iter().product()];
    Stream::new(0, Purpose::Data, index, 0).fill_normal(&mut numbers);
    (Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap() * std).unwrap()
}
