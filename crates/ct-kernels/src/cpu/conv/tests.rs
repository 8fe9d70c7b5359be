//! Every algorithm and instruction set against a plain reference in f64.

use super::*;

/// Largest error allowed, relative to the root mean square of the exact result.
/// Direct sums of up to 2304 unit normals err by a few 1e-6 at most.
const DIRECT_MAX: f64 = 1.5e-5;
/// Winograd adds the rounding of its transforms: expected 1e-6 root mean square, 1e-5 at most over many outputs.
const WINOGRAD_MAX: f64 = 6e-5;
/// Root mean square error allowed for Winograd.
const WINOGRAD_RMS: f64 = 4e-6;

/// Unit normals from a linear congruential generator and Box-Muller.
pub(super) fn normals(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..len)
        .map(|_| {
            let radius = (-2.0 * uniform().ln()).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "test data")]
            let value = (radius * (std::f64::consts::TAU * uniform()).cos()) as f32;
            value
        })
        .collect()
}

struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

/// Forward and backward, tap by tap.
fn reference(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], dy: &[f32]) -> Reference {
    let (oh, ow) = (s.out_height(), s.out_width());
    let mut r = Reference {
        y: vec![0.0; s.output_len()],
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db: vec![0.0; s.c_out],
    };
    for pixel in 0..s.batch * oh * ow {
        let (n, oy, ox) = (pixel / ow / oh, pixel / ow % oh, pixel % ow);
        for (o, bias) in bias.iter().enumerate() {
            let out = pixel * s.c_out + o;
            r.y[out] += f64::from(*bias);
            r.db[o] += f64::from(dy[out]);
        }
        for tap in 0..s.kernel[0] * s.kernel[1] {
            let iy = (oy * s.stride + tap / s.kernel[1]).wrapping_sub(s.padding[0]);
            let ix = (ox * s.stride + tap % s.kernel[1]).wrapping_sub(s.padding[2]);
            if iy >= s.height || ix >= s.width {
                continue;
            }
            let at = ((n * s.height + iy) * s.width + ix) * s.c_in;
            for o in 0..s.c_out {
                let out = pixel * s.c_out + o;
                let g = f64::from(dy[out]);
                for c in 0..s.c_in {
                    let weight = (o * s.c_in + c) * s.kernel[0] * s.kernel[1] + tap;
                    r.y[out] += f64::from(x[at + c]) * f64::from(w[weight]);
                    r.dx[at + c] += f64::from(w[weight]) * g;
                    r.dw[weight] += f64::from(x[at + c]) * g;
                }
            }
        }
    }
    r
}

/// Root mean square and largest error, relative to the root mean square of `want`.
fn errors(got: &[f32], want: &[f64]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let scale = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt().max(1e-12);
    let (mut sum, mut max) = (0.0, 0.0f64);
    for (g, w) in got.iter().zip(want) {
        let error = (f64::from(*g) - w).abs() / scale;
        assert!(error.is_finite(), "result is not finite");
        sum += error * error;
        max = max.max(error);
    }
    ((sum / want.len() as f64).sqrt(), max)
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn run(choice: Choice, s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], dy: &[f32]) -> [Vec<f32>; 4] {
    // Garbage in the results must not survive.
    let mut y = vec![f32::NAN; s.output_len()];
    let (mut dx, mut dw, mut db) =
        (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()], vec![f32::NAN; s.c_out]);
    forward_with(choice, s, x, w, Addends { bias: Some(bias), residual: None }, &mut y);
    let gradients = Gradients { dx: Some(&mut dx), dx_plus: None, dw: Some(&mut dw), db: Some(&mut db) };
    backward_with(choice, s, x, w, dy, gradients);
    [y, dx, dw, db]
}

