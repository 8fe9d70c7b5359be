//! The tape itself, and operations from outside.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Error, Tape, Value, add, mul, scale, sum_all};

use crate::harness::{elements, noise, test_device};

fn leaves(device: &Device) {
    let x = noise(1, &[3], device);
    let tape = Tape::new();
    let (a, b, unused) = (tape.leaf(&x), tape.leaf(&x), tape.leaf(&x));
    let constant = Value::from(&x);
    assert!(!mul(&constant, &constant).unwrap().is_recorded());
    let y = add(&mul(&a, &constant).unwrap(), &b.detach()).unwrap();
    // Recorded after what the loss depends on, and not needed.
    let loss = sum_all(&y).unwrap();
    sum_all(&unused).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    assert_eq!(elements(gradients.leaf(0).unwrap()), elements(&x));
    assert!(gradients.leaf(1).is_none() && gradients.leaf(2).is_none());
    assert!(gradients.leaf(3).is_none());
    assert!(gradients.take(0).is_some() && gradients.take(0).is_none());
    assert_eq!(gradients.into_vec().len(), 3);
}
test_device!(leaves_cpu, leaves);

/// `add` hands one tensor to both sides; what one side adds must not reach the other.
fn shared_gradients(device: &Device) {
    let x = Tensor::new(&[1.0f32, 2.0], device).unwrap();
    let tape = Tape::new();
    let (a, b) = (tape.leaf(&x), tape.leaf(&x));
    let sum = add(&a, &b).unwrap();
    let more = [scale(&a, 10.0).unwrap(), scale(&a, 100.0).unwrap(), scale(&a, 1000.0).unwrap()];
    let total = more.iter().fold(sum, |total, term| add(&total, term).unwrap());
    let gradients = tape.backward(&sum_all(&total).unwrap()).unwrap();
    assert_eq!(elements(gradients.leaf(0).unwrap()), [1111.0, 1111.0]);
    assert_eq!(elements(gradients.leaf(1).unwrap()), [1.0, 1.0]);
}
test_device!(shared_gradients_cpu, shared_gradients);

/// One pass gives the gradient of the value and the tangent at once.
fn both_modes(device: &Device) {
    let x = Tensor::new(3.0f32, device).unwrap();
    let tape = Tape::new();
    let leaf = tape.leaf(&x).with_tangent(&Tensor::new(2.0f32, device).unwrap()).unwrap();
    let y = mul(&leaf, &leaf).unwrap();
    assert_eq!(elements(y.tangent().unwrap()), [12.0]);
    assert!(y.detach().tangent().is_none());
    assert_eq!(elements(tape.backward(&y).unwrap().leaf(0).unwrap()), [6.0]);
}
test_device!(both_modes_cpu, both_modes);

fn misuse(device: &Device) {
    let x = noise(1, &[2], device);
    let (tape, other) = (Tape::new(), Tape::new());
    let (a, b) = (tape.leaf(&x), other.leaf(&x));
    assert!(matches!(add(&a, &b), Err(Error::MixedTapes { op: "add" })));
    assert!(matches!(tape.backward(&a), Err(Error::Shape { .. })));
    assert!(matches!(tape.backward(&Value::from(&x)), Err(Error::NotRecorded)));
    assert!(matches!(tape.backward(&sum_all(&b).unwrap()), Err(Error::NotRecorded)));
    let loss = sum_all(&a).unwrap();
    tape.backward(&loss).unwrap();
    assert!(matches!(tape.backward(&loss), Err(Error::ConsumedTape { .. })));
    assert!(matches!(sum_all(&a), Err(Error::ConsumedTape { op: "sum_all" })));
    assert!(Value::dual(x.clone(), noise(1, &[3], device)).is_err());
    assert!(Value::dual(x.clone(), x.to_dtype(DType::F32).unwrap()).is_err());
    let integers = Value::from(Tensor::new(&[1u32], device).unwrap());
    assert!(matches!(sum_all(&integers), Err(Error::DType { .. })));
}
test_device!(misuse_cpu, misuse);
