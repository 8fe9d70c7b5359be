//! The training step.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device};
use ct_data::{Batches, Dataset};
use ct_kernels::Tape;
use ct_model::{ConsistencyModel, Network, NoiseRange, Params, normal};
use ct_random::{Purpose, Stream};
use ct_schedule::{Decay, LearningRate};

use crate::average::{self, Average};
use crate::loss::{Examples, Training};
use crate::objective::{self, Objective, Target};
use crate::{Error, Gradients, LrSchedule, Optimizer, Result, TrainConfig};

/// The state of a run, and the step that moves it.
///
/// Every random number is a function of the seed and of the number of the image that it is for,
/// so the state holds no generator: `step` and `images_seen` are all there is to remember.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    seed: u64,
    range: NoiseRange,
    network: Arc<dyn Network>,
    batches: Batches,
    objective: Box<dyn Objective>,
    learning_rate: LearningRate,
    device: Device,
    pub(crate) params: Params,
    pub(crate) target: Option<Params>,
    pub(crate) averages: Vec<Average>,
    pub(crate) optimizer: Optimizer,
    pub(crate) step: u64,
    pub(crate) images_seen: u64,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps made so far, this one included.
    pub step: u64,
    /// Images seen so far.
    pub images_seen: u64,
    /// Weighted loss, mean over the batch.
    pub loss: f64,
    /// Norm of the gradient before it was clipped.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// State of the objective's schedule.
    pub schedule: String,
    /// Seconds that the step took.
    pub wall_secs: f64,
}

impl Trainer {
    /// A run at its first step.
    ///
    /// # Errors
    /// A setting out of its range, or data that does not suit the network: everything that can be known before the work starts.
    pub fn new(
        network: Arc<dyn Network>,
        data: Arc<Dataset>,
        range: NoiseRange,
        config: TrainConfig,
        seed: u64,
        flip: bool,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        range.validate()?;
        check_data(&*network, &data)?;

        let num_values = network.sample_shape().iter().product();
        let objective = objective::build(&config, range, num_values)?;
        let learning_rate = learning_rate(&config)?;
        let micro_batch_size = config.micro_batch_size.unwrap_or(config.batch_size);
        let batches = Batches::new(data, micro_batch_size, seed, flip)?;

        let params = Params::init(network.layout(), seed, device)?;
        let target = match objective.target(0) {
            Target::Student => None,
            Target::Average { .. } => Some(params.deep_copy()?),
        };
        let averages = Average::all(&config, &params)?;
        let optimizer = Optimizer::new(&config, &params)?;
        Ok(Self {
            config,
            seed,
            range,
            network,
            batches,
            objective,
            learning_rate,
            device: device.clone(),
            params,
            target,
            averages,
            optimizer,
            step: 0,
            images_seen: 0,
        })
    }

    /// Makes one step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, before it reaches the weights.
    pub fn step(&mut self) -> Result<StepReport> {
        let (start, step) = (Instant::now(), self.step);
        let (loss, mut gradients) = self.loss_and_gradients()?;
        let grad_norm = finite(loss, &gradients, step)?;
        gradients.clip(grad_norm, self.config.max_grad_norm)?;
        let lr = self.learning_rate.at(step, self.config.steps);
        self.optimizer.step(&self.params, &gradients, lr, step + 1)?;
        self.update_averages()?;
        self.step += 1;
        self.images_seen += self.config.batch_size as u64;

        let schedule = self.objective.describe(step);
        let wall_secs = start.elapsed().as_secs_f64();
        Ok(StepReport {
            step: self.step,
            images_seen: self.images_seen,
            loss,
            grad_norm,
            lr,
            schedule,
            wall_secs,
        })
    }

    /// Loss and gradients of the next batch, without moving anything.
    ///
    /// # Errors
    /// Data that cannot be read, or a device that is out of memory.
    pub fn loss_and_gradients(&self) -> Result<(f64, Gradients)> {
        let part = self.config.micro_batch_size.unwrap_or(self.config.batch_size);
        let (mut loss, mut gradients) = self.part(self.images_seen)?;
        for offset in (part..self.config.batch_size).step_by(part) {
            let (part_loss, part_gradients) = self.part(self.images_seen + offset as u64)?;
            loss += part_loss;
            gradients.add(part_gradients)?;
        }
        Ok((loss, gradients))
    }

