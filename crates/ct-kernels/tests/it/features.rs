//! What networks for features are made of: the rectifier, the largest value under a window, pixels of length 1;
//! and the penalty on predictions out of range.

use candle_core::{Device, Tensor};
use ct_kernels::{self as k, Tape, Value};

use crate::harness::{assert_close, check, elements, noise, test_device};

/// Distinct numbers that are at least 0.01 apart and away from 0, so that central differences never cross a kink.
fn apart(seed: u64, dims: &[usize], device: &Device) -> Tensor {
    let random = elements(&noise(seed, dims, device));
    let mut order: Vec<usize> = (0..random.len()).collect();
    order.sort_by(|&a, &b| random[a].total_cmp(&random[b]));
    let mut spread = vec![0.0; random.len()];
    for (rank, &at) in order.iter().enumerate() {
        spread[at] = (rank as f64 - (random.len() / 2) as f64 + 0.5) * 0.01;
    }
    Tensor::from_vec(spread, dims, device).unwrap()
}

fn relu(device: &Device) {
    for dims in [vec![1], vec![3, 5], vec![2, 3, 1, 17], vec![2, 9000]] {
        let x = apart(1, &dims, device);
        let got = elements(k::relu(&(&x).into()).unwrap().tensor());
        let want: Vec<f64> = elements(&x).iter().map(|x| x.max(0.0)).collect();
        assert_close("relu", &got, &want, 0.0);
        check("relu", &|x| k::relu(&x[0]), &[x]);
    }
    let x = Tensor::new(&[f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY], device).unwrap();
    let tape = Tape::new();
    let y = k::relu(&tape.leaf(&x)).unwrap();
    let values = elements(y.tensor());
    assert!(values[0].is_nan(), "what is not a number must be seen");
    assert_eq!(values[1..], [0.0, 0.0, f64::INFINITY, 0.0]);
    let gradients = tape.backward(&k::sum_all(&y).unwrap()).unwrap();
    assert_eq!(elements(gradients.leaf(0).unwrap())[1..], [0.0, 0.0, 1.0, 0.0]);
}
test_device!(relu_cpu, relu);

/// The largest value under each window, by its definition.
fn naive_max_pool(x: &Tensor, kernel: usize, stride: usize) -> Vec<f64> {
    let (batch, height, width, channels) = x.dims4().unwrap();
    let xs = elements(x);
    let mut out = Vec::new();
    for b in 0..batch {
        for top in (0..=height - kernel).step_by(stride) {
            for left in (0..=width - kernel).step_by(stride) {
                for c in 0..channels {
                    let rows = (top..top + kernel).flat_map(|y| (left..left + kernel).map(move |x| (y, x)));
                    let values = rows.map(|(y, x)| xs[((b * height + y) * width + x) * channels + c]);
                    out.push(values.fold(f64::NEG_INFINITY, f64::max));
                }
            }
        }
    }
    out
}

fn max_pool(device: &Device) {
    for (kernel, stride) in [(3, 2), (2, 2), (1, 1), (2, 3), (3, 1)] {
        for dims in [[1, 3, 3, 1], [2, 7, 8, 5], [3, 4, 6, 17]] {
            let x = apart(1, &dims, device);
            let name = format!("max_pool2d {kernel}x{kernel}, stride {stride}, of {dims:?}");
            let got = k::max_pool2d(&(&x).into(), kernel, stride).unwrap();
            let sides = [dims[1], dims[2]].map(|side| (side - kernel) / stride + 1);
            assert_eq!(got.dims(), [dims[0], sides[0], sides[1], dims[3]], "{name}");
            assert_close(&name, &elements(got.tensor()), &naive_max_pool(&x, kernel, stride), 0.0);
            check(&name, &|x| k::max_pool2d(&x[0], kernel, stride), &[x]);
        }
    }
    let pool = |dims: &[usize], kernel, stride| k::max_pool2d(&noise(1, dims, device).into(), kernel, stride);
    let message = pool(&[1, 2, 4, 2], 3, 2).unwrap_err().to_string();
    assert_eq!(message, "max_pool2d: x must be [B, H, W, C] with H, W >= 3, got [1, 2, 4, 2]");
    assert!(pool(&[4, 4, 2], 2, 2).is_err() && pool(&[1, 4, 4, 2], 0, 2).is_err());
    assert!(pool(&[1, 4, 4, 2], 2, 0).is_err());
}
test_device!(max_pool_cpu, max_pool);

