//! Group normalization and pixel normalization against their definitions.

use candle_core::{Device, Tensor};
use ct_kernels::{
    Activation, GroupNorm, Tape, Value, add, add_channels, group_norm, group_norm_added,
    group_norm_modulated, mul, pixel_norm, silu, sum_all,
};

use crate::harness::{assert_close, check, elements, noise, test_device};

/// u = (x^ gamma + beta) (1 + scale) + shift, then the activation. Inputs x, gamma, beta, scale, shift.
pub(crate) fn naive(inputs: &[Tensor], config: &GroupNorm) -> Vec<f64> {
    let dims = inputs[0].dims();
    let (batch, channels) = (dims[0], dims[dims.len() - 1]);
    let pixels = inputs[0].elem_count() / (batch * channels);
    let all: Vec<Vec<f64>> = inputs.iter().map(elements).collect();
    let per_group = channels / config.num_groups;
    let at = |b: usize, p: usize, c: usize| (b * pixels + p) * channels + c;
    let mut out = vec![0.0; all[0].len()];
    for b in 0..batch {
        for c in 0..channels {
            let group = c / per_group * per_group..(c / per_group + 1) * per_group;
            let members: Vec<f64> = group
                .flat_map(|c| (0..pixels).map(move |p| (p, c)))
                .map(|(p, c)| all[0][at(b, p, c)])
                .collect();
            let mean = members.iter().sum::<f64>() / members.len() as f64;
            let variance = members.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / members.len() as f64;
            for p in 0..pixels {
                let normal = (all[0][at(b, p, c)] - mean) / (variance + config.eps).sqrt();
                let mut u = normal * all[1][c] + all[2][c];
                if inputs.len() == 5 {
                    u = u * (1.0 + all[3][b * channels + c]) + all[4][b * channels + c];
                }
                out[at(b, p, c)] = match config.activation {
                    Activation::Identity => u,
                    Activation::Silu => u / (1.0 + (-u).exp()),
                };
            }
        }
    }
    out
}

fn normalization(device: &Device) {
    for (dims, num_groups) in [
        (vec![1, 1, 1, 2], 1),
        (vec![2, 3, 3, 6], 3),
        (vec![3, 5, 17], 17),
        (vec![2, 7, 6, 32], 4),
        (vec![2, 12], 3),
    ] {
        for activation in [Activation::Identity, Activation::Silu] {
            let config = GroupNorm { num_groups, eps: 1e-3, activation };
            let (b, c) = (dims[0], dims[dims.len() - 1]);
            let x = (noise(1, &dims, device) + 0.5).unwrap();
            let inputs = [
                x,
                noise(2, &[c], device),
                noise(3, &[c], device),
                noise(4, &[b, c], device),
                noise(5, &[b, c], device),
            ];
            let plain = |x: &[Value]| group_norm(&x[0], &x[1], &x[2], &config);
            let modulated = |x: &[Value]| group_norm_modulated(&x[0], &x[1], &x[2], &x[3], &x[4], &config);
            let values = inputs.each_ref().map(Value::from);
            let name = format!("group_norm {dims:?}, {config:?}");
            let got = plain(&values).unwrap();
            assert_close(&name, &elements(got.tensor()), &naive(&inputs[..3], &config), 1e-12);
            let got = modulated(&values).unwrap();
            assert_close(&name, &elements(got.tensor()), &naive(&inputs, &config), 1e-12);
            check(&name, &plain, &inputs[..3]);
            check(&name, &modulated, &inputs);

            let added = |x: &[Value]| group_norm_added(&x[0], &x[3], &x[1], &x[2], &config);
            let apart =
                group_norm(&add_channels(&values[0], &values[3]).unwrap(), &values[1], &values[2], &config);
            let got = added(&values).unwrap();
            assert_close(&name, &elements(got.tensor()), &elements(apart.unwrap().tensor()), 1e-12);
            check(&name, &added, &inputs[..4]);
            // Two branches meet at x: the normalization adds its gradient to what the other left there.
            check(&name, &|x| add(&group_norm(&x[0], &x[1], &x[2], &config)?, &silu(&x[0])?), &inputs[..3]);
        }
    }
}
test_device!(normalization_cpu, normalization);

