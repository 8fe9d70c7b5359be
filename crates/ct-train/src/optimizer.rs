//! RAdam and `AdamW`, with a state that can be saved.
//!
//! `RAdam`: Liu et al. 2020, algorithm 2. `AdamW`: Loshchilov & Hutter 2019, algorithm 2.
//! Both follow PyTorch's definitions, so that runs can be compared step by step.

use candle_core::Tensor;
use ct_kernels::{AdamWStep, RAdamStep};
use ct_model::Params;

use crate::{Gradients, OptimizerKind, Result, TrainConfig};

/// Moments of the gradients, and what to do with them.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    mean: Params,
    mean_square: Params,
}

impl Optimizer {
    pub(crate) fn new(config: &TrainConfig, params: &Params) -> Result<Self> {
        Ok(Self {
            kind: config.optimizer,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
            mean: params.zeros_like()?,
            mean_square: params.zeros_like()?,
        })
    }

    /// Moves `params` along `gradients`. `step` counts from 1.
    ///
    /// A parameter that nothing depends on has no gradient, and stays where it is.
    ///
    /// # Errors
    /// Tensors that are not contiguous f32.
    pub fn step(&self, params: &Params, gradients: &Gradients, lr: f64, step: u64) -> Result<()> {
        let wholes = (params.whole(), self.mean.whole(), self.mean_square.whole(), gradients.whole());
        if let (Some(param), Some(m), Some(v), Some(gradient)) = wholes {
            return self.move_one(param, [m, v], gradient, lr, step);
        }
        let moments = self.mean.iter().zip(self.mean_square.iter());
        for (((_, param), gradient), ((_, m), (_, v))) in params.iter().zip(gradients.tensors()).zip(moments)
        {
            let Some(gradient) = gradient else { continue };
            self.move_one(param, [m, v], gradient, lr, step)?;
        }
        Ok(())
    }

    /// Moves one tensor, which may hold all parameters.
    fn move_one(
        &self,
        param: &Tensor,
        [m, v]: [&Tensor; 2],
        gradient: &Tensor,
        lr: f64,
        step: u64,
    ) -> Result<()> {
        let &Self { beta1, beta2, eps, weight_decay, .. } = self;
        match self.kind {
            OptimizerKind::Radam => {
                let rule = RAdamStep { lr, beta1, beta2, eps, weight_decay, step };
                ct_kernels::radam_step(param, m, v, gradient, &rule)?;
            }
            OptimizerKind::Adamw => {
                let rule = AdamWStep { lr, beta1, beta2, eps, weight_decay, step };
                ct_kernels::adamw_step(param, m, v, gradient, &rule)?;
            }
        }
        Ok(())
    }

    /// The state: names of the moments and their tensors.
    pub(crate) fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let named = |kind: &'static str| move |(name, tensor)| (format!("{kind}.{name}"), tensor);
        self.mean.iter().map(named("mean")).chain(self.mean_square.iter().map(named("mean_square")))
    }

    /// Takes the place of another run's state.
    pub(crate) fn set_state(&mut self, mean: Params, mean_square: Params) {
        (self.mean, self.mean_square) = (mean, mean_square);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use ct_model::{Builder, Init};
    use ct_random::{Purpose, Stream};

    use super::*;
    use crate::gradients::Beside;

    const SHAPES: [&[usize]; 3] = [&[3], &[40, 7], &[5, 2, 3, 3]];

    fn gradients(step: u64) -> Gradients {
        let gradient = |(idx, shape): (usize, &&[usize])| {
            let mut values = vec![0f32; shape.iter().product()];
            Stream::new(7, Purpose::Data, step, idx as u64).fill_normal(&mut values);
            Some(Tensor::from_vec(values, *shape, &Device::Cpu).unwrap())
        };
        Gradients::new(SHAPES.iter().enumerate().map(gradient).collect(), Beside::default())
    }

    fn bits(params: &Params) -> Vec<u32> {
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        params.tensors().into_iter().flat_map(values).map(f32::to_bits).collect()
    }

    /// Three clipped steps of two parts each, and what they leave.
    fn trained(kind: OptimizerKind, in_one_piece: bool) -> (Vec<u32>, Vec<u32>, f64) {
        let b = Builder::new();
        for (idx, shape) in SHAPES.iter().enumerate() {
            b.param(&format!("p{idx}"), shape, Init::Normal { std: 1.0 });
        }
        let layout = b.finish();
        let params = Params::init(&layout, 3, &Device::Cpu).unwrap();
        let average = params.deep_copy().unwrap();
        let config = TrainConfig { optimizer: kind, weight_decay: 0.1, ..TrainConfig::default() };
        let optimizer = Optimizer::new(&config, &params).unwrap();
        let gathered = |gradients: Gradients| {
            if in_one_piece { gradients.in_one_piece(&layout).unwrap() } else { gradients }
        };
        let mut norm = 0.0;
        for step in 1..=3 {
            let mut sum = gathered(gradients(step));
            assert_eq!(sum.whole().is_some(), in_one_piece);
            sum.add(gathered(gradients(step + 10))).unwrap();
            norm = sum.norm().unwrap();
            sum.clip(norm, Some(1.0)).unwrap();
            optimizer.step(&params, &sum, 0.1, step).unwrap();
            crate::average::decay(&average, &params, 0.9).unwrap();
        }
        (bits(&params), bits(&average), norm)
    }

    #[test]
    fn parameters_in_one_piece_move_as_each_by_itself() {
        for kind in [OptimizerKind::Radam, OptimizerKind::Adamw] {
            let (each, average, norm) = trained(kind, false);
            let (whole, average_of_whole, norm_of_whole) = trained(kind, true);
            assert!(each == whole && average == average_of_whole, "{kind:?}");
            // The sum of squares is taken in other blocks.
            assert!((norm - norm_of_whole).abs() < 1e-12 * norm, "{norm} and {norm_of_whole}");
        }
    }

    /// A parameter that nothing depends on stays, so that gradients with a gap are not gathered.
    #[test]
    fn a_gap_among_the_gradients_is_left_as_it_is() {
        let b = Builder::new();
        b.param("a", &[2], Init::Ones);
        b.param("b", &[2], Init::Ones);
        let layout = b.finish();
        let gradient = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let gradients = Gradients::new(vec![Some(gradient), None], Beside::default());
        let gradients = gradients.in_one_piece(&layout).unwrap();
        assert!(gradients.whole().is_none() && gradients.tensors()[1].is_none());
    }
}
