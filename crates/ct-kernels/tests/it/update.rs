//! Optimizer steps, averages and sums.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{
    AdamWStep, Error, RAdamStep, adamw_step, add_in_place, copy_in_place, ema_update, radam_step,
    scale_in_place, sum_of_squares,
};

use crate::harness::{assert_close, assert_same_bits, elements, noise, on_threads, test_device};

pub(crate) fn single(seed: u64, dims: &[usize], device: &Device) -> Tensor {
    noise(seed, dims, device).to_dtype(DType::F32).unwrap()
}

/// Parameter, both moments and their f64 twins after some steps on given gradients.
pub(crate) struct State {
    pub(crate) tensors: [Tensor; 3],
    pub(crate) doubles: [Vec<f64>; 3],
}

impl State {
    pub(crate) fn new(dims: &[usize], device: &Device) -> Self {
        let zeros = || Tensor::zeros(dims, DType::F32, device).unwrap();
        let tensors = [single(1, dims, device), zeros(), zeros()];
        let doubles = tensors.each_ref().map(elements);
        Self { tensors, doubles }
    }

    pub(crate) fn assert_agrees(&self, name: &str, tolerance: f64) {
        for (got, want) in self.tensors.iter().zip(&self.doubles) {
            assert_close(name, &elements(got), want, tolerance);
        }
    }
}

/// The formulas of `torch.optim.AdamW`, element by element, on parameter and moments.
pub(crate) fn adamw_by_hand([param, m, v]: &mut [Vec<f64>; 3], grad: &[f64], config: &AdamWStep) {
    let &AdamWStep { lr, beta1, beta2, eps, weight_decay, step } = config;
    let t = step as f64;
    for (idx, g) in grad.iter().enumerate() {
        param[idx] *= 1.0 - lr * weight_decay;
        m[idx] = beta1 * m[idx] + (1.0 - beta1) * g;
        v[idx] = beta2 * v[idx] + (1.0 - beta2) * g * g;
        let root = (v[idx] / (1.0 - beta2.powf(t))).sqrt();
        param[idx] -= lr * m[idx] / (1.0 - beta1.powf(t)) / (root + eps);
    }
}

fn adamw(device: &Device) {
    let dims = [3, 7001];
    let mut state = State::new(&dims, device);
    for step in 1..=4u64 {
        let grad = single(10 + step, &dims, device);
        let config = AdamWStep { lr: 0.01, weight_decay: 0.1, step, ..AdamWStep::default() };
        let [param, m, v] = &state.tensors;
        adamw_step(param, m, v, &grad, &config).unwrap();
        adamw_by_hand(&mut state.doubles, &elements(&grad), &config);
        state.assert_agrees("adamw", 3e-7);
    }
}
test_device!(adamw_cpu, adamw);

/// The first step of AdamW is lr times the sign of the gradient, whatever its size.
fn adamw_first_step(device: &Device) {
    let param = Tensor::new(&[1.0f32, 1.0], device).unwrap();
    let (m, v) = (param.zeros_like().unwrap(), param.zeros_like().unwrap());
    let grad = Tensor::new(&[100.0f32, -0.01], device).unwrap();
    let config = AdamWStep { lr: 0.5, weight_decay: 0.0, ..AdamWStep::default() };
    adamw_step(&param, &m, &v, &grad, &config).unwrap();
    assert_close("adamw", &elements(&param), &[0.5, 1.5], 1e-6);
}
test_device!(adamw_first_step_cpu, adamw_first_step);

/// The formulas of `torch.optim.RAdam`, element by element; returns whether the step was rectified.
pub(crate) fn radam_by_hand([param, m, v]: &mut [Vec<f64>; 3], grad: &[f64], config: &RAdamStep) -> bool {
    let &RAdamStep { lr, beta1, beta2, eps, weight_decay, step } = config;
    let t = step as f64;
    let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    let correction2 = 1.0 - beta2.powf(t);
    let rho = rho_inf - 2.0 * t * beta2.powf(t) / correction2;
    for (idx, g) in grad.iter().enumerate() {
        let g = g + weight_decay * param[idx];
        m[idx] = beta1 * m[idx] + (1.0 - beta1) * g;
        v[idx] = beta2 * v[idx] + (1.0 - beta2) * g * g;
        let corrected = m[idx] / (1.0 - beta1.powf(t));
        let factor = if rho > 5.0 {
            let r = (rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho);
            r.sqrt() * correction2.sqrt() / (v[idx].sqrt() + eps)
        } else {
            1.0
        };
        param[idx] -= lr * corrected * factor;
    }
    rho > 5.0
}

