//! Properties that span several types of the crate.

use ct_schedule::{
    EctMapping, EctPhase, GridDraw, KarrasGrid, Lognormal, NumSigmas, Preconditioning, TargetDecay,
    TruncatedLognormal,
};

#[cfg(feature = "serde")]
mod serde;

/// A full run of consistency training: every step has a valid grid and decay.
#[test]
fn a_run_of_consistency_training() {
    const STEPS: u64 = 500;
    let (num_sigmas, decay) = (NumSigmas::ct(2, 150).unwrap(), TargetDecay::ct(0.95, 2).unwrap());
    let f = Preconditioning::consistency(0.002, 0.5).unwrap();
    for step in 0..=STEPS {
        let n = num_sigmas.at(step, STEPS);
        let grid = KarrasGrid::new(n, 0.002, 80.0, 7.0).unwrap();
        let (sigma_lo, sigma_hi) = grid.pair(GridDraw::uniform(&grid).pair_idx(0.5));
        assert!(sigma_lo < sigma_hi && (0.9..1.0).contains(&decay.mu(n)));
        assert!(f.c_skip(sigma_lo) > f.c_skip(sigma_hi));
    }
}

/// For Gaussian data the consistency function is linear, and following the ODE keeps its value.
#[test]
fn the_gap_of_ect_shrinks_to_the_tangent() {
    // f(x, s) = x sqrt((s_min^2 + sd^2) / (s^2 + sd^2)) is constant along x(s) = sqrt(s^2 + sd^2).
    let f = |x: f64, s: f64| x * ((0.002_f64.powi(2) + 0.25) / (s * s + 0.25)).sqrt();
    let mapping = EctMapping::sigmoid(2.0).unwrap();
    let sigma = 1.0_f64;
    let x = (sigma * sigma + 0.25).sqrt();
    let errors: Vec<f64> = (6..12)
        .map(|stage| {
            let lower = mapping.sigma_lo(sigma, EctPhase::Stage(stage));
            // One Euler step along dx/ds = x s / (s^2 + sd^2).
            let stepped = x + (lower - sigma) * x * sigma / (sigma * sigma + 0.25);
            (f(stepped, lower) - f(x, sigma)).abs()
        })
        .collect();
    // Euler's local error is of second order: half the gap, a quarter of the error.
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!((order - 2.0).abs() < 0.1, "order {order}");
    }
}

/// The discretized lognormal is the continuous one, truncated to the grid and rounded to pairs.
#[test]
fn discrete_and_continuous_lognormals_agree() {
    let grid = KarrasGrid::new(41, 0.002, 80.0, 7.0).unwrap();
    let discrete = GridDraw::lognormal(&grid, -1.1, 2.0).unwrap();
    let continuous = TruncatedLognormal::new(-1.1, 2.0, 0.002, 80.0).unwrap();
    for i in 0..1000 {
        let u = (f64::from(i) + 0.5) / 1000.0;
        let (sigma_lo, sigma_hi) = grid.pair(discrete.pair_idx(u));
        let sigma = continuous.sigma_at(u);
        // Rounding at the border of a pair.
        let slack = 1.0 + 1e-9;
        assert!(sigma_lo <= sigma * slack && sigma <= sigma_hi * slack);
    }
}

#[test]
fn errors_read_well() {
    let error = KarrasGrid::new(1, 0.002, 80.0, 7.0).unwrap_err();
    assert_eq!(error.to_string(), "num_sigmas must be at least 2, got 1");
    let error = KarrasGrid::new(5, 80.0, 0.002, 7.0).unwrap_err();
    assert_eq!(error.to_string(), "sigma_min must be below sigma_max, got 80 and 0.002");
    let error = Lognormal::new(0.0, -1.0).unwrap_err();
    assert_eq!(error.to_string(), "p_std must be positive and finite, got -1");
}
