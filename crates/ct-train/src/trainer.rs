//! The training step.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use ct_data::{Batches, Dataset};
use ct_kernels::{Tape, Value};
use ct_model::{ConsistencyModel, Network, NoiseRange, Parameterization, Params};
use ct_random::{Purpose, Stream};
use ct_schedule::{Decay, LearningRate, Preconditioning};

use crate::augment::Augmentation;
use crate::average::{self, Average};
use crate::draws::{Drawn, Draws};
use crate::gradients::Beside;
use crate::log_variance::LogVariance;
use crate::loss::Loss;
use crate::objective::{self, Ingredients, Objective, Target};
use crate::passes::{Examples, Training};
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
    parameterization: Parameterization,
    preconditioning: Preconditioning,
    network: Arc<dyn Network>,
    draws: Draws,
    objective: Box<dyn Objective>,
    loss: Loss,
    learning_rate: LearningRate,
    null_label: bool,
    device: Device,
    pub(crate) params: Params,
    pub(crate) target: Option<Params>,
    pub(crate) averages: Vec<Average>,
    pub(crate) optimizer: Optimizer,
    pub(crate) log_variance: Option<LogVariance>,
    pub(crate) augmentation: Option<Augmentation>,
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

/// What a run is made of, beside its settings.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The network.
    pub network: Arc<dyn Network>,
    /// What is learned from.
    pub data: Arc<Dataset>,
    /// The range of noise.
    pub range: NoiseRange,
    /// How the network's output becomes an estimate; what the recipe usually has if absent.
    pub parameterization: Option<Parameterization>,
    /// The first weights; drawn from the seed if absent.
    pub init: Option<Params>,
    /// The model that a distillation learns from, or the first stage of a second one.
    pub teacher: Option<ConsistencyModel>,
    /// Whether the network's last label stands for no class in particular.
    pub null_label: bool,
    /// Key of all randomness.
    pub seed: u64,
    /// Whether images are mirrored at random.
    pub flip: bool,
}

impl Trainer {
    /// A run at its first step, from random weights.
    ///
    /// # Errors
    /// As for [`from_parts`](Self::from_parts).
    pub fn new(
        network: Arc<dyn Network>,
        data: Arc<Dataset>,
        range: NoiseRange,
        config: TrainConfig,
        seed: u64,
        flip: bool,
        device: &Device,
    ) -> Result<Self> {
        let null_label = config.label_dropout > 0.0;
        let (parameterization, init, teacher) = (None, None, None);
        let parts = Parts { network, data, range, parameterization, init, teacher, null_label, seed, flip };
        Self::from_parts(parts, config, device)
    }

