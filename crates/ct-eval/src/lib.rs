//! Distances between sets of samples.
//!
//! Every measure takes two [`Samples`], N rows of D values each: flattened images, points, or the features that a
//! network gives them. All sums are f64, rayon spreads the rows over the cores, and the result does not depend on
//! how many there are.
//!
//! | function | measure | 0 for equal distributions |
//! |---|---|---|
//! | [`sliced_wasserstein`] | sliced 2-Wasserstein distance | for equal sets |
//! | [`squared_mmd`] | squared maximum mean discrepancy, Gaussian or energy kernel | on average |
//! | [`frechet_distance`] | squared Fréchet distance of the fitted Gaussians | for equal sets |
//! | [`kid`] | squared MMD with the cubic kernel on subsets | on average |
//! | [`precision_recall`] | overlap of the k-nearest-neighbour manifolds | 1 for equal sets |
//! | [`nearest`] | the nearest reference of each sample: has the model memorized? | - |
//!
//! [`evaluate`] runs several and names each figure after the measure and the space it was taken in.
//! A figure from pixels is called `FD-pixels`; only the distance in Inception features may be called FID.
//! [`Features`] are networks that turn images into features: two small ones in the binary, others from a file.
//!
//! ```
//! use ct_eval::{Metric, Samples, Settings, Space, evaluate};
//!
//! let real = Samples::new((0..200).map(|i| i as f32 / 100.0).collect(), 2)?;
//! let report = evaluate(&real, &real, &[Metric::Frechet], &Space::Pixels, &Settings::default())?;
//! assert_eq!(report.figures[0].name, "FD-pixels");
//! assert!(report.figures[0].value < 1e-9);
//! # Ok::<(), ct_eval::Error>(())
//! ```

mod distances;
mod error;
mod features;
mod frechet;
mod kid;
mod mmd;
mod moments;
mod nearest;
mod precision_recall;
mod report;
mod samples;
mod sliced_wasserstein;

pub use error::{Error, Result};
pub use features::{EfficientNet, Features, Inception, SmallCnn};
pub use frechet::{frechet_distance, frechet_distance_of_moments};
pub use kid::{Kid, KidConfig, kid};
pub use mmd::{Kernel, median_distance, squared_mmd};
pub use moments::Moments;
pub use nearest::{Neighbour, nearest};
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use report::{Figure, Metric, Report, Settings, Space, evaluate};
pub use samples::Samples;
pub use sliced_wasserstein::sliced_wasserstein;
