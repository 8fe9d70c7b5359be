//! Every operation on random shapes: one channel, one pixel, odd sizes, channels that are no multiple of a vector.
//!
//! The output against loops that share nothing with the kernels, then all that [`check`] checks.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{self as k, Activation, Conv2d, GroupNorm, Metric, Padding, Value};

use crate::harness::{Function, assert_close, check, elements, noise, test_device};
use crate::shapes::{Draw, random_cases};
use crate::{attention, convolution, normalization, update};

/// Rounding of f64, for sums of some hundred terms of size 1.
const EXACT: f64 = 1e-12;

fn dims4(draw: &mut Draw) -> [usize; 4] {
    [draw.batch(), draw.side(), draw.side(), draw.channels()]
}

/// Any rank from 1 to 4.
fn dims_of_any_rank(draw: &mut Draw) -> Vec<usize> {
    let rank = draw.between(1, 4);
    dims4(draw)[4 - rank..].to_vec()
}

fn output(result: k::Result<Value>) -> Vec<f64> {
    elements(result.unwrap().tensor())
}

fn conv2d_case(draw: &mut Draw) -> ([usize; 4], [usize; 3], Conv2d) {
    // Half of the cases are what networks are made of: 3 x 3 of stride 1 or 2, and 1 x 1.
    let usual = |side: usize, stride: usize, padding: usize| {
        ([side; 2], Conv2d { stride, padding: Padding::all(padding) })
    };
    let (kernel, config) = match draw.below(8) {
        0 | 1 => usual(3, 1, 1),
        2 => usual(3, 2, 1),
        3 => usual(1, 1, 0),
        _ => {
            let kernel = [draw.between(1, 5), draw.between(1, 5)];
            let padding = Padding {
                top: draw.below(4),
                bottom: draw.below(4),
                left: draw.below(4),
                right: draw.below(4),
            };
            (kernel, Conv2d { stride: draw.between(1, 3), padding })
        }
    };
    let [batch, mut height, mut width, channels] = dims4(draw);
    let p = config.padding;
    // The kernel must fit.
    height = height.max(kernel[0].saturating_sub(p.top + p.bottom));
    width = width.max(kernel[1].saturating_sub(p.left + p.right));
    ([batch, height, width, channels], [draw.channels(), kernel[0], kernel[1]], config)
}

fn conv2d(device: &Device) {
    random_cases(24, conv2d_case, |name, _, (x_dims, [channels_out, kh, kw], config)| {
        let x = noise(1, &x_dims, device);
        let w = noise(2, &[channels_out, x_dims[3], kh, kw], device);
        let b = noise(3, &[channels_out], device);
        let f = |x: &[Value]| k::conv2d(&x[0], &x[1], x.get(2), &config);
        let inputs = [x, w, b];
        let want = convolution::naive(&inputs[0], &inputs[1], &inputs[2], &config);
        assert_close(name, &output(f(&inputs.each_ref().map(Value::from))), &want, EXACT);
        check(name, &f, &inputs);
    });
}
test_device!(conv2d_cpu, conv2d);

fn linear(device: &Device) {
    let draw = |draw: &mut Draw| (dims_of_any_rank(draw), draw.channels());
    random_cases(24, draw, |name, _, (dims, outputs)| {
        let features = dims[dims.len() - 1];
        let inputs =
            [noise(1, &dims, device), noise(2, &[outputs, features], device), noise(3, &[outputs], device)];
        let [x, w, b] = inputs.each_ref().map(elements);
        let want: Vec<f64> = (0..x.len() / features * outputs)
            .map(|at| {
                let (x, w) = (&x[at / outputs * features..], &w[at % outputs * features..]);
                (0..features).map(|i| x[i] * w[i]).sum::<f64>() + b[at % outputs]
            })
            .collect();
        let f = |x: &[Value]| k::linear(&x[0], &x[1], x.get(2));
        assert_close(name, &output(f(&inputs.each_ref().map(Value::from))), &want, EXACT);
        check(name, &f, &inputs);
        check(name, &f, &inputs[..2]);
    });
}
test_device!(linear_cpu, linear);

