//! What all tests of operations share.
//!
//! `CT_TEST_DEVICE=cuda` puts the inputs of all of them on the GPU, `CT_KERNELS=composed` runs on the CPU what would run there:
//! the same inputs, the same tolerances. Where there is no GPU a test says so and is skipped.

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Result, Tape, Value, mul, sum_all};

/// An operation under test: values in, one value out.
pub(crate) type Function<'a> = dyn Fn(&[Value]) -> Result<Value> + Sync + 'a;

/// Runs a test on the device that is asked for.
macro_rules! test_device {
    ($name:ident, $function:ident) => {
        #[test]
        fn $name() {
            if let Some(device) = crate::harness::device() {
                $function(device);
            }
        }
    };
}
pub(crate) use test_device;

/// The device that tests run on; `None` where it is not there, after saying so.
#[expect(clippy::print_stderr, reason = "what is said of a test that is skipped")]
pub(crate) fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let open = || {
        let name = std::env::var("CT_TEST_DEVICE").unwrap_or_default();
        assert!(
            ["", "cpu", "cuda"].contains(&name.as_str()),
            "CT_TEST_DEVICE={name}: possible are cpu and cuda"
        );
        // One stream for all threads, so that they see what another one made.
        if name == "cuda" { Device::new_cuda_with_stream(0).ok() } else { Some(Device::Cpu) }
    };
    let device = DEVICE.get_or_init(open).as_ref();
    if device.is_none() {
        eprintln!("skipped: no CUDA device");
    }
    device
}

/// Numbers that look random, about between -1.7 and 1.7 with variance 1, the same in every run.
pub(crate) fn noise(seed: u64, dims: &[usize], device: &Device) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let elements: Vec<f64> = (0..dims.iter().product())
        .map(|_| {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
            (uniform - 0.5) * 12f64.sqrt()
        })
        .collect();
    Tensor::from_vec(elements, dims, device).unwrap()
}

/// All elements in f64.
pub(crate) fn elements(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails unless all elements agree to within `tolerance` times the largest of `want`, or of 1.
pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let scale = want.iter().fold(1.0f64, |max, x| max.max(x.abs()));
    for (idx, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        assert!(
            error <= tolerance * scale,
            "{what}: element {idx} is {got}, should be {want}; error {error:e} with scale {scale}"
        );
    }
}

/// The output, the gradient by each input and the tangent, for given cotangent and tangents.
struct Derivatives {
    output: Tensor,
    gradients: Vec<Tensor>,
    tangent: Tensor,
}

fn derivatives(
    f: &Function<'_>,
    inputs: &[Tensor],
    tangents: &[Option<Tensor>],
    cotangent: &Tensor,
) -> Derivatives {
    let tape = Tape::new();
    let leaves: Vec<Value> = inputs.iter().map(|x| tape.leaf(x)).collect();
    let output = f(&leaves).unwrap();
    let loss = sum_all(&mul(&output, &Value::from(cotangent)).unwrap()).unwrap();
    let gradients = tape.backward(&loss).unwrap();
    let gradients = inputs
        .iter()
        .enumerate()
        .map(|(idx, x)| gradients.leaf(idx).cloned().unwrap_or_else(|| x.zeros_like().unwrap()))
        .collect();

    let duals: Vec<Value> = inputs
        .iter()
        .zip(tangents)
        .map(|(x, tangent)| match tangent {
            Some(tangent) => Value::dual(x.clone(), tangent.clone()).unwrap(),
            None => Value::from(x),
        })
        .collect();
    let tangent = f(&duals).unwrap().tangent().unwrap().clone();
    Derivatives { output: output.into_tensor(), gradients, tangent }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    elements(a).iter().zip(elements(b)).map(|(a, b)| a * b).sum()
}

fn forward(f: &Function<'_>, inputs: &[Tensor]) -> Tensor {
    let values: Vec<Value> = inputs.iter().map(Value::from).collect();
    f(&values).unwrap().into_tensor()
}

fn moved(inputs: &[Tensor], directions: &[Option<Tensor>], step: f64) -> Vec<Tensor> {
    inputs
        .iter()
        .zip(directions)
        .map(|(x, direction)| match direction {
            Some(direction) => (x + (direction * step).unwrap()).unwrap(),
            None => x.clone(),
        })
        .collect()
}

/// (f(x + h v) - f(x - h v)) / 2h.
fn central_difference(f: &Function<'_>, x: &[Tensor], v: &[Option<Tensor>]) -> Tensor {
    const STEP: f64 = 1e-5;
    let ahead = forward(f, &moved(x, v, STEP));
    let behind = forward(f, &moved(x, v, -STEP));
    ((ahead - behind).unwrap() / (2.0 * STEP)).unwrap()
}

