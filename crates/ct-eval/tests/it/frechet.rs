use crate::gaussians::gaussian;
use ct_eval::{Error, Moments, Samples, frechet_distance, frechet_distance_of_moments};

/// Covariance R(angle) diag(a, b) R(angle)^T.
fn rotated(a: f64, b: f64, angle: f64) -> [f64; 4] {
    let (s, c) = angle.sin_cos();
    [a * c * c + b * s * s, (a - b) * s * c, (a - b) * s * c, a * s * s + b * c * c]
}

#[test]
fn commuting_covariances_have_a_closed_form() {
    // In a common basis the distance is the sum over axes of (m1 - m2)^2 + (s1 - s2)^2.
    for angle in [0.0, 0.3, 1.0, 2.5] {
        let x = Moments::new(&[1.0, 2.0], &rotated(4.0, 9.0, angle)).unwrap();
        let y = Moments::new(&[0.0, 0.0], &rotated(1.0, 25.0, angle)).unwrap();
        let distance = frechet_distance_of_moments(&x, &y).unwrap();
        assert!((distance - (1.0 + 4.0 + 1.0 + 4.0)).abs() < 1e-12, "angle {angle}: {distance}");
    }
}

#[test]
fn two_by_two_covariances_that_do_not_commute() {
    // For 2x2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), with tr M = tr(S1 S2), det M = det S1 det S2.
    let (s1, s2) = (rotated(4.0, 1.0, 0.2), rotated(3.0, 0.5, 1.3));
    let trace_product = s1[0] * s2[0] + s1[1] * s2[2] + s1[2] * s2[1] + s1[3] * s2[3];
    let trace_root = (trace_product + 2.0 * (4.0 * 1.0 * 3.0 * 0.5_f64).sqrt()).sqrt();
    let expected = 5.0 + 3.5 - 2.0 * trace_root;
    let (x, y) = (Moments::new(&[0.0; 2], &s1).unwrap(), Moments::new(&[0.0; 2], &s2).unwrap());
    assert!((frechet_distance_of_moments(&x, &y).unwrap() - expected).abs() < 1e-12);
    assert!((frechet_distance_of_moments(&y, &x).unwrap() - expected).abs() < 1e-12);
}

#[test]
fn a_set_is_at_distance_zero_from_itself_even_if_its_covariance_is_singular() {
    let few = gaussian(&[0.0; 40], &[1.0; 40], 12, 0);
    let distance = frechet_distance(&few, &few).unwrap();
    assert!(distance < 1e-9, "{distance}");
    let constant = Samples::new(vec![0.5; 30], 3).unwrap();
    assert!(frechet_distance(&constant, &constant).unwrap().abs() < 1e-12);
}

#[test]
fn singular_covariances_in_different_subspaces() {
    // Along orthogonal lines nothing overlaps: the distance is the sum of the traces.
    let x = Moments::new(&[0.0; 3], &[4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    let y = Moments::new(&[0.0; 3], &[0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    assert!((frechet_distance_of_moments(&x, &y).unwrap() - 13.0).abs() < 1e-12);
}

#[test]
fn samples_of_two_gaussians_come_near_the_distance_of_the_gaussians() {
    let x = gaussian(&[0.0, 0.0, 0.0], &[1.0, 2.0, 0.5], 20_000, 1);
    let y = gaussian(&[1.0, 0.0, -1.0], &[2.0, 2.0, 1.5], 15_000, 2);
    // 1 + 1 for the means, 1 + 0 + 1 for the spreads; the standard error is about 0.03.
    let distance = frechet_distance(&x, &y).unwrap();
    assert!((distance - 4.0).abs() < 0.1, "{distance}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let one = Samples::new(vec![1.0, 2.0], 2).unwrap();
    let two = Samples::new(vec![1.0, 2.0], 1).unwrap();
    assert!(matches!(frechet_distance(&one, &one), Err(Error::TooFewSamples { needed: 2, got: 1, .. })));
    assert!(matches!(frechet_distance(&one, &two), Err(Error::Dimension { left: 2, right: 1 })));
    assert!(matches!(Moments::new(&[0.0; 2], &[0.0; 3]), Err(Error::Ragged { .. })));
    assert!(matches!(Moments::new(&[f64::NAN], &[0.0]), Err(Error::NotFinite { .. })));
}
