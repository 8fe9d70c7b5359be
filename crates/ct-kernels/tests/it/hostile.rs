//! Values at the edges of f32: huge, tiny, constant. Where the exact result is finite, so is ours, and near it.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{
    self as k, Activation, AdamWStep, Conv2d, GroupNorm, Metric, Padding, RAdamStep, Tape, Value,
};

use crate::harness::{assert_close, elements, noise, test_device};
use crate::{attention, convolution, normalization, update};

fn filled(value: f32, dims: &[usize], device: &Device) -> Tensor {
    Tensor::full(value, dims, device).unwrap()
}

/// Output and gradients of the sum of all outputs.
fn run(f: impl Fn(&[Value]) -> k::Result<Value>, inputs: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let tape = Tape::new();
    let leaves: Vec<Value> = inputs.iter().map(|x| tape.leaf(x)).collect();
    let output = f(&leaves).unwrap();
    let gradients = tape.backward(&k::sum_all(&output).unwrap()).unwrap();
    let gradients = (0..inputs.len()).map(|idx| gradients.leaf(idx).unwrap().clone()).collect();
    (output.into_tensor(), gradients)
}

fn assert_finite(what: &str, tensors: &[Tensor]) {
    for (idx, tensor) in tensors.iter().enumerate() {
        let bad = elements(tensor).into_iter().find(|x| !x.is_finite());
        assert_eq!(bad, None, "{what}: tensor {idx} is not finite");
    }
}

