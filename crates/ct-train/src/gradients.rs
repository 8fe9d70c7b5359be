//! Gradients of all parameters, in the order of their names.

use candle_core::Tensor;

use crate::Result;

/// Gradients of all parameters, in the order of their names. `None` where nothing depends on the parameter.
#[derive(Debug)]
pub struct Gradients {
    tensors: Vec<Option<Tensor>>,
    /// Those by what is trained beside the network and is no part of it.
    beside: Beside,
}

/// Gradients by what is trained beside the network.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// By the learned weights of the noise levels.
    pub(crate) log_variance: Option<Tensor>,
    /// By the matrix that embeds labels of augmentation.
    pub(crate) augment: Option<Tensor>,
}

impl Gradients {
    pub(crate) fn new(tensors: Vec<Option<Tensor>>, beside: Beside) -> Self {
        Self { tensors, beside }
    }

    pub(crate) fn into_beside(self) -> Beside {
        self.beside
    }

    /// One gradient for each parameter.
    pub fn tensors(&self) -> &[Option<Tensor>] {
        &self.tensors
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// Two gradients may share their memory, so that nothing is added in place.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        let beside = [
            (&mut self.beside.log_variance, other.beside.log_variance),
            (&mut self.beside.augment, other.beside.augment),
        ];
        for (sum, part) in self.tensors.iter_mut().zip(other.tensors).chain(beside) {
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
