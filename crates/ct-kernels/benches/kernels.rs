//! Which operation takes how long on the CPU: forward alone (`.._fwd`), or forward and all backwards.
//!
//! `bench/pytorch/kernels.py` measures the same names.
//! `CT_BENCH_THREADS` sets the number of threads; all cores without it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, Throughput};
use ct_kernels::{
    Activation, AdamWStep, Context, Conv2d, GroupNorm, Keeps, Op, Padding, RAdamStep, Result, Tape, Value,
    adamw_step, apply, attention, concat_channels, conv2d, ema_update, group_norm, group_norm_modulated,
    linear, radam_step, upsample_nearest2x,
};

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

/// Batch, channels, height and width of 3x3 convolutions with stride 1.
const CONV_SHAPES: [[usize; 3]; 7] =
    [[64, 32, 28], [64, 64, 14], [64, 128, 7], [32, 64, 28], [32, 128, 14], [16, 128, 32], [16, 256, 16]];
/// The same for those with stride 2.
const HALVING_SHAPES: [[usize; 3]; 4] = [[64, 32, 28], [64, 64, 14], [16, 64, 32], [16, 128, 16]];
/// Batch, channels in, channels out, height and width: the shortcuts of residual blocks.
const SHORTCUT_SHAPES: [[usize; 4]; 4] =
    [[64, 64, 32, 28], [64, 192, 64, 14], [64, 256, 128, 7], [16, 384, 128, 16]];
/// Rows, features in and out: projections of attention, and of the embedding of the noise level.
const LINEAR_SHAPES: [[usize; 3]; 3] = [[3136, 128, 128], [1024, 256, 256], [64, 512, 512]];
const NORM_SHAPES: [[usize; 3]; 3] = [[64, 32, 28], [32, 64, 28], [16, 128, 32]];
/// Batch, tokens, heads, channels of a head.
const ATTENTION_SHAPES: [[usize; 4]; 4] =
    [[64, 49, 4, 32], [64, 196, 4, 32], [16, 64, 4, 64], [16, 256, 4, 64]];
/// Size before it is doubled.
const UPSAMPLE_SHAPES: [[usize; 3]; 2] = [[64, 64, 14], [64, 128, 7]];
/// Batch, channels of both inputs, height and width.
const CONCAT_SHAPES: [[usize; 4]; 2] = [[64, 64, 32, 28], [64, 128, 64, 14]];
/// Parameters of the optimizers: tensors and the elements of each, 10 million together.
const PARAMETERS: [usize; 2] = [40, 250_000];

/// Settings of the normalizations; everything else is their default.
const NORM: GroupNorm = GroupNorm { num_groups: 32, eps: 1e-5, activation: Activation::Silu };

fn main() {
    ct_alloc::keep_pages();
    start_threads();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    convolutions(&mut criterion);
    linears(&mut criterion);
    norms(&mut criterion);
    attentions(&mut criterion);
    resizing(&mut criterion);
    optimizers(&mut criterion);
    criterion.final_summary();
}

