use crate::gaussians::gaussian;
use ct_eval::{Error, Samples, sliced_wasserstein};

#[test]
fn a_shift_is_seen_at_its_length_over_the_root_of_the_dimension() {
    let x = gaussian(&[0.0; 8], &[1.0; 8], 300, 0);
    let shift = 2.0;
    let shifted = Samples::new(x.rows().flatten().map(|value| value + shift).collect(), 8).unwrap();
    // |shift (1, .., 1)| / sqrt(8) = 2; the mean of 2000 squares of one coordinate has a spread of 3 %.
    let found = sliced_wasserstein(&x, &shifted, 2000, 0).unwrap();
    assert!((found - 2.0).abs() < 0.1, "{found}");
}

#[test]
fn scaled_gaussians_differ_by_the_difference_of_their_spreads() {
    let (x, y) = (gaussian(&[0.0; 3], &[1.0; 3], 8000, 1), gaussian(&[0.0; 3], &[2.0; 3], 6000, 2));
    let found = sliced_wasserstein(&x, &y, 64, 5).unwrap();
    assert!((found - 1.0).abs() < 0.05, "{found}");
}

#[test]
fn equal_sets_in_any_order_are_at_zero_and_seeds_repeat() {
    let x = gaussian(&[0.0; 3], &[1.0; 3], 50, 3);
    let reversed: Vec<f32> = x.rows().rev().flatten().copied().collect();
    let reversed = Samples::new(reversed, 3).unwrap();
    assert!(sliced_wasserstein(&x, &reversed, 32, 1).unwrap() < 1e-12);
    let y = gaussian(&[0.5; 3], &[1.0; 3], 40, 4);
    let [first, again, other] = [1, 1, 2].map(|seed| sliced_wasserstein(&x, &y, 32, seed).unwrap().to_bits());
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn nothing_to_compare_is_an_error() {
    let x = Samples::new(vec![0.0], 1).unwrap();
    let empty = Samples::new(vec![], 1).unwrap();
    assert!(matches!(sliced_wasserstein(&x, &empty, 1, 0), Err(Error::TooFewSamples { .. })));
    assert!(matches!(sliced_wasserstein(&x, &x, 0, 0), Err(Error::Setting { .. })));
}
