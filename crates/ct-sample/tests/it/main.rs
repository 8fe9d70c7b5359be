//! Samplers against the closed form of a Gaussian, and files against what other programs expect.

mod batches;
mod diffusers;
mod edits;
mod files;
mod moments;
mod multistep;
mod ode;