fn start_threads() {
    let threads = std::env::var("CT_BENCH_THREADS").ok().map_or(0, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global().unwrap();
}

/// All shapes in release; as a test in a debug build the first one, which is enough to see that it runs.
fn some<T>(shapes: &[T]) -> &[T] {
    if cfg!(debug_assertions) { &shapes[..1] } else { shapes }
}

fn convolutions(criterion: &mut Criterion) {
    let same = Conv2d { stride: 1, padding: Padding::all(1) };
    for &[batch, channels, size] in some(&CONV_SHAPES) {
        let case = format!("b{batch}_c{channels}_h{size}");
        convolution(criterion, "conv3x3", &case, [batch, size, size, channels], channels, 3, same);
    }
    let halve = Conv2d { stride: 2, padding: Padding::all(1) };
    for &[batch, channels, size] in some(&HALVING_SHAPES) {
        let case = format!("b{batch}_c{channels}_h{size}");
        convolution(criterion, "conv3x3_stride2", &case, [batch, size, size, channels], channels, 3, halve);
    }
    for &[batch, channels, outputs, size] in some(&SHORTCUT_SHAPES) {
        let case = format!("b{batch}_c{channels}_o{outputs}_h{size}");
        let shape = [batch, size, size, channels];
        convolution(criterion, "conv1x1", &case, shape, outputs, 1, Conv2d::default());
    }
}

/// Forward, then forward and the gradients of input, weight and bias.
fn convolution(
    criterion: &mut Criterion,
    name: &str,
    case: &str,
    input: [usize; 4],
    outputs: usize,
    kernel: usize,
    config: Conv2d,
) {
    let weight = [outputs, input[3], kernel, kernel];
    let shapes: [&[usize]; 3] = [&input, &weight, &[outputs]];
    both(criterion, name, case, input[0], &shapes, |v| conv2d(&v[0], &v[1], Some(&v[2]), &config));
}

fn linears(criterion: &mut Criterion) {
    for &[rows, inputs, outputs] in some(&LINEAR_SHAPES) {
        let case = format!("n{rows}_c{inputs}_o{outputs}");
        let shapes: [&[usize]; 3] = [&[rows, inputs], &[outputs, inputs], &[outputs]];
        both(criterion, "linear", &case, rows, &shapes, |v| linear(&v[0], &v[1], Some(&v[2])));
    }
}

fn norms(criterion: &mut Criterion) {
    for &[batch, channels, size] in some(&NORM_SHAPES) {
        let case = format!("b{batch}_c{channels}_h{size}");
        let (x, c, s): ([usize; 4], _, _) = ([batch, size, size, channels], [channels], [batch, channels]);
        both(criterion, "group_norm_silu", &case, batch, &[&x, &c, &c], |v| {
            group_norm(&v[0], &v[1], &v[2], &NORM)
        });
        both(criterion, "group_norm_modulated_silu", &case, batch, &[&x, &c, &c, &s, &s], |v| {
            group_norm_modulated(&v[0], &v[1], &v[2], &v[3], &v[4], &NORM)
        });
    }
}

fn attentions(criterion: &mut Criterion) {
    for &[batch, tokens, heads, dim] in some(&ATTENTION_SHAPES) {
        let case = format!("b{batch}_n{tokens}_h{heads}_d{dim}");
        let shape: [usize; 3] = [batch, tokens, heads * dim];
        let shapes: [&[usize]; 3] = [&shape; 3];
        both(criterion, "attention", &case, batch, &shapes, |v| attention(&v[0], &v[1], &v[2], heads));
    }
}

fn resizing(criterion: &mut Criterion) {
    for &[batch, channels, size] in some(&UPSAMPLE_SHAPES) {
        let case = format!("b{batch}_c{channels}_h{size}");
        let shapes: [&[usize]; 1] = [&[batch, size, size, channels]];
        both(criterion, "upsample", &case, batch, &shapes, |v| upsample_nearest2x(&v[0]));
    }
    for &[batch, first, second, size] in some(&CONCAT_SHAPES) {
        let case = format!("b{batch}_c{first}_c{second}_h{size}");
        let shapes: [&[usize]; 2] = [&[batch, size, size, first], &[batch, size, size, second]];
        both(criterion, "concat", &case, batch, &shapes, |v| concat_channels(&[&v[0], &v[1]]));
    }
}

/// Measures `name_fwd` on constants and `name` with the gradients of all inputs.
fn both(
    criterion: &mut Criterion,
    name: &str,
    case: &str,
    images: usize,
    shapes: &[&[usize]],
    f: impl Fn(&[Value]) -> Result<Value>,
) {
    let mut inputs: Option<(Vec<Tensor>, Tensor)> = None;
    let mut prepare = || -> (Vec<Tensor>, Tensor) {
        let make = || {
            let inputs: Vec<Tensor> = shapes.iter().map(|shape| values(shape)).collect();
            let output = f(&inputs.iter().map(Value::from).collect::<Vec<_>>()).unwrap();
            let cotangent = values(output.dims());
            (inputs, cotangent)
        };
        inputs.get_or_insert_with(make).clone()
    };
    let mut group = criterion.benchmark_group(format!("cpu_f32/{name}_fwd"));
    group.throughput(Throughput::Elements(images as u64));
    group.bench_function(case, |b| {
        let constants: Vec<Value> = prepare().0.iter().map(Value::from).collect();
        b.iter(|| f(black_box(&constants)).unwrap());
    });
    group.finish();
    let mut group = criterion.benchmark_group(format!("cpu_f32/{name}"));
    group.throughput(Throughput::Elements(images as u64));
    group.bench_function(case, |b| {
        let (inputs, cotangent) = prepare();
        b.iter(|| {
            let tape = Tape::new();
            let leaves: Vec<Value> = black_box(&inputs).iter().map(|tensor| tape.leaf(tensor)).collect();
            let loss = apply(Cotangent(cotangent.clone()), &[&f(&leaves).unwrap()]).unwrap();
            tape.backward(&loss).unwrap()
        });
    });
    group.finish();
}

/// A loss that costs nothing: its gradient is the tensor it holds.
struct Cotangent(Tensor);

impl Op for Cotangent {
    fn name(&self) -> &'static str {
        "cotangent"
    }

    fn forward(&self, _inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((Tensor::new(0f32, &Device::Cpu)?, Vec::new()))
    }

    fn backward(&self, _ctx: &Context<'_>, _grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.clone())])
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }

    fn jvp(&self, _ctx: &Context<'_>, _tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        Ok(Tensor::new(0f32, &Device::Cpu)?)
    }
}

/// Optimizers with the average of the weights that follows each step.
fn optimizers(criterion: &mut Criterion) {
    let [count, len] = PARAMETERS;
    let count = if cfg!(debug_assertions) { 1 } else { count };
    optimizer(criterion, "adamw_ema", count, len, |[p, m, v, g], step| {
        adamw_step(p, m, v, g, &AdamWStep { step, ..AdamWStep::default() }).unwrap();
    });
    optimizer(criterion, "radam_ema", count, len, |[p, m, v, g], step| {
        radam_step(p, m, v, g, &RAdamStep { step, ..RAdamStep::default() }).unwrap();
    });
}

fn optimizer(
    criterion: &mut Criterion,
    name: &str,
    count: usize,
    len: usize,
    update: impl Fn([&Tensor; 4], u64),
) {
    let mut group = criterion.benchmark_group(format!("cpu_f32/{name}"));
    group.throughput(Throughput::Elements((count * len) as u64));
    let mut sets: Option<Vec<[Tensor; 5]>> = None;
    let mut step = 0;
    group.bench_function("p10m", |b| {
        let make = || {
            let zeros = || Tensor::zeros(len, DType::F32, &Device::Cpu).unwrap();
            let set = || [values(&[len]), zeros(), zeros(), values(&[len]), values(&[len])];
            (0..count).map(|_| set()).collect()
        };
        let sets = sets.get_or_insert_with(make);
        b.iter(|| {
            step += 1;
            for [param, m, v, grad, average] in &*sets {
                update([param, m, v, grad], step);
                ema_update(average, param, 0.999).unwrap();
            }
        });
    });
    group.finish();
}

/// Numbers between -1 and 1 without a pattern; their values do not matter to the time.
fn values(shape: &[usize]) -> Tensor {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 32768.0 - 1.0
    };
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}
