//! What all edits have in common: the model, the pictures, the steps and where results go.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use ct_model::folder::Loaded;
use ct_model::{ConsistencyModel, Denoiser};
use ct_sample::{
    Draw, Guided, NoiseSource, RecordedNoise, SeededNoise, check_sigmas, default_sigmas, in_batches,
};

use super::inputs::{self, Inputs};
use super::output::Outputs;
use crate::global::Global;
use crate::mistake::mistake;
use crate::ruler::spread;
use crate::{model_path, real_data, sampling, terminal};

/// Options of every edit.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// A model folder, a checkpoint, or a run folder, of which the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    pub(super) model: PathBuf,
    /// The class of all results, by its number, for a model that knows classes [default: all classes in turn].
    #[arg(long, value_name = "K")]
    class: Option<u32>,
    /// How far results are led towards their class, for a model trained with hidden labels; 1 is not at all.
    #[arg(long, value_name = "SCALE")]
    guidance: Option<f64>,
    /// Recorded noise, `noise.0`, `noise.1`, .., in the place of --seed.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "seed")]
    noise: Option<PathBuf>,
    /// Leave the estimates of the network as they are, also outside of [-1, 1].
    #[arg(long)]
    no_clip: bool,
    /// Results to make at once; they do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    #[command(flatten)]
    pub(super) outputs: Outputs,
}

/// The pictures that go in.
#[derive(Debug, clap::Args)]
pub(super) struct Pictures {
    /// Pictures (PNG, JPEG, WebP), or a safetensors file with `input` [N, C, H, W] in [-1, 1].
    #[arg(long, required_unless_present = "data", num_args = 1.., value_name = "FILE")]
    pub(super) input: Vec<PathBuf>,
    /// Held-out pictures of a data set in the place of files, such as digits or idx:PATH; implies --measure.
    #[arg(long, value_name = "SPEC", conflicts_with = "input")]
    data: Option<String>,
    /// How many pictures of --data.
    #[arg(long = "pictures", id = "pictures", value_name = "N", default_value_t = 8, requires = "data", value_parser = clap::value_parser!(u32).range(1..))]
    num: u32,
    /// Cut pictures of another size to the model's proportions and resize them.
    #[arg(long)]
    pub(super) fit: bool,
}

impl Pictures {
    /// Whether the pictures are whole because they are those of a data set.
    pub(super) fn are_of_data(&self) -> bool {
        self.data.is_some()
    }

    /// The file of tensors that the pictures are in, if they are in one.
    pub(super) fn tensor_file(&self) -> Option<&Path> {
        match &self.input[..] {
            [path] if inputs::is_tensor_file(path) => Some(path),
            _ => None,
        }
    }
}

/// How many results are made, and in which steps.
#[derive(Debug, clap::Args)]
pub(super) struct Effort {
    /// Results for each input.
    #[arg(long = "num", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) per_input: u32,
    /// Steps for each result.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// Noise levels, descending, in the place of --steps.
    #[arg(long, value_name = "S,S,..", value_delimiter = ',', conflicts_with = "steps")]
    sigmas: Vec<f64>,
}

impl Effort {
    /// The noise levels that were asked for.
    pub(super) fn sigmas(&self, editor: &Editor) -> Result<Vec<f64>> {
        let range = editor.model().noise_range();
        let sigmas = match &self.sigmas[..] {
            [] => default_sigmas(range, usize::from(self.steps))?,
            sigmas => sigmas.to_vec(),
        };
        editor.check_sigmas(&sigmas)?;
        Ok(sigmas)
    }
}

/// What makes the results of a draw, from the model (guided, if that was asked for) and the noise.
type Make<'a> = dyn FnMut(&dyn Denoiser, &dyn NoiseSource, &Draw<'_>) -> ct_sample::Result<Tensor> + 'a;

/// A model that is ready to edit.
pub(super) struct Editor {
    loaded: Loaded,
    noise: Box<dyn NoiseSource>,
    guidance: Option<f64>,
    class: Option<u32>,
    clip: bool,
    batch_size: usize,
    pub(super) seed: u64,
    start: Instant,
}