fn to_f32(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

/// Scores of +-10,000: a softmax that takes exponentials before it takes the largest away has none left.
fn attention_of_huge_scores(device: &Device) {
    for scale in [1e2, 1e4] {
        let factor = f64::sqrt(scale);
        let inputs = [(1, 9), (2, 7), (3, 7)].map(|(seed, rows)| noise(seed, &[2, rows, 12], device));
        let [q, k, v] = inputs;
        let inputs = [(q * factor).unwrap(), (k * factor).unwrap(), v].map(|x| to_f32(&x));
        let (output, gradients) = run(|x| k::attention(&x[0], &x[1], &x[2], 3), &inputs);
        // A score has the rounding of its size, and a probability the relative error that the score has absolutely.
        let tolerance = 8.0 * scale * f64::from(f32::EPSILON);
        assert_close("attention", &elements(&output), &attention::naive(&inputs, 3), tolerance);
        assert_finite("attention", &gradients);
    }
}
test_device!(attention_of_huge_scores_cpu, attention_of_huge_scores);

/// A constant image has no variance: what comes out is the shift, up to the rounding of the input.
fn norm_of_a_constant_image(device: &Device) {
    for value in [0.0, 1e-40, -1.0, 0.1, 300.0] {
        for activation in [Activation::Identity, Activation::Silu] {
            let config = GroupNorm { num_groups: 4, eps: 1e-5, activation };
            let inputs = [
                filled(value, &[2, 5, 3, 12], device),
                to_f32(&noise(2, &[12], device)),
                to_f32(&noise(3, &[12], device)),
            ];
            let (output, gradients) = run(|x| k::group_norm(&x[0], &x[1], &x[2], &config), &inputs);
            // The inverse of the standard deviation is 1 / sqrt(eps), so the rounding of x counts 316 times.
            let tolerance = 4.0 * 316.0 * f64::from(f32::EPSILON) * f64::from(value.abs().max(0.01));
            let name = format!("group_norm of the constant {value}, {config:?}");
            assert_close(&name, &elements(&output), &normalization::naive(&inputs, &config), tolerance);
            assert_finite(&name, &gradients);
        }
    }
}
test_device!(norm_of_a_constant_image_cpu, norm_of_a_constant_image);

/// Inputs whose squares only f64 can hold, and inputs that are denormal.
fn norm_of_huge_and_tiny_images(device: &Device) {
    for factor in [1e15, 1e-15, 1e-40] {
        let x = to_f32(&(noise(1, &[2, 3, 3, 8], device) * factor).unwrap());
        let inputs = [x, filled(1.0, &[8], device), filled(0.5, &[8], device)];
        let config = GroupNorm { num_groups: 2, ..GroupNorm::default() };
        let (output, gradients) = run(|x| k::group_norm(&x[0], &x[1], &x[2], &config), &inputs);
        assert_close("group_norm", &elements(&output), &normalization::naive(&inputs, &config), 2e-6);
        assert_finite("group_norm", &gradients);
    }
}
test_device!(norm_of_huge_and_tiny_images_cpu, norm_of_huge_and_tiny_images);

fn silu_at_the_edges(device: &Device) {
    let x =
        [f32::MIN, -1e30, -1e4, -100.0, -88.0, -1e-45, 0.0, 1e-45, f32::MIN_POSITIVE, 100.0, 1e30, f32::MAX];
    let (output, gradients) = run(|x| k::silu(&x[0]), &[Tensor::new(&x, device).unwrap()]);
    for ((x, y), slope) in x.into_iter().zip(elements(&output)).zip(elements(&gradients[0])) {
        let x = f64::from(x);
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        // -1e30 times a sigmoid of zero must not be taken for infinity times zero.
        let want = if x < -700.0 { 0.0 } else { x * sigmoid };
        assert_close(&format!("silu({x})"), &[y / x.abs().max(1.0)], &[want / x.abs().max(1.0)], 2e-7);
        let want = if x < -700.0 { 0.0 } else { sigmoid * (1.0 + x * (1.0 - sigmoid)) };
        assert_close(&format!("slope of silu at {x}"), &[slope], &[want], 1e-6);
    }
}
test_device!(silu_at_the_edges_cpu, silu_at_the_edges);

/// By Winograd's method where it applies, and directly.
fn convolution_of_huge_and_tiny_images(device: &Device) {
    for channels in [16, 5] {
        for factor in [1e30, 1e-30, 1e-42] {
            let x = to_f32(&(noise(1, &[2, 8, 8, channels], device) * factor).unwrap());
            let w = to_f32(&noise(2, &[16, channels, 3, 3], device));
            let config = Conv2d { stride: 1, padding: Padding::all(1) };
            let zeros = filled(0.0, &[16], device);
            let want = convolution::naive(&x, &w, &zeros, &config);
            let (output, gradients) = run(|x| k::conv2d(&x[0], &x[1], None, &config), &[x, w]);
            let relative = |x: &[f64]| x.iter().map(|x| x / factor).collect::<Vec<_>>();
            // A denormal number has few digits: 1e-42 is 714 units of the last place.
            let tolerance = if factor < 1e-38 { 0.1 } else { 1e-5 };
            let (got, want) = (relative(&elements(&output)), relative(&want));
            assert_close(&format!("conv2d, {channels} channels, {factor:e}"), &got, &want, tolerance);
            assert_finite("conv2d", &gradients);
        }
    }
}
test_device!(convolution_of_huge_and_tiny_images_cpu, convolution_of_huge_and_tiny_images);

/// Distances are summed in f64: squares of 1e18 do not overflow on the way to their root.
fn huge_and_tiny_differences(device: &Device) {
    for factor in [1e18, 1e-18, 1e-42] {
        let prediction = to_f32(&(noise(1, &[2, 3, 5], device) * factor).unwrap());
        let target = prediction.zeros_like().unwrap();
        for (metric, degree) in [(Metric::L1, 1), (Metric::PseudoHuber { c: 0.0 }, 1), (Metric::L2, 2)] {
            let f = |x: &[Value]| k::distance(&x[0], &target, metric, &[1.0, 2.0]);
            let (output, gradients) = run(f, std::slice::from_ref(&prediction));
            let sums = elements(&prediction);
            let sums = sums.chunks_exact(15).map(|d| {
                let squares: f64 = d.iter().map(|d| (d / factor).powi(2)).sum();
                match metric {
                    Metric::L1 => d.iter().map(|d| (d / factor).abs()).sum(),
                    Metric::L2 => squares,
                    Metric::PseudoHuber { .. } => squares.sqrt(),
                }
            });
            let want = sums.zip([1.0, 2.0]).map(|(sum, weight)| sum * weight).sum::<f64>() / 2.0;
            let want = want * factor.powi(degree);
            if want > f64::from(f32::MIN_POSITIVE) && want < f64::from(f32::MAX) {
                let got = elements(&output)[0] / want;
                assert_close(&format!("{metric:?} of {factor:e}"), &[got], &[1.0], 1e-6);
            }
            assert_finite(&format!("{metric:?} of {factor:e}"), &gradients);
        }
    }
}
test_device!(huge_and_tiny_differences_cpu, huge_and_tiny_differences);

/// No gradient, a denormal one, and one whose square f32 cannot hold.
fn optimizer_steps_on_extreme_gradients(device: &Device) {
    for size in [0.0, 1e-42, 1e18, 1e25] {
        let grad = to_f32(&(noise(1, &[37], device) * size).unwrap());
        for rectified in [false, true] {
            let param = update::single(2, &[37], device);
            let (m, v) = (param.zeros_like().unwrap(), param.zeros_like().unwrap());
            for step in 1..=8 {
                if rectified {
                    let config = RAdamStep { beta2: 0.9, step, ..RAdamStep::default() };
                    k::radam_step(&param, &m, &v, &grad, &config).unwrap();
                } else {
                    let config = AdamWStep { step, ..AdamWStep::default() };
                    k::adamw_step(&param, &m, &v, &grad, &config).unwrap();
                }
            }
            let name = format!("gradients of {size:e}, rectified: {rectified}");
            assert_finite(&name, &[param.clone(), m]);
            if size == 0.0 {
                let decay = if rectified { 1.0 } else { (1.0f64 - 1e-3 * 1e-2).powi(8) };
                let want: Vec<f64> =
                    elements(&update::single(2, &[37], device)).iter().map(|x| decay * x).collect();
                assert_close(&name, &elements(&param), &want, 1e-6);
            }
        }
    }
}
test_device!(optimizer_steps_on_extreme_gradients_cpu, optimizer_steps_on_extreme_gradients);

fn norm_of_huge_gradients(device: &Device) {
    let x = filled(1e30, &[4], device);
    assert_close("sum_of_squares", &[k::sum_of_squares([&x]).unwrap() / 4e60], &[1.0], 1e-6);
}
test_device!(norm_of_huge_gradients_cpu, norm_of_huge_gradients);
