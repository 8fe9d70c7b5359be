//! Attention against its definition.

use candle_core::{Device, Tensor};
use ct_kernels::{Value, attention};

use crate::harness::{assert_close, check, elements, noise, test_device};

pub(crate) fn naive(inputs: &[Tensor; 3], heads: usize) -> Vec<f64> {
    let (batch, queries, channels) = inputs[0].dims3().unwrap();
    let keys = inputs[1].dims()[1];
    let dim = channels / heads;
    let [q, k, v] = inputs.each_ref().map(elements);
    let mut out = vec![0.0; q.len()];
    for b in 0..batch {
        for h in 0..heads {
            for n in 0..queries {
                let at = |rows: usize, row: usize, d: usize| (b * rows + row) * channels + h * dim + d;
                let score = |m: usize| {
                    let dot: f64 = (0..dim).map(|d| q[at(queries, n, d)] * k[at(keys, m, d)]).sum();
                    dot / (dim as f64).sqrt()
                };
                let scores: Vec<f64> = (0..keys).map(score).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
                for d in 0..dim {
                    let terms = scores.iter().enumerate();
                    out[at(queries, n, d)] =
                        terms.map(|(m, score)| (score - top).exp() / total * v[at(keys, m, d)]).sum();
                }
            }
        }
    }
    out
}

fn heads_and_lengths(device: &Device) {
    for (batch, queries, keys, dim, heads) in
        [(1, 1, 1, 1, 1), (2, 5, 5, 3, 2), (1, 17, 17, 16, 1), (3, 4, 7, 5, 3), (1, 9, 2, 8, 4)]
    {
        let c = dim * heads;
        let inputs = [
            noise(1, &[batch, queries, c], device),
            noise(2, &[batch, keys, c], device),
            noise(3, &[batch, keys, c], device),
        ];
        let f = |x: &[Value]| attention(&x[0], &x[1], &x[2], heads);
        let got = f(&inputs.each_ref().map(Value::from)).unwrap();
        assert_close("attention", &elements(got.tensor()), &naive(&inputs, heads), 1e-13);
        check("attention", &f, &inputs);
    }
}
test_device!(heads_and_lengths_cpu, heads_and_lengths);

/// The softmax neither overflows nor loses its sum.
fn large_scores(device: &Device) {
    let q = Tensor::new(&[[[1000.0f32], [-1000.0]]], device).unwrap();
    let k = Tensor::new(&[[[1.0f32], [-1.0]]], device).unwrap();
    let v = Tensor::new(&[[[3.0f32], [5.0]]], device).unwrap();
    let got = attention(&q.into(), &k.into(), &v.into(), 1).unwrap();
    assert_close("attention", &elements(got.tensor()), &[3.0, 5.0], 0.0);
}
test_device!(large_scores_cpu, large_scores);

fn wrong_shapes(device: &Device) {
    let run = |q: &[usize], k: &[usize], v: &[usize], heads| {
        let [q, k, v] = [q, k, v].map(|dims| Value::from(noise(1, dims, device)));
        attention(&q, &k, &v, heads)
    };
    assert!(run(&[2, 3, 4], &[2, 5, 4], &[2, 5, 4], 2).is_ok());
    assert!(run(&[2, 3, 4], &[2, 5, 4], &[2, 5, 4], 3).is_err());
    assert!(run(&[2, 3, 4], &[2, 5, 4], &[2, 4, 4], 2).is_err());
    assert!(run(&[2, 3, 4], &[1, 5, 4], &[1, 5, 4], 2).is_err());
    assert!(run(&[2, 3, 4], &[2, 5], &[2, 5], 2).is_err());
}
test_device!(wrong_shapes_cpu, wrong_shapes);
