//! Batches as a pure function of the number of images seen.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use ct_random::{Purpose, Stream, permutation};

use crate::{Dataset, Error, Result};

/// Deals out a data set in a new random order each epoch, without an end.
///
/// Image number `n` of a run is sample `permutation(seed, Shuffle, n / len)[n % len]` of the data set, and stream
/// `(seed, Flip, n, 0)` says whether it is mirrored. There is no state but a cache, so the position in the data is the
/// number of images seen, and a batch may begin in one epoch and end in the next.
#[derive(Debug)]
pub struct Batches {
    dataset: Arc<Dataset>,
    batch_size: usize,
    seed: u64,
    flip: bool,
    /// The last epoch used and its order.
    order: Mutex<Option<(u64, Arc<[u32]>)>>,
}

/// Some samples with their labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The samples: `[B, C, H, W]` f32 in [-1, 1], or `[B, D]` f32.
    pub x: Tensor,
    /// The class of each sample, if the data set has labels.
    pub labels: Option<Vec<u32>>,
    /// Which samples of the data set they are.
    pub indices: Vec<u32>,
}

impl Batches {
    /// Batches of `batch_size` samples; `flip` mirrors every other image, by chance.
    ///
    /// # Errors
    /// If the batch size is 0, or if `flip` is set for vectors, which have no left and right.
    /// Images are flipped on request even where [`Dataset::flip_allowed`] advises against it.
    pub fn new(dataset: Arc<Dataset>, batch_size: usize, seed: u64, flip: bool) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::BatchSize);
        }
        if flip && dataset.sample_shape().len() != 3 {
            return Err(Error::NotImages { name: dataset.name().to_owned(), option: "flip" });
        }
        Ok(Self { dataset, batch_size, seed, flip, order: Mutex::new(None) })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Samples in each batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The images numbered `images_seen..images_seen + batch_size`, on `device`.
    ///
    /// # Errors
    /// If the tensor cannot be made on the device.
    pub fn batch(&self, images_seen: u64, device: &Device) -> Result<Batch> {
        let numbers = (0..self.batch_size).map(|j| images_seen.wrapping_add(j as u64));
        let indices: Vec<u32> = numbers.clone().map(|n| self.sample_at(n)).collect();
        let samples = numbers.zip(&indices).map(|(n, &index)| (index as usize, self.is_flipped(n)));
        let x = self.dataset.gather(samples)?.to_device(device)?;
        let labels =
            self.dataset.labels().map(|labels| indices.iter().map(|&i| labels[i as usize]).collect());
        Ok(Batch { x, labels, indices })
    }

    /// Which sample image number `n` is.
    fn sample_at(&self, n: u64) -> u32 {
        let len = self.dataset.len() as u64;
        let order = self.order_of(n / len);
        #[expect(clippy::cast_possible_truncation, reason = "less than the length, a usize")]
        order[(n % len) as usize]
    }

    /// The order of an epoch, from the cache if it is the last one used.
    fn order_of(&self, epoch: u64) -> Arc<[u32]> {
        // A panic elsewhere cannot leave a wrong order behind: it is replaced in one assignment.
        let mut cached = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((of, order)) if *of == epoch => Arc::clone(order),
            _ => {
                let order = permutation(self.seed, Purpose::Shuffle, epoch, self.dataset.len());
                let order: Arc<[u32]> = order.into();
                *cached = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }

    /// Whether image number `n` is mirrored.
    fn is_flipped(&self, n: u64) -> bool {
        self.flip && Stream::new(self.seed, Purpose::Flip, n, 0).below(2) == 1
    }
}
