//! Convolution against seven nested loops.

use candle_core::{Device, Tensor};
use ct_kernels::{Conv2d, Padding, Value, add, conv2d, conv2d_residual, linear, linear_residual};

use crate::harness::{assert_close, check, elements, noise, test_device};

/// [B, H, W, Cin], [Cout, kh, kw], settings.
type Case = ([usize; 4], [usize; 3], Conv2d);

fn cases() -> Vec<Case> {
    let same = |padding| Conv2d { stride: 1, padding: Padding::all(padding) };
    let halve = Conv2d { stride: 2, padding: Padding::all(1) };
    let after = Conv2d { stride: 2, padding: Padding { bottom: 1, right: 1, ..Padding::default() } };
    let uneven = Conv2d { stride: 3, padding: Padding { top: 2, bottom: 0, left: 1, right: 3 } };
    vec![
        ([1, 1, 1, 1], [1, 1, 1], same(0)),
        ([1, 1, 1, 1], [1, 3, 3], same(1)),
        ([2, 3, 5, 4], [3, 1, 1], same(0)),
        ([2, 5, 4, 3], [5, 3, 3], same(1)),
        ([1, 7, 7, 16], [16, 3, 3], same(1)),
        ([2, 9, 10, 32], [48, 3, 3], same(1)),
        ([5, 4, 4, 48], [16, 3, 3], same(1)),
        ([1, 4, 5, 64], [80, 3, 3], same(1)),
        ([2, 6, 7, 16], [3, 3, 3], same(1)),
        ([3, 4, 9, 17], [6, 3, 3], same(1)),
        ([1, 8, 8, 1], [33, 3, 3], same(1)),
        ([2, 6, 6, 3], [4, 3, 3], halve),
        ([2, 7, 6, 5], [4, 3, 3], halve),
        ([2, 6, 8, 3], [4, 3, 3], after),
        ([1, 6, 5, 2], [3, 2, 4], uneven),
        ([2, 5, 5, 2], [3, 5, 5], same(2)),
        ([1, 5, 6, 3], [2, 3, 3], same(0)),
        // The first layer of AlexNet.
        ([1, 23, 20, 3], [5, 11, 11], Conv2d { stride: 4, padding: Padding::all(2) }),
    ]
}

/// The output by its definition.
pub(crate) fn naive(x: &Tensor, w: &Tensor, b: &Tensor, config: &Conv2d) -> Vec<f64> {
    let (batch, height, width, channels_in) = x.dims4().unwrap();
    let (channels_out, _, kh, kw) = w.dims4().unwrap();
    let (xs, ws, bs) = (elements(x), elements(w), elements(b));
    let p = config.padding;
    let height_out = (height + p.top + p.bottom - kh) / config.stride + 1;
    let width_out = (width + p.left + p.right - kw) / config.stride + 1;
    let mut out = Vec::new();
    for n in 0..batch {
        for i in 0..height_out {
            for j in 0..width_out {
                for o in 0..channels_out {
                    let mut sum = bs[o];
                    for c in 0..channels_in {
                        for ky in 0..kh {
                            for kx in 0..kw {
                                let y = (i * config.stride + ky).checked_sub(p.top);
                                let x = (j * config.stride + kx).checked_sub(p.left);
                                if let (Some(y), Some(x)) = (y, x)
                                    && y < height
                                    && x < width
                                {
                                    sum += xs[((n * height + y) * width + x) * channels_in + c]
                                        * ws[((o * channels_in + c) * kh + ky) * kw + kx];
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

fn convolution(device: &Device) {
    for (x_dims, [channels_out, kh, kw], config) in cases() {
        let name = format!("conv2d {x_dims:?} to {channels_out}, {kh}x{kw}, {config:?}");
        let x = noise(1, &x_dims, device);
        let w = noise(2, &[channels_out, x_dims[3], kh, kw], device);
        let b = noise(3, &[channels_out], device);
        let values = [Value::from(&x), Value::from(&w), Value::from(&b)];
        let got = conv2d(&values[0], &values[1], Some(&values[2]), &config).unwrap();
        assert_close(&name, &elements(got.tensor()), &naive(&x, &w, &b, &config), 1e-13);
        check(&name, &|x| conv2d(&x[0], &x[1], None, &config), &[x.clone(), w.clone()]);
        check(&name, &|x| conv2d(&x[0], &x[1], Some(&x[2]), &config), &[x.clone(), w.clone(), b.clone()]);
        let residual = noise(4, got.dims(), device);
        let plain = add(&got, &Value::from(&residual)).unwrap();
        let inputs = [x, w, b, residual];
        let values = inputs.each_ref().map(Value::from);
        let residual = |x: &[Value]| conv2d_residual(&x[0], &x[1], &x[2], &x[3], &config);
        let got = residual(&values).unwrap();
        assert_close(&name, &elements(got.tensor()), &elements(plain.tensor()), 1e-13);
        check(&name, &residual, &inputs);
    }
}
test_device!(convolution_cpu, convolution);

fn dense_residual(device: &Device) {
    for (rows, features, outputs) in [(1, 1, 1), (5, 3, 7), (40, 16, 33)] {
        let inputs = [
            noise(1, &[rows, features], device),
            noise(2, &[outputs, features], device),
            noise(3, &[outputs], device),
            noise(4, &[rows, outputs], device),
        ];
        let name = format!("linear_residual {rows} x {features} to {outputs}");
        let values = inputs.each_ref().map(Value::from);
        let plain = add(&linear(&values[0], &values[1], Some(&values[2])).unwrap(), &values[3]).unwrap();
        let residual = |x: &[Value]| linear_residual(&x[0], &x[1], &x[2], &x[3]);
        let got = residual(&values).unwrap();
        assert_close(&name, &elements(got.tensor()), &elements(plain.tensor()), 1e-13);
        check(&name, &residual, &inputs);
        // Two layers on one input: the second adds its gradient to what the first left there.
        let twice = |x: &[Value]| linear_residual(&x[0], &x[1], &x[2], &linear(&x[0], &x[1], None)?);
        check(&name, &twice, &inputs[..3]);
    }
}
test_device!(dense_residual_cpu, dense_residual);

fn wrong_shapes(device: &Device) {
    let x = Value::from(noise(1, &[1, 4, 4, 3], device));
    let conv = |w: &[usize], b: &[usize], config: &Conv2d| {
        let (w, b) = (noise(2, w, device).into(), noise(3, b, device).into());
        conv2d(&x, &w, Some(&b), config).map_err(|error| error.to_string())
    };
    let plain = Conv2d::default();
    assert!(conv(&[2, 3, 3, 3], &[2], &plain).is_ok());
    let message = conv(&[2, 4, 3, 3], &[2], &plain).unwrap_err();
    assert_eq!(message, "conv2d: w must be [Cout, 3, kh, kw], for x [1, 4, 4, 3], got [2, 4, 3, 3]");
    assert!(conv(&[2, 3, 3, 3], &[3], &plain).is_err());
    assert!(conv(&[2, 3, 5, 5], &[2], &plain).is_err());
    assert!(conv(&[2, 3, 3, 3], &[2], &Conv2d { stride: 0, ..plain }).is_err());
}
test_device!(wrong_shapes_cpu, wrong_shapes);
