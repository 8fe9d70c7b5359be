//! Recomputation gives the bits of an ordinary backward pass, and keeps less.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Error, Result, Tape, Value, add, checkpoint, linear, mul, scale, silu, sum_all};

use crate::harness::{elements, noise, test_device};

/// `x` on three ways, and a weight: `x + silu(x w^T) x`.
fn residual(v: &[Value]) -> Result<Value> {
    let h = silu(&linear(&v[0], &v[1], None)?)?;
    add(&v[0], &mul(&h, &v[0])?)
}

type Run = fn(&[&Value]) -> Result<Value>;

fn kept(inputs: &[&Value]) -> Result<Value> {
    residual(&inputs.iter().map(|&value| value.clone()).collect::<Vec<_>>())
}

fn recomputed(inputs: &[&Value]) -> Result<Value> {
    checkpoint(residual, inputs)
}

/// A block within a block.
fn nested(inputs: &[&Value]) -> Result<Value> {
    checkpoint(|v| checkpoint(residual, &[&v[0], &v[1]]), inputs)
}

/// Three blocks whose inputs and weight are used elsewhere too, in f32, where the order of a sum shows.
fn gradients(run: Run, device: &Device) -> (Vec<Vec<f64>>, usize) {
    let tape = Tape::new();
    let leaf = |seed, dims: &[usize]| tape.leaf(&noise(seed, dims, device).to_dtype(DType::F32).unwrap());
    let (x, w) = (leaf(1, &[64, 8]), leaf(2, &[8, 8]));
    let a = run(&[&x, &w]).unwrap();
    let b = run(&[&a, &w]).unwrap();
    let c = run(&[&b, &w]).unwrap();
    let sum = [scale(&a, 0.3).unwrap(), scale(&b, 0.7).unwrap(), scale(&x, 0.1).unwrap()];
    let sum = sum.iter().fold(c, |sum, term| add(&sum, term).unwrap());
    let loss = sum_all(&mul(&sum, &sum).unwrap()).unwrap();
    let kept_bytes = tape.kept_bytes();
    let gradients = tape.backward(&loss).unwrap().into_vec();
    (gradients.iter().map(|gradient| elements(gradient.as_ref().unwrap())).collect(), kept_bytes)
}

fn same_bits(device: &Device) {
    let (expected, all) = gradients(kept, device);
    for run in [recomputed as Run, nested] {
        let (got, few) = gradients(run, device);
        assert_eq!(got, expected);
        // x, a, b and the last sum, and the weight: one block has two activations more inside.
        assert_eq!(few, 4 * (4 * 64 * 8 + 8 * 8));
        assert_eq!(all, few + 4 * 3 * 2 * 64 * 8);
    }
}
test_device!(same_bits_cpu, same_bits);

fn unusual_blocks(device: &Device) {
    let x = noise(1, &[3], device);
    let sum = |y: &Value| sum_all(y).unwrap();

    // The same value twice, a constant beside it.
    let tape = Tape::new();
    let leaf = tape.leaf(&x);
    let product = |v: &[Value]| mul(&mul(&v[0], &v[1])?, &v[2]);
    let y = checkpoint(product, &[&leaf, &leaf, &Value::from(&x)]).unwrap();
    let gradients = tape.backward(&sum(&y)).unwrap();
    let expected: Vec<f64> = elements(&x).iter().map(|x| x * x + x * x).collect();
    assert_eq!(elements(gradients.leaf(0).unwrap()), expected);

    // An input handed through, and one that does not matter, which is used elsewhere.
    let tape = Tape::new();
    let (a, b) = (tape.leaf(&x), tape.leaf(&x));
    let y = checkpoint(|v| Ok(v[1].clone()), &[&b, &a]).unwrap();
    let gradients = tape.backward(&sum(&add(&y, &b).unwrap())).unwrap();
    assert_eq!(elements(gradients.leaf(0).unwrap()), [1.0; 3]);
    assert_eq!(elements(gradients.leaf(1).unwrap()), [1.0; 3]);

    // A block that does not depend on its input.
    let tape = Tape::new();
    let leaf = tape.leaf(&x);
    let y = checkpoint(|v| Ok(v[0].detach()), &[&leaf]).unwrap();
    let gradients = tape.backward(&sum(&add(&y, &leaf).unwrap())).unwrap();
    assert_eq!(elements(gradients.leaf(0).unwrap()), [1.0; 3]);

    // Without a tape, and forward.
    let constant = Value::from(&x);
    assert!(!checkpoint(|v| silu(&v[0]), &[&constant]).unwrap().is_recorded());
    let dual = tape_value(&x).with_tangent(&x).unwrap();
    let y = checkpoint(|v| silu(&v[0]), &[&dual]).unwrap();
    assert_eq!(
        elements(y.tangent().unwrap()),
        elements(silu(&dual).unwrap().tangent().unwrap()),
        "tangents pass through"
    );
}
test_device!(unusual_blocks_cpu, unusual_blocks);

fn tape_value(x: &Tensor) -> Value {
    Tape::new().leaf(x)
}

fn misuse(device: &Device) {
    let x = noise(1, &[2], device);
    let tape = Tape::new();
    let (a, captured) = (tape.leaf(&x), tape.leaf(&x));
    let result = checkpoint(move |v| mul(&v[0], &captured), &[&a]);
    assert!(matches!(result, Err(Error::Contract { op: "checkpoint", .. })));
    let result = checkpoint(|v| Ok(v[0].clone()), &[&a, &tape_value(&x)]);
    assert!(matches!(result, Err(Error::MixedTapes { op: "checkpoint" })));

    // A function that forgets what it did.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let fickle = move |v: &[Value]| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Ok(v[0].clone()),
        _ => sum_all(&v[0]),
    };
    let y = checkpoint(fickle, &[&a]).unwrap();
    let result = tape.backward(&sum_all(&y).unwrap());
    assert!(matches!(result, Err(Error::Contract { op: "checkpoint", .. })));
    let result = checkpoint(|v| silu(&v[0]), &[&a]);
    assert!(matches!(result, Err(Error::ConsumedTape { op: "checkpoint" })));
}
test_device!(misuse_cpu, misuse);
