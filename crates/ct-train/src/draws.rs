//! What a step needs from the host: images and noise.
//!
//! For a GPU they are drawn one part of a batch ahead, by a thread of their own, while the device computes.
//! Everything is a function of the number of the first image, so that what is drawn ahead is what would be drawn later,
//! and a run that jumps elsewhere only loses what was drawn for nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use candle_core::{Device, Tensor};
use ct_data::{AugmentConfig, Batch, Batches, Dataset, augment_batch};
use ct_model::normal;
use ct_random::Purpose;

use crate::Result;

/// What was drawn for some images, on the host.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// Clean samples, augmented if some are: `[B, C, H, W]` or `[B, D]`.
    pub(crate) x0: Tensor,
    /// Unit normal noise, as large.
    pub(crate) noise: Tensor,
    /// Label of each sample, if the data has labels.
    pub(crate) labels: Option<Vec<u32>>,
    /// How each image was augmented, if some are: `[B, 9]`.
    pub(crate) augment_labels: Option<Tensor>,
    /// Number of each image, counted over the whole run.
    pub(crate) images: Vec<u64>,
}

/// Draws the parts of batches, one after the other.
#[derive(Debug)]
pub(crate) struct Draws {
    source: Arc<Source>,
    /// The part that is being drawn ahead; absent where nothing is.
    ahead: Option<Mutex<Option<Ahead>>>,
}

#[derive(Debug)]
struct Ahead {
    first_image: u64,
    drawn: JoinHandle<Result<Drawn>>,
}

impl Draws {
    /// Draws from `batches` for work on `device`.
    pub(crate) fn new(batches: Batches, augment: Option<AugmentConfig>, seed: u64, device: &Device) -> Self {
        let ahead = (!device.is_cpu()).then(Mutex::default);
        Self { source: Arc::new(Source { batches, augment, seed }), ahead }
    }

    /// What is learned from.
    pub(crate) fn dataset(&self) -> &Dataset {
        self.source.batches.dataset()
    }

    /// The images from number `first_image` on.
    pub(crate) fn part(&self, first_image: u64) -> Result<Drawn> {
        let Some(ahead) = &self.ahead else { return self.source.part(first_image) };
        let mut ahead = ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let of_thread = ahead.take().filter(|ahead| ahead.first_image == first_image);
        // A thread that failed to give an answer is asked again here.
        let drawn = match of_thread.map(|ahead| ahead.drawn.join()) {
            Some(Ok(drawn)) => drawn?,
            Some(Err(_)) | None => self.source.part(first_image)?,
        };
        *ahead = self.start(first_image + drawn.images.len() as u64);
        Ok(drawn)
    }

    /// Starts to draw a part; without a thread for it, it is drawn when its time comes.
    fn start(&self, first_image: u64) -> Option<Ahead> {
        let source = Arc::clone(&self.source);
        let thread = Builder::new().name("ct-draws".to_owned());
        let drawn = thread.spawn(move || source.part(first_image)).ok()?;
        Some(Ahead { first_image, drawn })
    }
}

#[derive(Debug)]
struct Source {
    batches: Batches,
    augment: Option<AugmentConfig>,
    seed: u64,
}

impl Source {
    fn part(&self, first_image: u64) -> Result<Drawn> {
        let Batch { x, labels, .. } = self.batches.batch(first_image, &Device::Cpu)?;
        let images: Vec<u64> = (first_image..).take(x.dim(0)?).collect();
        let shape = self.batches.dataset().sample_shape();
        let noise = normal(self.seed, Purpose::Noise, 0, first_image, images.len(), shape, &Device::Cpu)?;
        let (x0, augment_labels) = match &self.augment {
            Some(config) => {
                let (x0, labels) = augment_batch(&x, config, self.seed, &images)?;
                (x0, Some(labels))
            }
            None => (x, None),
        };
        Ok(Drawn { x0, noise, labels, augment_labels, images })
    }
}

#[cfg(test)]
mod tests {
    use ct_data::LoadOptions;

    use super::*;

    fn draws(is_ahead: bool) -> Draws {
        let source: ct_data::Source = "digits".parse().unwrap();
        let data = Arc::new(source.load(&LoadOptions::default()).unwrap());
        let augment = AugmentConfig { probability: 0.5, ..AugmentConfig::default() };
        let batches = Batches::new(data, 6, 3, true).unwrap();
        let draws = Draws::new(batches, Some(augment), 3, &Device::Cpu);
        Draws { ahead: is_ahead.then(Mutex::default), ..draws }
    }

    /// All numbers, one after the other.
    fn numbers(drawn: &Drawn) -> Vec<f64> {
        let Drawn { x0, noise, labels, augment_labels, images } = drawn;
        let tensors = [x0, noise, augment_labels.as_ref().unwrap()];
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let values = tensors.into_iter().flat_map(values).map(f64::from);
        let labels = labels.iter().flatten().map(|&label| f64::from(label));
        values.chain(labels).chain(images.iter().map(|&image| image as f64)).collect()
    }

    /// In order, with a jump back as after a resumption, and across the end of an epoch.
    #[test]
    fn what_is_drawn_ahead_is_what_is_drawn_in_time() {
        let (in_time, ahead) = (draws(false), draws(true));
        for first_image in [0, 6, 12, 6, 12, 1494, 1500, 1506] {
            let expected = numbers(&in_time.part(first_image).unwrap());
            assert!(numbers(&ahead.part(first_image).unwrap()) == expected, "from image {first_image} on");
            let next = ahead.ahead.as_ref().unwrap().lock().unwrap();
            assert_eq!(next.as_ref().unwrap().first_image, first_image + 6);
        }
        assert!(in_time.ahead.is_none());
    }
}