/// Of equal values the first has the gradient, alone; what is not a number is not lost.
fn max_pool_of_equal_values(device: &Device) {
    let tape = Tape::new();
    let x = tape.leaf(&Tensor::zeros((1, 3, 3, 2), candle_core::DType::F32, device).unwrap());
    let loss = k::sum_all(&k::max_pool2d(&x, 3, 2).unwrap()).unwrap();
    let gradient = elements(tape.backward(&loss).unwrap().leaf(0).unwrap());
    assert_eq!(gradient[..2], [1.0, 1.0]);
    assert_eq!(gradient[2..], [0.0; 16]);

    for at in 0..4 {
        let mut x = [5.0f32, 1.0, 2.0, 7.0];
        x[at] = f32::NAN;
        let x = Tensor::from_slice(&x, (1, 2, 2, 1), device).unwrap();
        assert!(elements(k::max_pool2d(&x.into(), 2, 2).unwrap().tensor())[0].is_nan(), "at {at}");
    }
}
test_device!(max_pool_of_equal_values_cpu, max_pool_of_equal_values);

fn normalize_channels(device: &Device) {
    for dims in [vec![1, 1], vec![2, 3, 1, 17], vec![3, 2, 5, 8], vec![2, 90, 300]] {
        let channels = dims[dims.len() - 1];
        let (x, gain) = (noise(1, &dims, device), noise(2, &[channels], device));
        for eps in [1e-10, 0.3] {
            let f = |x: &[Value]| k::normalize_channels(&x[0], &gain.to_dtype(x[0].tensor().dtype())?, eps);
            let gains = elements(&gain);
            let xs = elements(&x);
            let want: Vec<f64> = xs
                .chunks_exact(channels)
                .flat_map(|x| {
                    let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                    x.iter().zip(&gains).map(|(x, gain)| gain * x / (length + eps)).collect::<Vec<_>>()
                })
                .collect();
            assert_close("normalize_channels", &elements(f(&[(&x).into()]).unwrap().tensor()), &want, 1e-14);
            check("normalize_channels", &f, std::slice::from_ref(&x));
        }
    }
    let x = Value::from(noise(1, &[2, 3], device));
    assert!(k::normalize_channels(&x, &noise(2, &[2], device), 1e-10).is_err());
    assert!(k::normalize_channels(&x, &noise(2, &[3], device), 0.0).is_err());
}
test_device!(normalize_channels_cpu, normalize_channels);

/// A pixel of zeros stays one, and its gradient is that of x / eps; huge and tiny pixels keep their direction.
fn normalize_channels_at_the_edges(device: &Device) {
    let tape = Tape::new();
    let gain = Tensor::new(&[1.0f32, 2.0], device).unwrap();
    let x = tape.leaf(&Tensor::new(&[[0.0f32, 0.0], [3e30, -4e30], [3e-30, 4e-30]], device).unwrap());
    let y = k::normalize_channels(&x, &gain, 1e-10).unwrap();
    let values = elements(y.tensor());
    // The rounding of f32.
    assert_close("large", &values[..4], &[0.0, 0.0, 0.6, -1.6], 1e-6);
    assert!((values[4] / 3e-20 - 1.0).abs() < 1e-6 && (values[5] / 8e-20 - 1.0).abs() < 1e-6);
    let gradient = elements(tape.backward(&k::sum_all(&y).unwrap()).unwrap().leaf(0).unwrap());
    assert!((gradient[0] / 1e10 - 1.0).abs() < 1e-6 && (gradient[1] / 2e10 - 1.0).abs() < 1e-6);
    assert!(gradient.iter().all(|g| g.is_finite()));
}
test_device!(normalize_channels_at_the_edges_cpu, normalize_channels_at_the_edges);

fn overflow_penalty(device: &Device) {
    for dims in [vec![1, 1], vec![3, 17], vec![2, 3, 4, 5]] {
        // Around -1 and 1, but not on them.
        let f = (apart(1, &dims, device) * 4.3).unwrap();
        let weights: Vec<f64> = (0..dims[0]).map(|b| 0.5 + b as f64).collect();
        let sample: usize = dims[1..].iter().product();
        let excess = |x: &f64| (x.abs() - 1.0).max(0.0).powi(2);
        let each = elements(&f)
            .chunks_exact(sample)
            .map(|x| x.iter().map(excess).sum::<f64>())
            .zip(&weights)
            .map(|(sum, weight)| sum * weight / (sample * dims[0]) as f64)
            .sum::<f64>();
        let penalty = |x: &[Value]| k::overflow_penalty(&x[0], &weights);
        assert_close(
            "overflow_penalty",
            &elements(penalty(&[(&f).into()]).unwrap().tensor()),
            &[each],
            1e-14,
        );
        check("overflow_penalty", &penalty, &[f]);
    }
    let inside = Value::from((noise(1, &[2, 8], device) * 0.5).unwrap());
    assert_eq!(elements(k::overflow_penalty(&inside, &[1.0, 1.0]).unwrap().tensor()), [0.0]);
    let nan = Value::from(Tensor::new(&[[f32::NAN]], device).unwrap());
    assert!(elements(k::overflow_penalty(&nan, &[1.0]).unwrap().tensor())[0].is_nan());
    assert!(k::overflow_penalty(&inside, &[1.0]).is_err());
}
test_device!(overflow_penalty_cpu, overflow_penalty);