    /// A run at its first step.
    ///
    /// # Errors
    /// A setting out of its range, data that does not suit the network, or a teacher that is missing or of another shape:
    /// everything that can be known before the work starts.
    pub fn from_parts(parts: Parts, config: TrainConfig, device: &Device) -> Result<Self> {
        let Parts { network, data, range, parameterization, init, teacher, null_label, seed, flip } = parts;
        config.validate()?;
        range.validate()?;
        check_data(&*network, &data, null_label)?;
        if config.label_dropout > 0.0 && !null_label {
            return Err(Error::Config {
                key: "train.label_dropout",
                value: config.label_dropout.to_string(),
                range: "0, since the network has no label for no class in particular",
            });
        }
        teacher.as_ref().map_or(Ok(()), |teacher| check_teacher(&*network, &**teacher.network()))?;

        let teacher = teacher.map(|teacher| teacher.with_precision(config.precision));
        let num_values = network.sample_shape().iter().product();
        let parameterization = parameterization.unwrap_or(config.recipe.parameterization());
        parameterization.check_network(&*network, &range)?;
        let ingredients =
            Ingredients { config: &config, range, parameterization, num_values, teacher: teacher.as_ref() };
        let objective = objective::build(&ingredients)?;
        let loss = Loss::new(&config, network.sample_shape(), device)?;
        let learning_rate = learning_rate(&config)?;
        let micro_batch_size = config.micro_batch_size.unwrap_or(config.batch_size);
        let batches = Batches::new(data, micro_batch_size, seed, flip)?;
        let augmentation = Augmentation::new(&config, &*network, device)?;
        let draws = Draws::new(batches, augmentation.as_ref().map(|it| it.config), seed, device);

        let params = match init {
            Some(init) => init.deep_copy()?,
            None => Params::init(network.layout(), seed, device)?,
        };
        let target = match objective.target_weights(0) {
            Target::Student => None,
            Target::Average { .. } => Some(params.deep_copy()?),
        };
        let averages = Average::all(&config, &params)?;
        let optimizer = Optimizer::new(&config, &params)?;
        let log_variance = config.learned_weighting.then(|| LogVariance::new(seed)).transpose()?;
        Ok(Self {
            preconditioning: parameterization.preconditioning(&range)?,
            parameterization,
            config,
            seed,
            range,
            network,
            draws,
            objective,
            loss,
            learning_rate,
            null_label,
            device: device.clone(),
            params,
            target,
            averages,
            optimizer,
            log_variance,
            augmentation,
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
        self.update_beside(gradients, lr)?;
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
        let augment_weight = self.augmentation.as_ref().map(Augmentation::constant);
        let training = self.training(augment_weight.as_ref());
        let precision = self.config.precision;
        let teacher = self.target.as_ref().unwrap_or(&self.params).constants().with_precision(precision);
        let target = self.objective.target(self.step, &training, &teacher, &examples)?;
        let tape = Tape::new();
        let student = self.params.watched(&tape);
        let student = student.with_activations(self.config.activations()).with_precision(precision);
        let augment_weight = self.augmentation.as_ref().map(|augmentation| augmentation.watched(&tape));
        let estimate =
            self.objective.estimate(&self.training(augment_weight.as_ref()), &student, &examples)?;
        let (weights, offset, log_variance) = self.weights(&examples, &estimate, &target)?;
        let loss = self.loss.of(self.objective.difference(self.step), &estimate, &target, &weights)?;

        let mut gradients = tape.backward(&loss)?;
        // Read when all is on its way: a GPU is waited for here.
        let value = loss.tensor().to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let num_params = self.params.layout().len();
        let leaves = (0..num_params).map(|idx| gradients.take(idx)).collect();
        let augment = self.augmentation.as_ref().and_then(|_| gradients.take(num_params));
        let mut gradients = Gradients::new(leaves, Beside { log_variance, augment });
        if !self.device.is_cpu() {
            gradients = gradients.in_one_piece(self.params.layout())?;
        }
        Ok((value + offset, gradients))
    }

    /// The network in training.
    fn training<'a>(&'a self, augment_weight: Option<&'a Value>) -> Training<'a> {
        let Self { network, preconditioning, seed, .. } = self;
        Training { network: &**network, preconditioning: *preconditioning, augment_weight, seed: *seed }
    }

    /// The weight of each sample, what the loss has beside the weighted differences, and the gradient of learned weights.
    fn weights(
        &self,
        examples: &Examples,
        estimate: &Value,
        target: &Tensor,
    ) -> Result<(Vec<f64>, f64, Option<Tensor>)> {
        let mut weights: Vec<f64> = examples.pairs.iter().map(|pair| pair.weight).collect();
        let Some(learned) = &self.log_variance else { return Ok((weights, 0.0, None)) };
        let (sigma, size) = (examples.sigma_hi(), weights.len() as f64);
        let difference = self.objective.difference(self.step);
        let distances = self.loss.differences(difference, estimate.tensor(), target)?;
        let losses: Vec<f64> =
            weights.iter().zip(distances).map(|(weight, distance)| weight * distance / size).collect();
        let share = 1.0 / self.config.batch_size as f64;
        let gradient = learned.gradient(&sigma, &losses, share)?;
        let log_variances = learned.at(&sigma)?;
        for (weight, u) in weights.iter_mut().zip(&log_variances) {
            *weight *= (-u).exp();
        }
        Ok((weights, log_variances.iter().sum::<f64>() * share, Some(gradient)))
    }

    /// The samples from image `first_image` on, and everything random that they need.
    fn draw(&self, first_image: u64) -> Result<Examples> {
        let Drawn { x0, noise, labels, augment_labels, images } = self.draws.part(first_image)?;
        let uniform = |&image: &u64| Stream::new(self.seed, Purpose::Sigma, image, 0).uniform();
        let mut pairs = self.objective.pairs(self.step, &images.iter().map(uniform).collect::<Vec<_>>())?;
        let share = images.len() as f64 / self.config.batch_size as f64;
        for pair in &mut pairs {
            pair.weight *= share;
        }
        let is_conditional = self.network.num_classes().is_some();
        let labels = labels.filter(|_| is_conditional).map(|labels| self.hide_some(labels, &images));
        let here = |x: &Tensor| x.to_device(&self.device);
        let augment_labels = augment_labels.as_ref().map(here).transpose()?;
        Ok(Examples { x0: here(&x0)?, noise: here(&noise)?, pairs, labels, augment_labels, images })
    }

    /// Labels, of which some stand for no class in particular.
    fn hide_some(&self, mut labels: Vec<u32>, images: &[u64]) -> Vec<u32> {
        let last = self.network.num_classes().and_then(|labels| u32::try_from(labels - 1).ok());
        let Some(null) = last.filter(|_| self.config.label_dropout > 0.0) else { return labels };
        for (label, &image) in labels.iter_mut().zip(images) {
            if Stream::new(self.seed, Purpose::LabelDropout, image, 0).uniform() < self.config.label_dropout {
                *label = null;
            }
        }
        labels
    }

    /// Moves what is trained beside the network.
    fn update_beside(&self, gradients: Gradients, lr: f64) -> Result<()> {
        let Beside { log_variance, augment } = gradients.into_beside();
        if let (Some(learned), Some(gradient)) = (&self.log_variance, log_variance) {
            learned.step(&gradient, self.step + 1)?;
        }
        if let Some(augmentation) = &self.augmentation {
            let gradients = Gradients::new(vec![augment], Beside::default());
            augmentation.step(&gradients, lr, self.step + 1)?;
        }
        Ok(())
    }

    fn update_averages(&self) -> Result<()> {
        let target_weights = self.objective.target_weights(self.step);
        if let (Some(target), Target::Average { mu }) = (&self.target, target_weights) {
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
        self.draws.dataset()
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
        let (network, params) = (Arc::clone(&self.network), average.params().clone());
        let model =
            ConsistencyModel::with_parameterization(network, params, self.range, self.parameterization)?;
        Ok(model.with_null_label(self.null_label))
    }

    /// Whether the network's last label stands for no class in particular.
    pub fn has_null_label(&self) -> bool {
        self.null_label
    }

    /// The least noise that the model is trained at, where it is not the least of its range.
    pub fn trained_from_sigma(&self) -> Option<f64> {
        self.objective.trained_from_sigma()
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

fn check_data(network: &dyn Network, data: &Dataset, has_null_label: bool) -> Result<()> {
    if network.sample_shape() != data.sample_shape() {
        return Err(Error::DataShape {
            network: network.sample_shape().to_vec(),
            data: data.sample_shape().to_vec(),
        });
    }
    let classes = network.num_classes().map(|labels| labels.saturating_sub(usize::from(has_null_label)));
    match (classes, data.num_classes().unwrap_or(0)) {
        (Some(network), data) if data == 0 || data > network => Err(Error::DataClasses { network, data }),
        (None, _) if has_null_label => Err(Error::Config {
            key: "train.label_dropout",
            value: "above 0".to_owned(),
            range: "0 for a model without classes; set model.class_conditional = true",
        }),
        _ => Ok(()),
    }
}

/// A teacher is asked about the student's samples and labels.
fn check_teacher(network: &dyn Network, teacher: &dyn Network) -> Result<()> {
    let student_classes = network.num_classes();
    let labels_fit = teacher.num_classes() == student_classes;
    if teacher.sample_shape() == network.sample_shape() && labels_fit {
        return Ok(());
    }
    Err(Error::TeacherShape {
        teacher: teacher.sample_shape().to_vec(),
        student: network.sample_shape().to_vec(),
        teacher_classes: teacher.num_classes(),
        student_classes,
    })
}

fn learning_rate(config: &TrainConfig) -> Result<LearningRate> {
    let decay = match config.lr_schedule {
        LrSchedule::Constant => Decay::Constant,
        LrSchedule::Cosine => Decay::Cosine { final_ratio: 0.0 },
        LrSchedule::InverseSqrt => Decay::InverseSqrt { ref_steps: config.warmup_steps.max(1) },
    };
    Ok(LearningRate::new(config.lr, config.warmup_steps, decay)?)
}
