//! Gradients of all parameters, in the order of their names.

use candle_core::Tensor;
use ct_model::ParamLayout;

use crate::Result;

/// Gradients of all parameters, in the order of their names. `None` where nothing depends on the parameter.
#[derive(Debug)]
pub struct Gradients {
    tensors: Vec<Option<Tensor>>,
    /// The piece of memory in which all of them lie, if they do.
    whole: Option<Tensor>,
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
        Self { tensors, whole: None, beside }
    }

    /// The same gradients in one piece of memory, if each parameter has one:
    /// what is done to all of them is then one launch on a GPU, and not one for each.
    ///
    /// # Errors
    /// The device is out of memory.
    pub(crate) fn in_one_piece(self, layout: &ParamLayout) -> Result<Self> {
        let Some(Some(first)) = self.tensors.first() else { return Ok(self) };
        if self.tensors.iter().any(Option::is_none) {
            return Ok(self);
        }
        let whole = Tensor::zeros(layout.num_elements(), first.dtype(), first.device())?;
        let views = layout.views(&whole)?;
        for (view, gradient) in views.iter().zip(self.tensors.iter().flatten()) {
            ct_kernels::copy_in_place(view, &gradient.contiguous()?)?;
        }
        let tensors = views.into_iter().map(Some).collect();
        Ok(Self { tensors, whole: Some(whole), beside: self.beside })
    }

    pub(crate) fn into_beside(self) -> Beside {
        self.beside
    }

    /// One gradient for each parameter.
    pub fn tensors(&self) -> &[Option<Tensor>] {
        &self.tensors
    }

    /// All of them as one tensor, where they lie in one piece of memory.
    pub(crate) fn whole(&self) -> Option<&Tensor> {
        self.whole.as_ref()
    }

    /// Adds the gradients of another part of the batch.
    ///
    /// Two gradients may share their memory, so that nothing is added in place, unless they have a piece of their own.
    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        if let (Some(sum), Some(part)) = (&self.whole, &other.whole) {
            ct_kernels::add_in_place(sum, part)?;
        } else {
            let mut pairs = self.tensors.iter_mut().zip(other.tensors);
            pairs.try_for_each(|(sum, part)| add(sum, part))?;
        }
        add(&mut self.beside.log_variance, other.beside.log_variance)?;
        add(&mut self.beside.augment, other.beside.augment)
    }

    /// Norm of all gradients together, in f64 and in a fixed order.
    ///
    /// # Errors
    /// A gradient that is not contiguous f32.
    pub fn norm(&self) -> Result<f64> {
        let squares = match &self.whole {
            Some(whole) => ct_kernels::sum_of_squares([whole])?,
            None => ct_kernels::sum_of_squares(self.tensors.iter().flatten())?,
        };
        Ok(squares.sqrt())
    }

    /// Scales all gradients so that their norm is at most `max_norm`.
    pub(crate) fn clip(&mut self, norm: f64, max_norm: Option<f64>) -> Result<()> {
        let Some(max_norm) = max_norm.filter(|&max_norm| norm > max_norm) else { return Ok(()) };
        let factor = max_norm / norm;
        if let Some(whole) = &self.whole {
            return Ok(ct_kernels::scale_in_place(whole, factor)?);
        }
        for gradient in self.tensors.iter_mut().flatten() {
            *gradient = (&*gradient * factor)?;
        }
        Ok(())
    }
}

fn add(sum: &mut Option<Tensor>, part: Option<Tensor>) -> Result<()> {
    *sum = match (sum.take(), part) {
        (Some(sum), Some(part)) => Some((sum + part)?),
        (sum, part) => sum.or(part),
    };
    Ok(())
}
