//! The optimizers against PyTorch's, step by step.

use candle_core::{DType, Device};
use ct_kernels::{AdamWStep, RAdamStep, adamw_step, radam_step};

use crate::common::{Golden, assert_close};

fn check(case: &str) {
    let golden = Golden::read("optimizers");
    let options = &golden.note("cases")[case];
    let of = |key: &str| options[key].as_f64().unwrap();
    let (lr, eps, weight_decay) = (of("lr"), of("eps"), of("weight_decay"));
    let (beta1, beta2) = (options["betas"][0].as_f64().unwrap(), options["betas"][1].as_f64().unwrap());
    let tolerance = golden.note("tolerances")["f32"].as_f64().unwrap();
    for name in ["a", "b"] {
        let param = golden.get(&format!("initial.{name}")).to_dtype(DType::F32).unwrap().copy().unwrap();
        let zeros = || candle_core::Tensor::zeros(param.shape(), DType::F32, &Device::Cpu).unwrap();
        let (m, v) = (zeros(), zeros());
        for step in 1..=12 {
            let row = usize::try_from(step).unwrap() - 1;
            let grad = golden.f32(&format!("grads.{name}")).get(row).unwrap().contiguous().unwrap();
            if case.starts_with("adamw") {
                let rule = AdamWStep { lr, beta1, beta2, eps, weight_decay, step };
                adamw_step(&param, &m, &v, &grad, &rule).unwrap();
            } else {
                let rule = RAdamStep { lr, beta1, beta2, eps, weight_decay, step };
                radam_step(&param, &m, &v, &grad, &rule).unwrap();
            }
            let expected = golden.get(&format!("{case}.f64.{name}")).get(row).unwrap();
            assert_close(&format!("{case}, {name}, step {step}"), &param, &expected, tolerance);
        }
    }
}

#[test]
fn radam_is_that_of_pytorch() {
    check("radam");
    check("radam_l2");
}

#[test]
fn adamw_is_that_of_pytorch() {
    check("adamw");
    check("adamw_no_decay");
}
