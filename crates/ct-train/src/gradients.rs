//! Gradients of all parameters, in the order of their names.

use candle_core::Tensor;

use crate::Result;

/// Gradients of all parameters, in the order of their names. `None` where nothing depends on the parameter.
#[derive(Debug)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    pub(crate) fn new(tensors: Vec<Option<Tensor>>) -> Self {
        Self(tensors)
    }

    /// One gradient for each parameter.
    pub fn tensors(&self) -> &[Option<Tensor>] {
        &self.0
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// Two gradients may share their memory, so that nothing is added in place.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        for (sum, part) in self.0.iter_mut().zip(other.0) {
            *sum = match (sum.take(), part) {
                (Some(sum), Some(part)) => Some((sum + part)?),
                (sum, part) => sum.or(part),
            };
        }
        Ok(())
    }

    /// Norm of all gradients together, in f64 and in a fixed order.
    ///
    /// # Errors
    /// A gradient that is not contiguous f32.
    pub fn norm(&self) -> Result<f64> {
        Ok(ct_kernels::sum_of_squares(self.0.iter().flatten())?.sqrt())
    }

    /// Scales all gradients so that their norm is at most `max_norm`.
    pub(crate) fn clip(&mut self, norm: f64, max_norm: Option<f64>) -> Result<()> {
        let Some(max_norm) = max_norm.filter(|&max_norm| norm > max_norm) else { return Ok(()) };
        for gradient in self.0.iter_mut().flatten() {
            *gradient = (&*gradient * (max_norm / norm))?;
        }
        Ok(())
    }
}
