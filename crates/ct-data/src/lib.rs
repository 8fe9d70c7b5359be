//! Datasets and batches: 2-D toys, embedded digits, image folders, IDX, CIFAR-10.
//!
//! A [`Source`] names a data set, [`Source::load`] brings it into memory as a [`Dataset`], and [`Batches`] deals it out.
//!
//! | spec | samples | split |
//! |---|---|---|
//! | `digits` | 1797 handwritten digits, `[1, 8, 8]`, in the binary | 1500 train, 297 test |
//! | `toy:NAME` | points of a 2-D [`Toy`], `[2]` | 65536 each |
//! | `folder:PATH` | png, jpg, jpeg and webp files, `[C, H, W]` of the size asked for | the folders `train` and `test`; without them one in ten is test, by its name |
//! | `idx:PATH` | the format of MNIST, `[1, H, W]` | the files `train-*` and `t10k-*` |
//! | `cifar10:PATH` | the binary version of CIFAR-10, `[3, 32, 32]` | `data_batch_*.bin` and `test_batch.bin` |
//!
//! Images are kept as bytes and become f32 in [-1, 1] in a batch.
//! Nothing is downloaded.
//!
//! # The position in the data is one number
//! [`Batches::batch`] is a pure function of the number of images seen so far.
//! Image number `n` of a run is sample `permutation(seed, Shuffle, n / len)[n % len]`, and whether it is flipped
//! depends on `(seed, n)` alone.
//! So batches of any size, on any number of machines, before and after a restart, walk the same sequence of images.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use candle_core::Device;
//! use ct_data::{Batches, LoadOptions, Source};
//!
//! let source: Source = "digits".parse()?;
//! let digits = Arc::new(source.load(&LoadOptions::default())?);
//! assert_eq!((digits.len(), digits.sample_shape()), (1500, &[1, 8, 8][..]));
//!
//! let batches = Batches::new(digits, 64, 0, false)?;
//! let batch = batches.batch(0, &Device::Cpu)?;
//! assert_eq!(batch.x.dims(), [64, 1, 8, 8]);
//! # Ok::<(), ct_data::Error>(())
//! ```

mod augment;
mod batches;
mod cifar10;
mod dataset;
mod digits;
mod error;
mod fit;
mod folder;
mod idx;
mod options;
mod source;
mod suggest;
mod toy;

pub use augment::{AUGMENT_LABELS, AugmentConfig, augment, augment_batch};
pub use batches::{Batch, Batches};
pub use dataset::{Dataset, Skipped};
pub use error::{Error, Result};
pub use options::{LoadOptions, Split};
pub use source::Source;
pub use toy::Toy;