/// With beta2 = 0.9 the variance becomes tractable at step 6.
fn radam(device: &Device) {
    let dims = [5, 13];
    for (beta2, weight_decay) in [(0.999, 0.0), (0.9, 0.1)] {
        let mut state = State::new(&dims, device);
        let mut rectified = 0;
        for step in 1..=8u64 {
            let grad = single(10 + step, &dims, device);
            let config = RAdamStep { lr: 0.01, beta2, weight_decay, step, ..RAdamStep::default() };
            let [param, m, v] = &state.tensors;
            radam_step(param, m, v, &grad, &config).unwrap();
            let by_rectified = radam_by_hand(&mut state.doubles, &elements(&grad), &config);
            rectified += usize::from(by_rectified);
            state.assert_agrees("radam", 3e-7);
        }
        assert!(rectified > 0 && rectified < 8, "both branches are taken");
    }
}
test_device!(radam_cpu, radam);

/// Before the variance is tractable, the first step is lr times the gradient.
fn radam_first_step(device: &Device) {
    let param = Tensor::new(&[1.0f32, 1.0], device).unwrap();
    let (m, v) = (param.zeros_like().unwrap(), param.zeros_like().unwrap());
    let grad = Tensor::new(&[2.0f32, -4.0], device).unwrap();
    radam_step(&param, &m, &v, &grad, &RAdamStep { lr: 0.25, ..RAdamStep::default() }).unwrap();
    assert_close("radam", &elements(&param), &[0.5, 2.0], 1e-6);
}
test_device!(radam_first_step_cpu, radam_first_step);

fn ema(device: &Device) {
    let dims = [3, 9001];
    let (param, before) = (single(1, &dims, device), single(2, &dims, device));
    for beta in [0.0, 0.3, 0.5, 0.9999, 1.0] {
        let avg = before.copy().unwrap();
        ema_update(&avg, &param, beta).unwrap();
        let want: Vec<f64> = elements(&before)
            .iter()
            .zip(elements(&param))
            .map(|(avg, param)| beta * avg + (1.0 - beta) * param)
            .collect();
        assert_close("ema", &elements(&avg), &want, 2e-7);
        if beta == 0.0 {
            assert_same_bits("ema", &avg, &param);
        }
        if beta == 1.0 {
            assert_same_bits("ema", &avg, &before);
        }
    }
}
test_device!(ema_cpu, ema);

fn sums(device: &Device) {
    let tensors = [single(1, &[40_001], device), single(2, &[3, 5], device)];
    let want: f64 = tensors.iter().flat_map(elements).map(|x| x * x).sum();
    let results = [1, 2, 3].map(|threads| on_threads(threads, &|| sum_of_squares(&tensors).unwrap()));
    assert_close("sum_of_squares", &results[..1], &[want], 1e-13);
    assert!(results.iter().all(|result| result.to_bits() == results[0].to_bits()));

    let x = single(1, &[5], device);
    scale_in_place(&x, 2.0).unwrap();
    add_in_place(&x, &single(1, &[5], device)).unwrap();
    let want: Vec<f64> = elements(&single(1, &[5], device)).iter().map(|x| 3.0 * x).collect();
    assert_close("in place", &elements(&x), &want, 1e-6);
    copy_in_place(&x, &single(3, &[5], device)).unwrap();
    assert_same_bits("copy", &x, &single(3, &[5], device));
}
test_device!(sums_cpu, sums);

fn refusals(device: &Device) {
    let x = single(1, &[4, 6], device);
    let transposed = x.t().unwrap();
    assert!(matches!(scale_in_place(&transposed, 2.0), Err(Error::NotContiguous { .. })));
    let double = noise(1, &[4, 6], device);
    assert!(matches!(scale_in_place(&double, 2.0), Err(Error::DType { .. })));
    assert!(matches!(ema_update(&x, &x, 0.5), Err(Error::Aliased { .. })));
    assert!(ema_update(&x, &double, 0.5).is_err());
    assert!(ema_update(&x, &single(1, &[24], device), 0.5).is_err());
    assert!(ema_update(&x, &single(1, &[6, 4], device).t().unwrap(), 0.5).is_err());
    assert!(sum_of_squares([&transposed]).is_err());
    // One element seen four times is no place to write to.
    let broadcast = Tensor::zeros(1, DType::F32, device).unwrap().broadcast_as(4).unwrap();
    assert!(scale_in_place(&broadcast, 2.0).is_err());
    let (m, v) = (x.zeros_like().unwrap(), x.zeros_like().unwrap());
    let step = AdamWStep { step: 0, ..AdamWStep::default() };
    assert!(adamw_step(&x, &m, &v, &x.copy().unwrap(), &step).is_err());
    assert!(adamw_step(&x, &m, &m, &x.copy().unwrap(), &AdamWStep::default()).is_err());
}
test_device!(refusals_cpu, refusals);

/// A view of part of a tensor is changed there and nowhere else.
fn views(device: &Device) {
    let x = single(1, &[4, 3], device);
    let before = elements(&x);
    scale_in_place(&x.narrow(0, 1, 2).unwrap(), 2.0).unwrap();
    let after = elements(&x);
    for (idx, (before, after)) in before.iter().zip(&after).enumerate() {
        let factor = if (3..9).contains(&idx) { 2.0 } else { 1.0 };
        assert_eq!(factor * before, *after);
    }
}
test_device!(views_cpu, views);