/// A large mean costs no more digits than rounding the input does.
fn large_mean(device: &Device) {
    let x = (noise(1, &[1, 30, 30, 8], device) + 300.0).unwrap();
    let x = x.to_dtype(candle_core::DType::F32).unwrap();
    let (gamma, beta) =
        (Tensor::ones(8, x.dtype(), device).unwrap(), Tensor::zeros(8, x.dtype(), device).unwrap());
    let config = GroupNorm { num_groups: 2, ..GroupNorm::default() };
    let got = group_norm(&(&x).into(), &(&gamma).into(), &(&beta).into(), &config).unwrap();
    let want = naive(&[x, gamma, beta], &config);
    assert_close("group_norm", &elements(got.tensor()), &want, 300.0 * f64::from(f32::EPSILON));
}
test_device!(large_mean_cpu, large_mean);

fn wrong_shapes(device: &Device) {
    let norm = |x: &[usize], gamma: &[usize], num_groups| {
        let (x, gamma) = (noise(1, x, device).into(), noise(2, gamma, device).into());
        group_norm(&x, &gamma, &gamma, &GroupNorm { num_groups, ..GroupNorm::default() })
    };
    assert!(norm(&[1, 2, 2, 6], &[6], 2).is_ok());
    assert!(norm(&[1, 2, 2, 6], &[6], 4).is_err());
    assert!(norm(&[1, 2, 2, 6], &[6], 0).is_err());
    assert!(norm(&[1, 2, 2, 6], &[5], 2).is_err());
    assert!(norm(&[6], &[6], 2).is_err());
}
test_device!(wrong_shapes_cpu, wrong_shapes);

fn pixels(device: &Device) {
    for (dims, eps) in [(vec![1], 1e-2), (vec![3, 17], 1e-4), (vec![2, 3, 2, 8], 1e-1), (vec![0, 4], 1e-2)] {
        if device.is_cuda() && dims[0] == 0 {
            // A launch of nothing is an error there, and a batch of nothing is never made.
            continue;
        }
        let x = noise(1, &dims, device);
        let channels = dims[dims.len() - 1];
        let want: Vec<f64> = elements(&x)
            .chunks_exact(channels)
            .flat_map(|x| {
                let mean = x.iter().map(|x| x * x).sum::<f64>() / channels as f64;
                x.iter().map(move |x| x / (mean + eps).sqrt())
            })
            .collect();
        let f = |x: &[Value]| pixel_norm(&x[0], eps);
        let got = f(&[Value::from(&x)]).unwrap();
        assert_close("pixel_norm", &elements(got.tensor()), &want, 1e-14);
        if !want.is_empty() {
            check("pixel_norm", &f, &[x]);
        }
    }
}
test_device!(pixels_cpu, pixels);

/// A vector of zeros stays one, and both derivatives there are 1 / sqrt(eps), for f32 too.
fn pixel_norm_of_zeros(device: &Device) {
    let zeros = Tensor::zeros(&[2, 3], candle_core::DType::F32, device).unwrap();
    let direction = noise(1, &[2, 3], device).to_dtype(candle_core::DType::F32).unwrap();
    let want: Vec<f64> = elements(&direction).into_iter().map(|v| v / 0.1).collect();

    let tape = Tape::new();
    let y = pixel_norm(&tape.leaf(&zeros), 1e-2).unwrap();
    assert_eq!(elements(y.tensor()), [0.0; 6]);
    let loss = sum_all(&mul(&y, &Value::from(&direction)).unwrap()).unwrap();
    let gradients = tape.backward(&loss).unwrap();
    assert_close("gradient", &elements(gradients.leaf(0).unwrap()), &want, 1e-6);

    let dual = pixel_norm(&Value::dual(zeros.clone(), direction).unwrap(), 1e-2).unwrap();
    assert_close("tangent", &elements(dual.tangent().unwrap()), &want, 1e-6);

    assert!(pixel_norm(&Value::from(&zeros), 0.0).is_err());
    assert!(pixel_norm(&Value::from(&zeros), f64::NAN).is_err());
    let scalar = Tensor::new(1.0, device).unwrap();
    assert!(pixel_norm(&Value::from(&scalar), 1e-2).is_err());
}
test_device!(pixel_norm_of_zeros_cpu, pixel_norm_of_zeros);
