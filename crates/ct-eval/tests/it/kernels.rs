use crate::gaussians::gaussian;
use ct_eval::{Error, Kernel, KidConfig, kid, median_distance, squared_mmd};

#[test]
fn gaussian_kernel_on_gaussians_has_a_closed_form() {
    // E k(x, y) for x - y ~ N(d, v) in one dimension is h / sqrt(h^2 + v) exp(-d^2 / (2 (h^2 + v))).
    let mean_kernel = |d: f64, v: f64| 1.0 / (1.0 + v).sqrt() * (-d * d / (2.0 * (1.0 + v))).exp();
    let expected = mean_kernel(0.0, 2.0) + mean_kernel(0.0, 8.0) - 2.0 * mean_kernel(1.0, 5.0);
    let (x, y) = (gaussian(&[0.0], &[1.0], 4000, 1), gaussian(&[1.0], &[2.0], 3000, 2));
    let found = squared_mmd(&x, &y, Kernel::Gaussian { bandwidth: 1.0 }).unwrap();
    // Five standard errors of the estimate.
    assert!((found - expected).abs() < 0.02, "{found} for {expected}");
}

#[test]
fn equal_distributions_are_at_about_zero() {
    let (x, y) = (gaussian(&[0.0; 4], &[1.0; 4], 2000, 3), gaussian(&[0.0; 4], &[1.0; 4], 2000, 4));
    let bandwidth = median_distance(&x).unwrap();
    // |x - x'|^2 is 2 chi^2 with 4 degrees of freedom, of median 3.357.
    assert!((bandwidth - (2.0_f64 * 3.357).sqrt()).abs() < 0.05, "{bandwidth}");
    for kernel in [Kernel::Gaussian { bandwidth }, Kernel::Energy, Kernel::Cubic] {
        let found = squared_mmd(&x, &y, kernel).unwrap();
        assert!(found.abs() < 0.01, "{kernel:?}: {found}");
        let shifted = squared_mmd(&x, &gaussian(&[1.0; 4], &[1.0; 4], 2000, 5), kernel).unwrap();
        assert!(shifted > 0.1, "{kernel:?}: {shifted}");
    }
}

#[test]
fn kernel_distance_of_gaussians_has_a_closed_form() {
    // In one dimension E (x y + 1)^3 = E x^3 E y^3 + 3 E x^2 E y^2 + 3 E x E y + 1.
    // N(0, 1): moments 0, 1, 0. N(1, 1): moments 1, 2, 4.
    let expected = (3.0 + 1.0) + (16.0 + 12.0 + 3.0 + 1.0) - 2.0 * (6.0 + 1.0);
    let (x, y) = (gaussian(&[0.0], &[1.0], 6000, 6), gaussian(&[1.0], &[1.0], 5000, 7));
    let config = KidConfig { num_subsets: 20, subset_size: 500, seed: 1 };
    let found = kid(&x, &y, &config).unwrap();
    assert!((found.mean - expected).abs() < 2.0, "{found:?} for {expected}");
    assert!(found.std > 0.0);
    assert_eq!(found, kid(&x, &y, &config).unwrap());
}

#[test]
fn wrong_settings_are_refused() {
    let x = gaussian(&[0.0], &[1.0], 10, 0);
    assert!(matches!(squared_mmd(&x, &x, Kernel::Gaussian { bandwidth: 0.0 }), Err(Error::Setting { .. })));
    let no_subset = KidConfig { num_subsets: 0, ..KidConfig::default() };
    assert!(matches!(kid(&x, &x, &no_subset), Err(Error::Setting { .. })));
    let too_small = KidConfig { subset_size: 1, ..KidConfig::default() };
    assert!(matches!(kid(&x, &x, &too_small), Err(Error::Setting { .. })));
}
