//! The mathematics of consistency models in f64: grids, curricula, distributions, weights, coefficients.
//!
//! No tensors, no random numbers, no input or output: a draw takes `u`, uniform in (0, 1), or `z`, standard normal.
//! Arguments are checked in constructors, so that everything after them is total.
//! `docs/MATH.md` has the table of symbols and the list of formulas.
//!
//! | question | answered by |
//! |---|---|
//! | which noise levels? | [`KarrasGrid`], [`NumSigmas`] |
//! | which pair of the grid next? | [`GridDraw`] |
//! | which continuous level next? | [`SigmaDistribution`] and the [`EctMapping`] to the lower one |
//! | how does the network become `f(x, sigma)`? | [`Preconditioning`], [`TrigFlow`] |
//! | how much does a pair count? | [`Weighting`], [`pseudo_huber`] |
//! | how do target, averages and steps move? | [`TargetDecay`], [`EmaProfile`], [`PosthocEma`], [`LearningRate`] |
//!
//! With the feature `serde` the types that a configuration names can be read and written; what is read is validated.
//!
//! ```
//! use ct_schedule::{GridDraw, KarrasGrid, NumSigmas};
//!
//! // One draw of improved consistency training, halfway through a run.
//! let num_sigmas = NumSigmas::ict(10, 1280)?.at(200_000, 400_000);
//! let grid = KarrasGrid::new(num_sigmas, 0.002, 80.0, 7.0)?;
//! let draw = GridDraw::lognormal(&grid, -1.1, 2.0)?;
//! let (sigma_lo, sigma_hi) = grid.pair(draw.pair_idx(0.5));
//! assert_eq!(num_sigmas, 161);
//! assert!(sigma_lo < 0.34 && 0.33 < sigma_hi);
//! # Ok::<(), ct_schedule::Error>(())
//! ```

mod check;
mod ect_mapping;
mod ect_stages;
mod ema_profile;
mod error;
mod grid_draw;
mod karras_grid;
mod learning_rate;
mod lognormal;
mod normal;
mod num_sigmas;
mod posthoc_ema;
mod preconditioning;
mod progress;
mod pseudo_huber;
mod sigma_distribution;
mod student_t;
mod tangent_warmup;
mod target_decay;
mod trigflow;
mod weighting;

pub use ect_mapping::EctMapping;
pub use ect_stages::{EctPhase, EctStages};
pub use ema_profile::{EmaProfile, power_gamma, power_sigma_rel};
pub use error::{Error, Result};
pub use grid_draw::GridDraw;
pub use karras_grid::KarrasGrid;
pub use learning_rate::{Decay, LearningRate};
pub use lognormal::{Lognormal, TruncatedLognormal};
pub use normal::{inverse_normal_cdf, normal_cdf};
pub use num_sigmas::NumSigmas;
pub use posthoc_ema::{PosthocEma, PowerProfile};
pub use preconditioning::{Coefficients, Preconditioning, c_noise, c_noise_edm};
pub use pseudo_huber::{pseudo_huber, pseudo_huber_c};
pub use sigma_distribution::SigmaDistribution;
pub use student_t::TruncatedStudentT;
pub use tangent_warmup::tangent_warmup;
pub use target_decay::TargetDecay;
pub use trigflow::TrigFlow;
pub use weighting::Weighting;
