//! The Fréchet distance of two Gaussians (Dowson & Landau 1982), on features known as FID (Heusel et al. 2017).
//!
//! ```text
//! FD = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2)
//! ```
//!
//! The last matrix is symmetric and positive semi-definite, so that the trace of its root is the sum of the roots of
//! its eigenvalues. The usual code takes the root of the unsymmetric product S1 S2, which is complex by rounding and
//! fails for singular covariances (fewer samples than values); it adds 1e-6 to the diagonals then, which changes the
//! distance. Here eigenvalues below the rounding error are taken as the zeros they stand for, and nothing is added.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::{
    error::{Error, Result},
    moments::Moments,
    samples::{Samples, check_pair},
};

/// The squared Fréchet distance of the Gaussians fitted to two sets, the number that is reported as FID.
///
/// It is biased upwards for few samples: compare sets of one size only, of 2000 or more.
///
/// ```
/// use ct_eval::{Samples, frechet_distance};
///
/// // The same spread, shifted by (3, 4): 9 + 16.
/// let x = Samples::new(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0], 2)?;
/// let y = Samples::new(vec![3.0, 4.0, 4.0, 4.0, 3.0, 5.0], 2)?;
/// assert!((frechet_distance(&x, &y)? - 25.0).abs() < 1e-9);
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When a set has less than two samples, the dimensions differ, or the eigenvalues do not converge.
pub fn frechet_distance(x: &Samples, y: &Samples) -> Result<f64> {
    check_pair("the Fréchet distance", x, y, 2)?;
    frechet_distance_of_moments(&Moments::of(x)?, &Moments::of(y)?)
}

/// The squared Fréchet distance of two Gaussians.
///
/// ```
/// use ct_eval::{Moments, frechet_distance_of_moments};
///
/// // In one dimension: (m1 - m2)^2 + (s1 - s2)^2, here 1 + 4.
/// let x = Moments::new(&[0.0], &[1.0])?;
/// let y = Moments::new(&[1.0], &[9.0])?;
/// assert!((frechet_distance_of_moments(&x, &y)? - 5.0).abs() < 1e-12);
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When the dimensions differ, or the eigenvalues do not converge.
pub fn frechet_distance_of_moments(x: &Moments, y: &Moments) -> Result<f64> {
    if x.dim() != y.dim() {
        return Err(Error::Dimension { left: x.dim(), right: y.dim() });
    }
    let root = symmetric_root(&x.covariance)?;
    let product = &root * &y.covariance * &root;
    let product = (&product + product.transpose()) * 0.5;
    let trace_of_root: f64 = roots(&eigen(product)?.eigenvalues).sum();
    let distance = (&x.mean - &y.mean).norm_squared() + x.covariance.trace() + y.covariance.trace();
    Ok((distance - 2.0 * trace_of_root).max(0.0))
}

/// The symmetric root of a positive semi-definite matrix.
fn symmetric_root(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>> {
    let SymmetricEigen { eigenvectors, eigenvalues } = eigen(matrix.clone())?;
    let mut scaled = eigenvectors.clone();
    for (mut column, root) in scaled.column_iter_mut().zip(roots(&eigenvalues)) {
        column *= root;
    }
    Ok(scaled * eigenvectors.transpose())
}

/// The roots of eigenvalues; what is below the rounding error of the largest is taken as zero.
fn roots(eigenvalues: &DVector<f64>) -> impl Iterator<Item = f64> {
    let negligible = eigenvalues.amax() * eigenvalues.len() as f64 * f64::EPSILON;
    eigenvalues.iter().map(move |&value| if value > negligible { value.sqrt() } else { 0.0 })
}

fn eigen(matrix: DMatrix<f64>) -> Result<SymmetricEigen<f64, nalgebra::Dyn>> {
    /// QR takes two or three iterations for each eigenvalue; this is the same bound with room to spare.
    const ITERATIONS_PER_VALUE: usize = 100;
    let dim = matrix.nrows();
    SymmetricEigen::try_new(matrix, f64::EPSILON, ITERATIONS_PER_VALUE * dim)
        .filter(|eigen| eigen.eigenvalues.iter().all(|value| value.is_finite()))
        .ok_or(Error::Eigenvalues { dim })
}