fn to_f32(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).unwrap()
}

/// Checks all that can be checked without knowing the operation, for f64 `inputs`:
/// gradients and tangents against central differences and against each other, absent tangents,
/// f32 against f64, and the bits of f32 for 1, 2 and 3 threads.
pub(crate) fn check(name: &str, f: &Function<'_>, inputs: &[Tensor]) {
    // Central differences: h^2 from the truncation, 1e-16 / h from the rounding.
    const DIFFERENCES: f64 = 1e-7;
    const EXACT: f64 = 1e-11;
    const SINGLE: f64 = 2e-5;
    let device = inputs[0].device();
    let output = forward(f, inputs);
    let cotangent = noise(100, output.dims(), device);
    let tangents: Vec<Option<Tensor>> =
        inputs.iter().enumerate().map(|(idx, x)| Some(noise(200 + idx as u64, x.dims(), device))).collect();
    let double = derivatives(f, inputs, &tangents, &cotangent);

    let want = elements(&central_difference(f, inputs, &tangents));
    assert_close(&format!("{name}: jvp"), &elements(&double.tangent), &want, DIFFERENCES);
    let by_gradients: f64 = double
        .gradients
        .iter()
        .zip(&tangents)
        .map(|(gradient, tangent)| dot(gradient, tangent.as_ref().unwrap()))
        .sum();
    let along = dot(&double.tangent, &cotangent);
    assert_close(&format!("{name}: duality"), &[by_gradients], &[along], EXACT);

    let mut sum = vec![0.0; output.elem_count()];
    for (idx, input) in inputs.iter().enumerate() {
        gradient_by_differences(name, f, inputs, idx, &double.gradients[idx], &cotangent);
        let mut alone: Vec<Option<Tensor>> = vec![None; inputs.len()];
        alone[idx] = Some(noise(200 + idx as u64, input.dims(), device));
        let part = derivatives(f, inputs, &alone, &cotangent).tangent;
        sum.iter_mut().zip(elements(&part)).for_each(|(sum, part)| *sum += part);
    }
    let whole = elements(&double.tangent);
    assert_close(&format!("{name}: sum of partial tangents"), &sum, &whole, EXACT);

    let inputs: Vec<Tensor> = inputs.iter().map(to_f32).collect();
    let tangents: Vec<Option<Tensor>> = tangents.iter().map(|tangent| tangent.as_ref().map(to_f32)).collect();
    let run = || derivatives(f, &inputs, &tangents, &to_f32(&cotangent));
    let single = on_threads(1, &run);
    let close = |what: &str, got: &Tensor, want: &Tensor| {
        assert_eq!(got.dtype(), DType::F32);
        let what = format!("{name}: {what} in f32");
        assert_close(&what, &elements(got), &elements(want), SINGLE);
    };
    close("output", &single.output, &double.output);
    close("tangent", &single.tangent, &double.tangent);
    for (got, want) in single.gradients.iter().zip(&double.gradients) {
        close("gradient", got, want);
    }
    for threads in [2, 3] {
        let other = on_threads(threads, &run);
        assert_same_bits(name, &single.output, &other.output);
        assert_same_bits(name, &single.tangent, &other.tangent);
        for (a, b) in single.gradients.iter().zip(&other.gradients) {
            assert_same_bits(name, a, b);
        }
    }
}

/// Every element of the gradient by one input, or a hundred spread over it.
fn gradient_by_differences(
    name: &str,
    f: &Function<'_>,
    inputs: &[Tensor],
    idx: usize,
    gradient: &Tensor,
    cotangent: &Tensor,
) {
    let gradient = elements(gradient);
    let count = gradient.len();
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for element in (0..count).step_by((count / 100).max(1)) {
        let mut unit = vec![0.0; count];
        unit[element] = 1.0;
        let unit = Tensor::from_vec(unit, inputs[idx].dims(), inputs[idx].device()).unwrap();
        let mut direction: Vec<Option<Tensor>> = vec![None; inputs.len()];
        direction[idx] = Some(unit);
        want.push(dot(&central_difference(f, inputs, &direction), cotangent));
        got.push(gradient[element]);
    }
    assert_close(&format!("{name}: gradient by input {idx}"), &got, &want, 1e-7);
}

/// Runs `f` in a pool of that many threads.
pub(crate) fn on_threads<R: Send>(threads: usize, f: &(dyn Fn() -> R + Sync)) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Fails unless two f32 tensors agree bit by bit.
pub(crate) fn assert_same_bits(name: &str, a: &Tensor, b: &Tensor) {
    let bits = |x: &Tensor| -> Vec<u32> {
        let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        x.into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits(a), bits(b), "{name}: bits depend on the number of threads");
}