    /// Loss and gradients of the part of a batch that begins with image `first_image`, as its share of the batch's mean.
    fn part(&self, first_image: u64) -> Result<(f64, Gradients)> {
        let examples = self.draw(first_image)?;
        let training = Training { network: &*self.network, range: self.range, seed: self.seed };
        let teacher = self.target.as_ref().unwrap_or(&self.params).constants();
        let target = training.target(&teacher, &examples)?;
        let tape = Tape::new();
        let student = self.params.watched(&tape).with_activations(self.config.activations());
        let loss = training.loss(&student, &examples, &target, self.objective.metric(self.step))?;

        let value = loss.tensor().to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let mut gradients = tape.backward(&loss)?;
        let leaves = (0..self.params.layout().len()).map(|idx| gradients.take(idx)).collect();
        Ok((value, Gradients::new(leaves)))
    }

    /// The samples from image `first_image` on, and everything random that they need.
    fn draw(&self, first_image: u64) -> Result<Examples> {
        let batch = self.batches.batch(first_image, &self.device)?;
        let size = batch.x.dim(0)?;
        let images: Vec<u64> = (first_image..).take(size).collect();
        let uniform = |&image: &u64| Stream::new(self.seed, Purpose::Sigma, image, 0).uniform();
        let mut pairs = self.objective.pairs(self.step, &images.iter().map(uniform).collect::<Vec<_>>())?;
        let share = size as f64 / self.config.batch_size as f64;
        for pair in &mut pairs {
            pair.weight *= share;
        }
        let noise = normal(
            self.seed,
            Purpose::Noise,
            0,
            first_image,
            size,
            self.network.sample_shape(),
            &self.device,
        )?;
        Ok(Examples { x0: batch.x, noise, pairs, labels: batch.labels, images })
    }

    fn update_averages(&self) -> Result<()> {
        if let (Some(target), Target::Average { mu }) = (&self.target, self.objective.target(self.step)) {
            average::decay(target, &self.params, mu)?;
        }
        self.averages.iter().try_for_each(|average| {
            average.update(&self.params, self.step + 1, self.config.batch_size as u64)
        })
    }

    /// Whether all steps are made.
    pub fn is_finished(&self) -> bool {
        self.step >= self.config.steps
    }

    /// Steps made so far.
    pub fn steps_made(&self) -> u64 {
        self.step
    }

    /// Images seen so far: the position in the data.
    pub fn images_seen(&self) -> u64 {
        self.images_seen
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The data of the run.
    pub fn data(&self) -> &Dataset {
        self.batches.dataset()
    }

    /// The weights as they are after the last step.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The averages of the weights; the first is the one to sample.
    pub fn averages(&self) -> &[Average] {
        &self.averages
    }

    /// The model with the weights of the first average, sharing their memory.
    ///
    /// # Errors
    /// None that the trainer's constructor has not refused.
    pub fn model(&self) -> Result<ConsistencyModel> {
        self.model_of(&self.averages[0])
    }

    /// The model with the weights of `average`, sharing their memory.
    pub(crate) fn model_of(&self, average: &Average) -> Result<ConsistencyModel> {
        Ok(ConsistencyModel::new(Arc::clone(&self.network), average.params().clone(), self.range)?)
    }
}

fn finite(loss: f64, gradients: &Gradients, step: u64) -> Result<f64> {
    let step = step + 1;
    if !loss.is_finite() {
        return Err(Error::NonFiniteLoss { step, loss });
    }
    let norm = gradients.norm()?;
    if norm.is_finite() { Ok(norm) } else { Err(Error::NonFiniteGradient { step, norm }) }
}

fn check_data(network: &dyn Network, data: &Dataset) -> Result<()> {
    if network.sample_shape() != data.sample_shape() {
        return Err(Error::DataShape {
            network: network.sample_shape().to_vec(),
            data: data.sample_shape().to_vec(),
        });
    }
    match (network.num_classes(), data.num_classes().unwrap_or(0)) {
        (Some(network), data) if data == 0 || data > network => Err(Error::DataClasses { network, data }),
        _ => Ok(()),
    }
}

fn learning_rate(config: &TrainConfig) -> Result<LearningRate> {
    let decay = match config.lr_schedule {
        LrSchedule::Constant => Decay::Constant,
        LrSchedule::Cosine => Decay::Cosine { final_ratio: 0.0 },
        LrSchedule::InverseSqrt => Decay::InverseSqrt { ref_steps: config.warmup_steps.max(1) },
    };
    Ok(LearningRate::new(config.lr, config.warmup_steps, decay)?)
}