fn check(s: ConvShape) {
    let x = normals(s.input_len(), 1);
    let w = normals(s.weight_len(), 2);
    let bias = normals(s.c_out, 3);
    let dy = normals(s.output_len(), 4);
    let want = reference(&s, &x, &w, &bias, &dy);
    for isa in available() {
        for strict in [false, true] {
            let choice = Choice { isa, strict, composed: false };
            let got = run(choice, &s, &x, &w, &bias, &dy);
            let wino = !strict && winograd::applies(&s);
            let (most_rms, most) = if wino { (WINOGRAD_RMS, WINOGRAD_MAX) } else { (DIRECT_MAX, DIRECT_MAX) };
            for ((name, got), want) in
                ["y", "dx", "dw", "db"].into_iter().zip(&got).zip([&want.y, &want.dx, &want.dw, &want.db])
            {
                let (rms, max) = errors(got, want);
                if std::env::var_os("CONV_PRINT").is_some() {
                    println!("{s:?} {isa:?} strict={strict} {name}: {rms:.1e} {max:.1e}");
                }
                assert!(
                    rms <= most_rms && max <= most,
                    "{name} of {s:?} with {isa:?}, strict = {strict}: error {rms:.1e} rms, {max:.1e} max"
                );
            }
        }
    }
}

fn square(batch: usize, size: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape { batch, height: size, width: size, c_in, c_out, kernel: [3, 3], stride: 1, padding: [1; 4] }
}

#[test]
fn winograd_shapes() {
    for (batch, size, c_in, c_out) in [
        (3, 8, 32, 32),
        (2, 7, 48, 16),
        (2, 4, 16, 80),
        (5, 14, 64, 32),
        (1, 28, 32, 32),
        (2, 9, 16, 16),
        (9, 7, 128, 64),
        (2, 8, 80, 64),
        (2, 5, 64, 112),
        (33, 7, 64, 64),
        (1, 3, 16, 16),
    ] {
        check(square(batch, size, c_in, c_out));
    }
    check(ConvShape { height: 5, width: 13, ..square(2, 1, 16, 32) });
    check(ConvShape { padding: [0; 4], ..square(2, 10, 32, 16) });
    check(ConvShape { padding: [2, 0, 1, 2], ..square(2, 8, 16, 32) });
}

#[test]
fn narrow_and_odd_channels() {
    for (batch, size, c_in, c_out) in [
        (3, 8, 1, 32),
        (3, 8, 32, 1),
        (2, 9, 3, 48),
        (2, 9, 48, 3),
        (2, 6, 1, 1),
        (2, 7, 5, 7),
        (1, 10, 40, 24),
        (2, 5, 17, 33),
        (1, 1, 32, 32),
        (1, 2, 16, 16),
        (1, 1, 1, 1),
    ] {
        check(square(batch, size, c_in, c_out));
    }
}

#[test]
fn strides_kernels_and_paddings() {
    for (size, c_in, c_out) in [(8, 32, 32), (7, 16, 48), (14, 3, 5), (1, 16, 16)] {
        check(ConvShape { stride: 2, ..square(3, size, c_in, c_out) });
        check(ConvShape { stride: 2, padding: [0, 1, 0, 1], ..square(2, size + 1, c_in, c_out) });
        check(ConvShape { stride: 3, kernel: [2, 3], ..square(2, size + 1, c_in, c_out) });
        check(ConvShape { kernel: [1, 1], padding: [0; 4], ..square(2, size, c_in, c_out) });
        check(ConvShape { kernel: [5, 5], padding: [2; 4], ..square(2, size, c_in, c_out) });
        check(ConvShape { kernel: [1, 1], stride: 2, padding: [0; 4], ..square(2, size, c_in, c_out) });
        check(ConvShape { kernel: [1, 2], padding: [3, 2, 2, 3], ..square(2, size, c_in, c_out) });
    }
}

/// Shapes from the seeds `CT_TEST_SEED`, `CT_TEST_SEED + 1`, .. (by default from 1 on), `CT_TEST_CASES` of them.
/// Shape number 17 alone: `CT_TEST_SEED=17 CT_TEST_CASES=1`.
#[test]
fn random_shapes() {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => default,
    };
    let first = number("CT_TEST_SEED", 1);
    for seed in first..first + number("CT_TEST_CASES", 300) {
        let s = random_shape(seed);
        let outcome = std::panic::catch_unwind(|| check(s));
        assert!(outcome.is_ok(), "{s:?}; to repeat: CT_TEST_SEED={seed} CT_TEST_CASES=1");
    }
}

