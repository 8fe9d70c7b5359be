//! From one noise to another along the sphere on which noise lies.
//!
//! ```text
//! z = sin((1 - alpha) psi) / sin(psi) z_1 + sin(alpha psi) / sin(psi) z_2 ,  cos(psi) = z_1 z_2 / (|z_1| |z_2|)
//! ```
//!
//! (Song et al. 2023, "Consistency Models", appendix D.)
//! The angle is that of each pair; `Kinyugo/consistency_models` takes one angle of the whole batch.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};

/// Sines below this make the quotient a straight line.
const STRAIGHT: f64 = 1e-6;

/// The noise between two, at `alpha` = 0 the first and at 1 the second.
///
/// # Shapes
/// `z_1`, `z_2`: `[N, ..]` of one shape; the result has it.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, [`Error::Setting`] when `alpha` is not in [0, 1].
pub fn slerp(z_1: &Tensor, z_2: &Tensor, alpha: f64) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&alpha) {
        return Err(Error::Setting { what: "alpha", value: alpha, range: "a number from 0 to 1" });
    }
    if z_1.dims() != z_2.dims() || z_1.dims().is_empty() {
        return Err(Error::Shape {
            what: "the second noise".into(),
            expected: format!("{:?}, as the first", z_1.dims()),
            got: z_2.dims().to_vec(),
        });
    }
    let rows = |z: &Tensor| z.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>();
    let (first, second): (Vec<f64>, Vec<f64>) =
        rows(z_1)?.iter().zip(&rows(z_2)?).map(|(a, b)| weights(a, b, alpha)).unzip();
    let column = |weights: Vec<f64>| {
        let shape: Vec<usize> =
            [z_1.dims()[0]].into_iter().chain(z_1.dims()[1..].iter().map(|_| 1)).collect();
        Tensor::new(weights, z_1.device())?.to_dtype(z_1.dtype())?.reshape(shape)
    };
    Ok((z_1.broadcast_mul(&column(first)?)? + z_2.broadcast_mul(&column(second)?)?)?)
}

/// The weights of two vectors.
fn weights(a: &[f64], b: &[f64], alpha: f64) -> (f64, f64) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let psi = cosine.clamp(-1.0, 1.0).acos();
    if psi.is_nan() || psi.sin() < STRAIGHT {
        return (1.0 - alpha, alpha);
    }
    (((1.0 - alpha) * psi).sin() / psi.sin(), (alpha * psi).sin() / psi.sin())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn between(a: [f64; 2], b: [f64; 2], alpha: f64) -> Vec<f64> {
        let [a, b] = [a, b].map(|z| Tensor::new(&[z], &Device::Cpu).unwrap());
        slerp(&a, &b, alpha).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn noise_moves_along_the_circle_with_even_speed() {
        for (alpha, angle) in [(0.0, 0.0), (1.0 / 3.0, 30f64), (0.5, 45.0), (1.0, 90.0)] {
            let found = between([2.0, 0.0], [0.0, 2.0], alpha);
            let (sin, cos) = angle.to_radians().sin_cos();
            assert!(
                (found[0] - 2.0 * cos).abs() < 1e-12 && (found[1] - 2.0 * sin).abs() < 1e-12,
                "{found:?}"
            );
        }
    }

    #[test]
    fn every_pair_has_its_own_angle() {
        let first = Tensor::new(&[[1f64, 0.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        let second = Tensor::new(&[[0f64, 1.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        let found = slerp(&first, &second, 0.5).unwrap().to_vec2::<f64>().unwrap();
        let half = 0.5f64.sqrt();
        assert!((found[0][0] - half).abs() < 1e-12 && (found[0][1] - half).abs() < 1e-12);
        assert_eq!(found[1], [1.0, 0.0]);
    }

    #[test]
    fn no_angle_is_no_fault() {
        assert_eq!(between([1.0, 0.0], [3.0, 0.0], 0.5), [2.0, 0.0]);
        assert_eq!(between([1.0, 0.0], [-1.0, 0.0], 0.25), [0.5, 0.0]);
        assert_eq!(between([0.0, 0.0], [0.0, 0.0], 0.5), [0.0, 0.0]);
    }

    #[test]
    fn misfits_are_refused() {
        let z = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(slerp(&z, &z, 1.5), Err(Error::Setting { .. })));
        assert!(matches!(slerp(&z, &z.t().unwrap(), 0.5), Err(Error::Shape { .. })));
    }
}