fn group_norm(device: &Device) {
    let draw = |draw: &mut Draw| {
        let [b, h, w, c] = dims4(draw);
        let dims = draw.one_of(&[vec![b, h, w, c], vec![b, h * w, c], vec![b, c]]);
        let groups: Vec<usize> = (1..=c).filter(|groups| c.is_multiple_of(*groups)).collect();
        let config = GroupNorm {
            num_groups: draw.one_of(&groups),
            eps: draw.one_of(&[1e-2, 1e-3]),
            activation: draw.one_of(&[Activation::Identity, Activation::Silu]),
        };
        (dims, config, draw.coin())
    };
    random_cases(24, draw, |name, _, (dims, config, modulated)| {
        let (b, c) = (dims[0], dims[dims.len() - 1]);
        let mut inputs = vec![noise(1, &dims, device), noise(2, &[c], device), noise(3, &[c], device)];
        if modulated {
            inputs.extend([noise(4, &[b, c], device), noise(5, &[b, c], device)]);
        }
        let f = |x: &[Value]| match x {
            [x, gamma, beta, scale, shift] => k::group_norm_modulated(x, gamma, beta, scale, shift, &config),
            _ => k::group_norm(&x[0], &x[1], &x[2], &config),
        };
        let values: Vec<Value> = inputs.iter().map(Value::from).collect();
        assert_close(name, &output(f(&values)), &normalization::naive(&inputs, &config), EXACT);
        check(name, &f, &inputs);
    });
}
test_device!(group_norm_cpu, group_norm);

fn attention(device: &Device) {
    let draw = |draw: &mut Draw| {
        let (queries, keys) = (draw.side() * draw.side(), draw.side() * draw.side());
        let (heads, dim) = (draw.one_of(&[1, 1, 2, 3, 4]), draw.one_of(&[1, 2, 3, 5, 8, 16, 17]));
        (draw.batch(), queries, if draw.coin() { queries } else { keys }, heads, dim)
    };
    random_cases(16, draw, |name, _, (batch, queries, keys, heads, dim)| {
        let inputs = [(1, queries), (2, keys), (3, keys)]
            .map(|(seed, rows)| noise(seed, &[batch, rows, heads * dim], device));
        let f = |x: &[Value]| k::attention(&x[0], &x[1], &x[2], heads);
        let want = attention::naive(&inputs, heads);
        assert_close(name, &output(f(&inputs.each_ref().map(Value::from))), &want, EXACT);
        check(name, &f, &inputs);
    });
}
test_device!(attention_cpu, attention);

/// Pixel (y, x) of the result is pixel (y / 2, x / 2); and the mean of four, the other way.
fn resampling(device: &Device) {
    random_cases(16, dims4, |name, _, [batch, height, width, channels]| {
        let at = |h: usize, w: usize, [b, y, x, c]: [usize; 4]| ((b * h + y) * w + x) * channels + c;
        let small = noise(1, &[batch, height, width, channels], device);
        let pixels = elements(&small);
        let mut want = vec![0.0; 4 * pixels.len()];
        for (b, y, x, c) in indices([batch, 2 * height, 2 * width, channels]) {
            want[at(2 * height, 2 * width, [b, y, x, c])] = pixels[at(height, width, [b, y / 2, x / 2, c])];
        }
        let up = |x: &[Value]| k::upsample_nearest2x(&x[0]);
        assert_close(name, &output(up(&[Value::from(&small)])), &want, 0.0);
        check(name, &up, &[small]);

        let (height, width) = (height + 1, width + 1);
        let large = noise(2, &[batch, height, width, channels], device);
        let pixels = elements(&large);
        let (h, w) = (height / 2, width / 2);
        let mut want = vec![0.0; batch * h * w * channels];
        for (b, y, x, c) in indices([batch, 2 * h, 2 * w, channels]) {
            want[at(h, w, [b, y / 2, x / 2, c])] += pixels[at(height, width, [b, y, x, c])] / 4.0;
        }
        let down = |x: &[Value]| k::avg_pool2x(&x[0]);
        assert_close(name, &output(down(&[Value::from(&large)])), &want, EXACT);
        check(name, &down, &[large]);
    });
}
test_device!(resampling_cpu, resampling);

fn indices([b, h, w, c]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..b * h * w * c).map(move |at| (at / (h * w * c), at / (w * c) % h, at / c % w, at % c))
}

