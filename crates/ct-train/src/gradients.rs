//! Gradients of all parameters, in the order of their names.

use candle_core::Tensor;

use crate::Result;

/// Gradients of all parameters, in the order of their names. `None` where nothing depends on the parameter.
#[derive(Debug)]
pub struct Gradients {
    tensors: Vec<Option<Tensor>>,
    /// That by the learned weights of the noise levels, which are not part of the network.
    by_log_variance: Option<Tensor>,
}

impl Gradients {
    pub(crate) fn new(tensors: Vec<Option<Tensor>>, by_log_variance: Option<Tensor>) -> Self {
        Self { tensors, by_log_variance }
    }

    pub(crate) fn by_log_variance(&self) -> Option<&Tensor> {
        self.by_log_variance.as_ref()
    }

    /// One gradient for each parameter.
    pub fn tensors(&self) -> &[Option<Tensor>] {
        &self.tensors
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// Two gradients may share their memory, so that nothing is added in place.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        let extra = std::iter::once((&mut self.by_log_variance, other.by_log_variance));
        for (sum, part) in self.tensors.iter_mut().zip(other.tensors).chain(extra) {
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
        Ok(ct_kernels::sum_of_squares(self.tensors.iter().flatten())?.sqrt())
    }

    /// Scales all gradients so that their norm is at most `max_norm`.
    pub(crate) fn clip(&mut self, norm: f64, max_norm: Option<f64>) -> Result<()> {
        let Some(max_norm) = max_norm.filter(|&max_norm| norm > max_norm) else { return Ok(()) };
        for gradient in self.tensors.iter_mut().flatten() {
            *gradient = (&*gradient * (max_norm / norm))?;
        }
        Ok(())
    }
}