/// Every algorithm gets its share: what it is made for, and what is next to that.
fn random_shape(seed: u64) -> ConvShape {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % n).unwrap()
    };
    let any = ConvShape {
        batch: 1 + below(4),
        height: 1 + below(11),
        width: 1 + below(11),
        c_in: 1 + below(40),
        c_out: 1 + below(40),
        kernel: [3, 3],
        stride: 1,
        padding: [1; 4],
    };
    let blocks = [16 * (1 + below(5)), 16 * (1 + below(5))];
    let mut s = match below(6) {
        // Winograd, with whole and with cut tiles, and paddings that reach beyond one.
        0 => ConvShape { c_in: blocks[0], c_out: blocks[1], ..any },
        1 => {
            let padding = [below(4), below(4), below(4), below(4)];
            ConvShape { c_in: blocks[0], c_out: blocks[1], padding, ..any }
        }
        // Few output channels, or few input channels.
        2 => ConvShape { c_in: blocks[0], c_out: 1 + below(5), kernel: [1 + below(4), 1 + below(4)], ..any },
        3 => ConvShape { c_in: 1 + below(4), c_out: blocks[1], stride: 1 + below(2), ..any },
        // Dense layers, and their neighbours.
        4 => ConvShape { kernel: [1, 1], stride: 1 + below(2), padding: [below(2); 4], ..any },
        _ => ConvShape {
            kernel: [1 + below(5), 1 + below(5)],
            stride: 1 + below(3),
            padding: [below(4), below(4), below(4), below(4)],
            ..any
        },
    };
    // The kernel must fit.
    s.height = s.height.max(s.kernel[0].saturating_sub(s.padding[0] + s.padding[1]));
    s.width = s.width.max(s.kernel[1].saturating_sub(s.padding[2] + s.padding[3]));
    s
}

#[test]
fn dense_layers() {
    for (rows, inputs, outputs) in [(1, 1, 1), (7, 128, 512), (100, 33, 10), (64, 32, 128), (300, 256, 64)] {
        check(dense(rows, inputs, outputs));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for s in [
        square(9, 7, 32, 48),
        square(5, 9, 5, 33),
        ConvShape { stride: 2, ..square(7, 12, 32, 16) },
        square(6, 28, 32, 1),
    ] {
        let x = normals(s.input_len(), 1);
        let w = normals(s.weight_len(), 2);
        let bias = normals(s.c_out, 3);
        let dy = normals(s.output_len(), 4);
        let results: Vec<_> = [1, 2, 5]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(choice(), &s, &x, &w, &bias, &dy))
            })
            .collect();
        for other in &results[1..] {
            for (a, b) in results[0].iter().zip(other) {
                assert!(
                    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{s:?} depends on the threads"
                );
            }
        }
    }
}

#[test]
fn wanted_gradients_do_not_depend_on_the_others() {
    for s in [square(3, 8, 32, 32), square(3, 8, 32, 1), square(3, 8, 3, 32)] {
        let (x, w, dy) = (normals(s.input_len(), 1), normals(s.weight_len(), 2), normals(s.output_len(), 4));
        let [_, dx, dw, db] = run(choice(), &s, &x, &w, &vec![0.0; s.c_out], &dy);
        let (mut only_dx, mut only_dw, mut only_db) =
            (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; s.c_out]);
        backward(&s, &x, &w, &dy, Some(&mut only_dx), None, None);
        backward(&s, &x, &w, &dy, None, Some(&mut only_dw), None);
        backward(&s, &x, &w, &dy, None, None, Some(&mut only_db));
        assert_eq!((dx, dw, db), (only_dx, only_dw, only_db));
    }
}

#[test]
fn empty_batches_and_channels() {
    let s = square(0, 4, 16, 16);
    let w = normals(s.weight_len(), 1);
    let (mut dw, mut db) = (vec![1.0; w.len()], vec![1.0; 16]);
    forward(&s, &[], &w, Addends::default(), &mut []);
    backward(&s, &[], &w, &[], None, Some(&mut dw), Some(&mut db));
    assert!(dw.iter().chain(&db).all(|&v| v == 0.0));
    let s = square(1, 2, 0, 2);
    let mut y = vec![0.0; 8];
    forward(&s, &[], &[], Addends { bias: Some(&[1.0, 2.0]), residual: None }, &mut y);
    assert_eq!(y, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
}
