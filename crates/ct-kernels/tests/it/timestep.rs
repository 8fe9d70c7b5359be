//! Embeddings of noise levels.

use candle_core::{Device, Tensor};
use ct_kernels::{FourierEmbedding, PositionalEmbedding, Value, fourier_embedding, positional_embedding};

use crate::harness::{assert_close, check, elements, noise, test_device};

fn positional(device: &Device) {
    let times = [0.3, 1.7, -2.5];
    let t = Tensor::new(&times, device).unwrap();
    for dim in [2, 6, 7] {
        for flip_sin_to_cos in [false, true] {
            for downscale_freq_shift in [0.0, 0.5] {
                let config = PositionalEmbedding {
                    flip_sin_to_cos,
                    downscale_freq_shift,
                    ..PositionalEmbedding::new(dim)
                };
                let half = dim / 2;
                let mut want = Vec::new();
                for t in times {
                    let angles: Vec<f64> = (0..half)
                        .map(|i| t * 1e4f64.powf(-(i as f64) / (half as f64 - downscale_freq_shift)))
                        .collect();
                    let sines = angles.iter().map(|a| a.sin());
                    let cosines = angles.iter().map(|a| a.cos());
                    if flip_sin_to_cos {
                        want.extend(cosines.chain(sines));
                    } else {
                        want.extend(sines.chain(cosines));
                    }
                    want.extend(vec![0.0; dim % 2]);
                }
                let f = |t: &[Value]| positional_embedding(&t[0], &config);
                let got = f(&[Value::from(&t)]).unwrap();
                assert_eq!(got.dims(), [3, dim]);
                assert_close("positional", &elements(got.tensor()), &want, 1e-14);
                check("positional_embedding", &f, std::slice::from_ref(&t));
            }
        }
    }
    assert!(positional_embedding(&(&t).into(), &PositionalEmbedding::new(1)).is_err());
}
test_device!(positional_cpu, positional);

fn fourier(device: &Device) {
    let times = [0.3, 1.7, 2.5];
    let t = Tensor::new(&times, device).unwrap();
    let weight = noise(4, &[3], device);
    for log in [false, true] {
        for flip_sin_to_cos in [false, true] {
            let config = FourierEmbedding { log, flip_sin_to_cos };
            let mut want = Vec::new();
            for t in times {
                let t = if log { f64::ln(t) } else { t };
                let angles: Vec<f64> =
                    elements(&weight).iter().map(|w| std::f64::consts::TAU * t * w).collect();
                let sines = angles.iter().map(|a| a.sin());
                let cosines = angles.iter().map(|a| a.cos());
                if flip_sin_to_cos {
                    want.extend(cosines.chain(sines));
                } else {
                    want.extend(sines.chain(cosines));
                }
            }
            let f = |t: &[Value]| fourier_embedding(&t[0], &weight, &config);
            let got = f(&[Value::from(&t)]).unwrap();
            assert_close("fourier", &elements(got.tensor()), &want, 1e-14);
            check("fourier_embedding", &f, std::slice::from_ref(&t));
        }
    }
}
test_device!(fourier_cpu, fourier);