fn concat(device: &Device) {
    let draw = |draw: &mut Draw| {
        let dims = dims4(draw);
        let parts: Vec<usize> = (0..draw.between(1, 4)).map(|_| draw.channels()).collect();
        (dims, parts)
    };
    random_cases(16, draw, |name, _, ([batch, height, width, _], parts)| {
        let inputs: Vec<Tensor> =
            (1..).zip(&parts).map(|(seed, &c)| noise(seed, &[batch, height, width, c], device)).collect();
        let rows: Vec<Vec<f64>> = inputs.iter().map(elements).collect();
        let mut want = Vec::new();
        for pixel in 0..batch * height * width {
            for (row, &c) in rows.iter().zip(&parts) {
                want.extend_from_slice(&row[pixel * c..][..c]);
            }
        }
        let f = |x: &[Value]| k::concat_channels(&x.iter().collect::<Vec<_>>());
        assert_close(name, &output(f(&inputs.iter().map(Value::from).collect::<Vec<_>>())), &want, 0.0);
        check(name, &f, &inputs);
    });
}
test_device!(concat_cpu, concat);

fn narrow(device: &Device) {
    let draw = |draw: &mut Draw| {
        let dims = dims_of_any_rank(draw);
        let channels = dims[dims.len() - 1];
        let start = draw.below(channels);
        let length = draw.between(1, channels - start);
        (dims, start, length)
    };
    random_cases(16, draw, |name, _, (dims, start, length)| {
        let x = noise(1, &dims, device);
        let rows = elements(&x);
        let rows = rows.chunks_exact(dims[dims.len() - 1]);
        let want: Vec<f64> = rows.flat_map(|row| row[start..start + length].to_vec()).collect();
        let f = |x: &[Value]| k::narrow_channels(&x[0], start, length);
        assert_close(name, &output(f(&[Value::from(&x)])), &want, 0.0);
        check(name, &f, &[x]);
    });
}
test_device!(narrow_cpu, narrow);

fn add_channels(device: &Device) {
    random_cases(16, dims4, |name, _, dims| {
        let [batch, height, width, channels] = dims;
        let inputs = [noise(1, &dims, device), noise(2, &[batch, channels], device)];
        let [x, t] = inputs.each_ref().map(elements);
        let sample = height * width * channels;
        let want: Vec<f64> =
            (0..x.len()).map(|at| x[at] + t[at / sample * channels + at % channels]).collect();
        let f = |x: &[Value]| k::add_channels(&x[0], &x[1]);
        assert_close(name, &output(f(&inputs.each_ref().map(Value::from))), &want, 0.0);
        check(name, &f, &inputs);
    });
}
test_device!(add_channels_cpu, add_channels);

