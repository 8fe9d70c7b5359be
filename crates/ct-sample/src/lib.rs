//! Samplers and images in and out: what an application embeds.
//!
//! A sampler is a pure function of a [`Denoiser`], noise levels and recorded or seeded noise:
//!
//! ```text
//! one step    x = f(sigma_max z_0, sigma_max)
//! multistep   x <- x + sqrt(tau^2 - sigma_min^2) z_j ,  x <- f(x, tau_j)
//! ODE         dx/d sigma = (x - D(x, sigma)) / sigma     (Euler and Heun)
//! ```
//!
//! (Song et al. 2023, "Consistency Models", algorithm 1; Karras et al. 2022, "Elucidating the Design
//! Space of Diffusion-Based Generative Models", algorithm 1 without churn.)
//! The noise of one sample depends on the seed, the evaluation and the index of the sample alone,
//! so image 17 is image 17 in any batch and any count.
//!
//! ```
//! use candle_core::Device;
//! use ct_sample::{Draw, SeededNoise, default_sigmas, multistep};
//! use ct_sample::testing::{Gaussian, GaussianConsistency};
//!
//! let model = GaussianConsistency::new(Gaussian::isotropic(&[1, 4, 4], 0.2, 0.01)?);
//! let sigmas = default_sigmas(model.gaussian().range, 2)?;
//! let noise = SeededNoise { seed: 7, first_index: 0 };
//! let draw = Draw::new(&model, 3);
//! let images = multistep(&model, &sigmas, &noise, &draw)?;
//! assert_eq!(images.dims(), &[3, 1, 4, 4]);
//! # Ok::<(), ct_sample::Error>(())
//! ```

mod batches;
mod dpm;
mod draw;
mod edit;
mod error;
mod grid;
mod guided;
mod image_file;
mod interpolate;
mod invert;
mod measurement;
mod multistep;
mod noise;
mod ode;
mod pixels;
mod recorded;
mod search;
mod sigmas;
mod tensor_file;
pub mod testing;

pub use batches::in_batches;
pub use ct_model::{Denoiser, NoiseRange};
pub use dpm::dpmpp_2m;
pub use draw::Draw;
pub use edit::{denoise, edit, estimate_sigma, follow};
pub use error::{Error, Result};
pub use grid::{grid, readable_upscale};
pub use guided::Guided;
pub use image_file::{open_image, read_image, save_all, save_png};
pub use interpolate::slerp;
pub use invert::{InversionConfig, invert, invert_ode};
pub use measurement::{
    BayerPattern, Blur, DEFAULT_RCOND, Known, Luma, Mask, MatrixMeasurement, Measurement, PatchMeans,
    RandomCosines, bayer_mask, gaussian_kernel, rectangle_mask, scattered_mask,
};
pub use multistep::{multistep, multistep_from, multistep_with_gamma, one_step};
pub use noise::{NoiseSource, SeededNoise};
pub use ode::{euler, heun};
pub use pixels::{from_image, to_images, to_rgb8};
pub use recorded::RecordedNoise;
pub use search::{Found, search};
pub use sigmas::{DEFAULT_MID_SIGMA, check_ode_sigmas, check_sigmas, default_sigmas, ode_sigmas};
pub use tensor_file::save_tensors;
