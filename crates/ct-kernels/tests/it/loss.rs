//! Distances.

use candle_core::{Device, Tensor};
use ct_kernels::{Metric, Tape, Value, distance, distances};

use crate::harness::{assert_close, check, elements, noise, test_device};

fn metrics(device: &Device) {
    for dims in [vec![1, 1], vec![3, 17], vec![2, 3, 4, 5]] {
        let (p, t) = (noise(1, &dims, device), noise(2, &dims, device));
        let weights: Vec<f64> = (0..dims[0]).map(|b| 0.5 + b as f64).collect();
        let sample: usize = dims[1..].iter().product();
        let differences: Vec<f64> = elements(&p).iter().zip(elements(&t)).map(|(p, t)| p - t).collect();
        let by_sample =
            |f: &dyn Fn(&[f64]) -> f64| -> Vec<f64> { differences.chunks_exact(sample).map(f).collect() };
        let squares = |d: &[f64]| d.iter().map(|d| d * d).sum::<f64>();
        for (metric, want) in [
            (Metric::L2, by_sample(&squares)),
            (Metric::L1, by_sample(&|d| d.iter().map(|d| d.abs()).sum())),
            (Metric::PseudoHuber { c: 0.3 }, by_sample(&|d| (squares(d) + 0.09).sqrt() - 0.3)),
            (Metric::PseudoHuber { c: 0.0 }, by_sample(&|d| squares(d).sqrt())),
        ] {
            assert_close("distances", &distances(&p, &t, metric).unwrap(), &want, 1e-14);
            let f = |x: &[Value]| distance(&x[0], &t.to_dtype(x[0].tensor().dtype())?, metric, &weights);
            let mean = want.iter().zip(&weights).map(|(d, w)| d * w).sum::<f64>() / dims[0] as f64;
            let got = f(&[Value::from(&p)]).unwrap();
            assert!(got.dims().is_empty());
            assert_close("distance", &elements(got.tensor()), &[mean], 1e-14);
            check(&format!("{metric:?}"), &f, std::slice::from_ref(&p));
        }
    }
}
test_device!(metrics_cpu, metrics);

fn no_difference(device: &Device) {
    let x = noise(1, &[2, 3], device);
    for metric in [Metric::L1, Metric::L2, Metric::PseudoHuber { c: 0.0 }, Metric::PseudoHuber { c: 0.1 }] {
        let tape = Tape::new();
        let loss = distance(&tape.leaf(&x), &x, metric, &[1.0, 1.0]).unwrap();
        assert_eq!(elements(loss.tensor()), [0.0]);
        let gradients = tape.backward(&loss).unwrap();
        assert_eq!(elements(gradients.leaf(0).unwrap()), [0.0; 6], "{metric:?}");
    }
}
test_device!(no_difference_cpu, no_difference);

/// sqrt(n + c^2) - c keeps its digits when n is much smaller than c^2.
fn small_difference(device: &Device) {
    let (p, t) = (Tensor::new(&[[1e-9]], device).unwrap(), Tensor::new(&[[0.0]], device).unwrap());
    let got = distances(&p, &t, Metric::PseudoHuber { c: 1.0 }).unwrap();
    assert!((got[0] / 5e-19 - 1.0).abs() < 1e-12, "{}", got[0]);
}
test_device!(small_difference_cpu, small_difference);

fn wrong_arguments(device: &Device) {
    let x = noise(1, &[2, 3], device);
    let value = Value::from(&x);
    assert!(distance(&value, &x, Metric::L2, &[1.0]).is_err());
    assert!(distance(&value, &x.t().unwrap(), Metric::L2, &[1.0, 1.0]).is_err());
    assert!(distance(&value, &x, Metric::PseudoHuber { c: -1.0 }, &[1.0, 1.0]).is_err());
}
test_device!(wrong_arguments_cpu, wrong_arguments);