fn element_by_element(device: &Device) {
    random_cases(16, dims_of_any_rank, |name, draw, dims| {
        let inputs = [noise(1, &dims, device), noise(2, &dims, device)];
        let [x, y] = inputs.each_ref().map(elements);
        let values = inputs.each_ref().map(Value::from);
        let pairs =
            |f: fn(f64, f64) -> f64| -> Vec<f64> { x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect() };
        let per_sample: Vec<f64> = (0..dims[0]).map(|_| draw.real(-2.0, 2.0)).collect();
        let sample = x.len() / dims[0];
        let scaled: Vec<f64> = x.iter().enumerate().map(|(at, x)| x * per_sample[at / sample]).collect();
        let cases: [(&str, &Function<'_>, Vec<f64>); 4] = [
            ("silu", &|x| k::silu(&x[0]), pairs(|x, _| x / (1.0 + (-x).exp()))),
            ("add", &|x| k::add(&x[0], &x[1]), pairs(|x, y| x + y)),
            ("mul", &|x| k::mul(&x[0], &x[1]), pairs(|x, y| x * y)),
            ("scale_samples", &|x| k::scale_samples(&x[0], &per_sample), scaled),
        ];
        for (op, f, want) in cases {
            let count = if matches!(op, "add" | "mul") { 2 } else { 1 };
            let name = format!("{name}, {op}");
            assert_close(&name, &output(f(&values[..count])), &want, EXACT);
            check(&name, f, &inputs[..count]);
        }
    });
}
test_device!(element_by_element_cpu, element_by_element);

fn embedding(device: &Device) {
    let draw = |draw: &mut Draw| {
        let (rows, columns) = (draw.channels(), draw.channels());
        let ids: Vec<u32> =
            (0..draw.between(1, 9)).map(|_| u32::try_from(draw.below(rows)).unwrap()).collect();
        (rows, columns, ids)
    };
    random_cases(16, draw, |name, _, (rows, columns, ids)| {
        let table = noise(1, &[rows, columns], device);
        let all = elements(&table);
        let want: Vec<f64> =
            ids.iter().flat_map(|&id| all[id as usize * columns..][..columns].to_vec()).collect();
        let f = |x: &[Value]| k::embedding(&x[0], &ids);
        assert_close(name, &output(f(&[Value::from(&table)])), &want, 0.0);
        check(name, &f, &[table]);
    });
}
test_device!(embedding_cpu, embedding);

fn distance(device: &Device) {
    let draw = |draw: &mut Draw| {
        let dims = dims4(draw)[..draw.between(2, 4)].to_vec();
        let c = draw.one_of(&[0.0, 1e-3, 0.3, 10.0]);
        let weights: Vec<f64> = (0..dims[0]).map(|_| draw.real(0.1, 3.0)).collect();
        (dims, draw.one_of(&[Metric::L1, Metric::L2, Metric::PseudoHuber { c }]), weights)
    };
    random_cases(24, draw, |name, draw, (dims, metric, weights)| {
        let target = noise(1, &dims, device);
        // The difference keeps away from zero, where not all metrics can be differentiated.
        let count: usize = dims.iter().product();
        let difference: Vec<f64> =
            (0..count).map(|_| draw.real(0.1, 1.5) * if draw.coin() { 1.0 } else { -1.0 }).collect();
        let prediction =
            (&target + Tensor::new(&*difference, device).unwrap().reshape(&*dims).unwrap()).unwrap();
        let per_sample = difference.chunks_exact(count / dims[0]).map(|d| {
            let squares: f64 = d.iter().map(|d| d * d).sum();
            match metric {
                Metric::L1 => d.iter().map(|d| d.abs()).sum(),
                Metric::L2 => squares,
                Metric::PseudoHuber { c } => (squares + c * c).sqrt() - c,
            }
        });
        let want = per_sample.zip(&weights).map(|(d, w)| d * w).sum::<f64>() / dims[0] as f64;
        let f = |x: &[Value]| k::distance(&x[0], &target.to_dtype(x[0].tensor().dtype())?, metric, &weights);
        assert_close(name, &output(f(&[Value::from(&prediction)])), &[want], EXACT);
        check(name, &f, &[prediction]);
    });
}
test_device!(distance_cpu, distance);

/// Some steps of an optimizer with random settings, and the average of what it makes.
fn optimizers(device: &Device) {
    let draw = |draw: &mut Draw| {
        // A few of the tensors are longer than a block and no multiple of it.
        let dims =
            if draw.below(4) == 0 { vec![draw.between(16_000, 40_000)] } else { dims_of_any_rank(draw) };
        let config = k::AdamWStep {
            lr: draw.real(1e-4, 1e-1),
            beta1: draw.one_of(&[0.0, 0.5, 0.9]),
            beta2: draw.one_of(&[0.9, 0.99, 0.999]),
            eps: draw.one_of(&[1e-8, 1e-3]),
            weight_decay: draw.one_of(&[0.0, 0.01, 0.3]),
            step: 1,
        };
        (dims, config, draw.coin(), draw.real(0.0, 1.0))
    };
    random_cases(24, draw, |name, draw, (dims, config, rectified, beta)| {
        let mut state = update::State::new(&dims, device);
        let average = update::single(7, &dims, device);
        let mut want = elements(&average);
        for step in 1..=draw.between(1, 9) as u64 {
            let grad = update::single(10 + step, &dims, device);
            let [param, m, v] = &state.tensors;
            let k::AdamWStep { lr, beta1, beta2, eps, weight_decay, .. } = config;
            if rectified {
                let config = k::RAdamStep { lr, beta1, beta2, eps, weight_decay, step };
                k::radam_step(param, m, v, &grad, &config).unwrap();
                update::radam_by_hand(&mut state.doubles, &elements(&grad), &config);
            } else {
                let config = k::AdamWStep { step, ..config };
                k::adamw_step(param, m, v, &grad, &config).unwrap();
                update::adamw_by_hand(&mut state.doubles, &elements(&grad), &config);
            }
            // One rounding of a step as long as the parameter, in each of up to nine steps.
            state.assert_agrees(name, 2e-6);
            k::ema_update(&average, &state.tensors[0], beta).unwrap();
            for (average, param) in want.iter_mut().zip(&state.doubles[0]) {
                *average = beta * *average + (1.0 - beta) * param;
            }
            assert_close(name, &elements(&average), &want, 2e-6);
        }
        let sum: f64 = elements(&average).iter().map(|x| x * x).sum();
        assert_eq!(average.dtype(), DType::F32);
        assert_close(name, &[k::sum_of_squares([&average]).unwrap()], &[sum], EXACT);
    });
}
test_device!(optimizers_cpu, optimizers);
