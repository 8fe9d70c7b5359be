//! Other element types: casts, and every operation in bf16.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{self as k, Activation, Conv2d, GroupNorm, Metric, Padding, Tape, Value};

use crate::harness::{Function, assert_close, elements, noise, test_device};

fn to(x: &Tensor, dtype: DType) -> Tensor {
    x.to_dtype(dtype).unwrap()
}

/// From f64 to f32 and back nothing is lost but digits; gradients and tangents have the type of what they belong to.
fn types(device: &Device) {
    let x = noise(1, &[3, 5], device);
    let tape = Tape::new();
    let leaf = tape.leaf(&x).with_tangent(&noise(2, &[3, 5], device)).unwrap();
    let y = k::cast(&leaf, DType::F32).unwrap();
    assert_eq!((y.tensor().dtype(), y.tangent().unwrap().dtype()), (DType::F32, DType::F32));
    assert_close("cast", &elements(y.tensor()), &elements(&x), 1e-7);
    let loss = k::sum_all(&k::mul(&y, &y).unwrap()).unwrap();
    let gradient = tape.backward(&loss).unwrap().take(0).unwrap();
    assert_eq!(gradient.dtype(), DType::F64);
    let want: Vec<f64> = elements(&x).iter().map(|x| 2.0 * x).collect();
    assert_close("gradient", &elements(&gradient), &want, 2e-7);

    let tape = Tape::new();
    let leaf = tape.leaf(&x);
    assert!(k::cast(&leaf, DType::F64).unwrap().is_recorded());
    assert_eq!(tape.len(), 1, "what has the type already is not recorded again");
    assert!(k::cast(&leaf, DType::U8).is_err());
    assert!(k::cast(&Tensor::new(&[1u32], device).unwrap().into(), DType::F32).is_err());
}
test_device!(types_cpu, types);

/// An operation on inputs that bf16 holds exactly: in bf16 beside f64.
///
/// Where an operation computes in f32 and rounds once, its error is that of one rounding, 2^-9 of the largest element;
/// where it passes results on in bf16, of a few.
fn compare(name: &str, f: &Function<'_>, inputs: &[Tensor]) {
    const ROUNDING: f64 = 1.0 / 512.0;
    let exact: Vec<Tensor> = inputs.iter().map(|x| to(&to(x, DType::BF16), DType::F64)).collect();
    let run = |dtype: DType| {
        let tape = Tape::new();
        let leaves: Vec<Value> = exact.iter().map(|x| tape.leaf(&to(x, dtype))).collect();
        let output = f(&leaves).unwrap();
        let cotangent = to(&to(&noise(9, output.dims(), inputs[0].device()), DType::BF16), dtype);
        let loss = k::mul(&output, &cotangent.into()).unwrap();
        let gradients = tape.backward(&k::sum_all(&loss).unwrap()).unwrap().into_vec();
        let duals: Vec<Value> = exact
            .iter()
            .zip(10..)
            .map(|(x, seed)| {
                let tangent = to(&to(&noise(seed, x.dims(), x.device()), DType::BF16), dtype);
                Value::dual(to(x, dtype), tangent).unwrap()
            })
            .collect();
        let tangent = f(&duals).unwrap().tangent().unwrap().clone();
        let mut all = vec![output.into_tensor(), tangent];
        all.extend(gradients.into_iter().flatten());
        all
    };
    for (idx, (got, want)) in run(DType::BF16).iter().zip(run(DType::F64)).enumerate() {
        assert_eq!(got.dtype(), DType::BF16, "{name}: result {idx}");
        let want = elements(&want);
        assert_close(&format!("{name} in bf16: result {idx}"), &elements(got), &want, 4.0 * ROUNDING);
    }
}

/// Every operation of a network, in bf16.
fn operations_in_bf16(device: &Device) {
    let image = noise(1, &[2, 4, 6, 8], device);
    let (w, b) = (noise(2, &[8, 8, 3, 3], device), noise(3, &[8], device));
    let conv = Conv2d { stride: 1, padding: Padding::all(1) };
    compare("conv2d", &|x| k::conv2d(&x[0], &x[1], Some(&x[2]), &conv), &[image.clone(), w, b.clone()]);
    let rows = noise(4, &[6, 8], device);
    compare(
        "linear",
        &|x| k::linear(&x[0], &x[1], Some(&x[2])),
        &[rows.clone(), noise(5, &[8, 8], device), b.clone()],
    );
    let norm = GroupNorm { num_groups: 2, eps: 1e-2, activation: Activation::Silu };
    compare(
        "group_norm",
        &|x| k::group_norm(&x[0], &x[1], &x[2], &norm),
        &[image.clone(), b.clone(), noise(6, &[8], device)],
    );
    let tokens = [7, 8, 9].map(|seed| noise(seed, &[2, 5, 8], device));
    compare("attention", &|x| k::attention(&x[0], &x[1], &x[2], 2), &tokens);
    for (name, f) in [
        ("silu", &(|x: &[Value]| k::silu(&x[0])) as &Function<'_>),
        ("gelu", &|x: &[Value]| k::gelu(&x[0])),
        ("mish", &|x: &[Value]| k::mish(&x[0])),
        ("upsample", &|x: &[Value]| k::upsample_nearest2x(&x[0])),
        ("avg_pool", &|x: &[Value]| k::avg_pool2x(&x[0])),
        ("fir_down", &|x: &[Value]| k::fir_down2x(&x[0])),
        ("fir_up", &|x: &[Value]| k::fir_up2x(&x[0])),
        ("scale", &|x: &[Value]| k::scale(&x[0], 0.3)),
        ("scale_samples", &|x: &[Value]| k::scale_samples(&x[0], &[0.3, 1.7])),
        ("narrow", &|x: &[Value]| k::narrow_channels(&x[0], 2, 3)),
        ("layout", &|x: &[Value]| k::to_channels_first(&x[0])),
        ("used twice", &|x: &[Value]| k::add(&k::mul(&x[0], &x[0])?, &k::scale(&x[0], 0.5)?)),
    ] {
        compare(name, f, std::slice::from_ref(&image));
    }
    let pair = [image.clone(), noise(8, &[2, 8], device)];
    compare("add_channels", &|x| k::add_channels(&x[0], &x[1]), &pair);
    compare(
        "concat",
        &|x| k::concat_channels(&[&x[0], &x[1]]),
        &[image.clone(), noise(7, &[2, 4, 6, 3], device)],
    );
    compare("embedding", &|x| k::embedding(&x[0], &[1, 0, 1]), &[rows]);
    let target = to(&noise(11, &[2, 4, 6, 8], device), DType::BF16);
    let metric = Metric::PseudoHuber { c: 0.3 };
    let distance = |x: &[Value]| k::distance(&x[0], &to(&target, x[0].tensor().dtype()), metric, &[1.0, 0.5]);
    compare("distance", &distance, &[image]);
}
test_device!(operations_in_bf16_cpu, operations_in_bf16);