impl Editor {
    /// Opens the model, and checks what can be checked of the options.
    pub(super) fn open(common: &Common, global: &Global) -> Result<Self> {
        let start = Instant::now();
        common.outputs.check()?;
        let seed = global.seed.unwrap_or(0);
        let noise: Box<dyn NoiseSource> = match &common.noise {
            Some(path) => Box::new(RecordedNoise::load(path)?),
            None => Box::new(SeededNoise { seed, first_index: 0 }),
        };
        let loaded = global.load(&model_path::find(&common.model)?)?;
        let model = &loaded.model;
        if model.sample_shape().len() != 3 {
            return Err(mistake(
                "this model makes vectors, and ct edits pictures; the library edits both (ct_sample::edit)",
            ));
        }
        sampling::check_class(model, common.class)?;
        if let Some(scale) = common.guidance {
            Guided::new(model, scale)?;
        }
        let batch_size =
            common.batch.map_or(sampling::batch_size(model.sample_shape()), |batch| batch as usize);
        let clip = sampling::clips(model) && loaded.card.clip_denoised && !common.no_clip;
        let (guidance, class) = (common.guidance, common.class);
        Ok(Self { loaded, noise, guidance, class, clip, batch_size, seed, start })
    }

    pub(super) fn model(&self) -> &ConsistencyModel {
        &self.loaded.model
    }

    pub(super) fn device(&self) -> &Device {
        self.model().device()
    }

    pub(super) fn is_denoiser(&self) -> bool {
        sampling::is_denoiser(&self.loaded.card)
    }

    /// C, H and W of the model's images.
    pub(super) fn shape(&self) -> [usize; 3] {
        match *self.model().sample_shape() {
            [channels, height, width] => [channels, height, width],
            _ => [0; 3],
        }
    }

    pub(super) fn check_sigmas(&self, sigmas: &[f64]) -> Result<()> {
        check_sigmas(sigmas, self.model().noise_range())?;
        sampling::check_trained(&self.loaded.card, sigmas, self.model().noise_range())
    }

    /// Makes results in batches, with a bar.
    ///
    /// # Shapes
    /// The result is `[num, C, H, W]`.
    pub(super) fn make(&self, num: usize, make: &mut Make<'_>) -> Result<Tensor> {
        let guided = self.guidance.map(|scale| Guided::new(self.model(), scale)).transpose()?;
        let model: &dyn Denoiser = guided.as_ref().map_or(self.model(), |guided| guided);
        let class_labels = match self.class {
            Some(class) => Some(vec![class; num]),
            None => sampling::classes_in_turn(model, num),
        };
        let draw = Draw { samples: 0..num, class_labels: class_labels.as_deref(), clip: self.clip };
        let mut make = |part: &Draw<'_>| make(model, &*self.noise, part);
        Ok(terminal::with_bar("results", num, |progress| {
            in_batches(&draw, self.batch_size, &mut make, progress)
        })?)
    }

    /// Reads pictures of the model's shape.
    pub(super) fn read(&self, pictures: &Pictures) -> Result<Inputs> {
        match &pictures.data {
            Some(spec) => self.held_out(spec, pictures.num as usize),
            None => Inputs::read(&pictures.input, self.shape(), pictures.fit, self.device()),
        }
    }

    /// Held-out pictures of a data set, evenly over all of them, or over the whole set if none are held out.
    fn held_out(&self, spec: &str, num: usize) -> Result<Inputs> {
        let data = real_data::load(spec, self.model().sample_shape(), self.seed)?;
        let data = data.held_out.unwrap_or(data.train);
        let x = data.tensor(&spread(data.len(), num))?.to_device(self.device())?;
        Ok(Inputs { x, transparent: None, mask: None })
    }

    /// Seconds since the command began.
    pub(super) fn secs(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Rows of a tensor for consecutive results, of which every input has `per_input`.
///
/// # Shapes
/// `x`: `[N, ..]`; the result is `[samples, ..]`.
pub(super) fn rows_for(
    x: &Tensor,
    samples: std::ops::Range<usize>,
    per_input: usize,
) -> candle_core::Result<Tensor> {
    let rows: Vec<u32> = samples.filter_map(|sample| u32::try_from(sample / per_input).ok()).collect();
    x.index_select(&Tensor::new(rows, x.device())?, 0)
}
