//! Every measure against cases with a known answer.

mod frechet;
mod gaussians;
mod kernels;
mod manifolds;
mod slices;
