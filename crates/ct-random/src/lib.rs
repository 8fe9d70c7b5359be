//! Counter-based random numbers: the same bits on every machine, in every batch, after every resume.
//!
//! A [`Stream`] is named by `(seed, purpose, step, index)` and needs no other state.
//! So sample `i` of step `k` gets the same noise whichever batch, rank or restart it is drawn in.
//!
//! # The format
//! The mapping from names to bits is part of the on-disk contract: a run that is resumed, and a model that is initialized
//! from a seed, depend on it. It changes only with a new format version.
//!
//! | quantity | definition |
//! |---|---|
//! | seed key | `[seed low, seed high]` |
//! | stream key | words 0 and 1 of [`philox4x32_10`]`([step low, step high, purpose, 0x4354_5253], seed key)` |
//! | block `b` | [`philox4x32_10`]`([b low, b high, index low, index high], stream key)`: four words `w0..w3` |
//! | 32-bit word `j` | word `j mod 4` of block `j / 4` |
//! | uniform `j` | from the word pair `w[2j], w[2j+1]` by [`open_unit`] |
//! | normals `2b`, `2b+1` | from block `b` by [`normal_pair`] |
//!
//! Seed, step and index are full 64-bit numbers; `0x4354_5253` is ASCII `CTRS` and keeps key derivation apart.
//! Two `(purpose, step)` pairs share a stream only if their 64-bit keys collide (chance `2^-64` per pair).
//!
//! Logarithm and sine come from `libm`, in f64, so the values too are the same on every platform, not just the bits.
//!
//! # Example
//! ```
//! use ct_random::{Purpose, Stream};
//!
//! let mut noise = [0.0_f32; 4];
//! Stream::new(7, Purpose::Noise, 1000, 3).fill_normal(&mut noise);
//!
//! let mut again = Stream::new(7, Purpose::Noise, 1000, 3);
//! assert!(noise.iter().all(|&z| z == again.normal() as f32));
//! ```

mod name;
mod permutation;
mod philox;
mod purpose;
mod stream;

pub use name::hash_name;
pub use permutation::permutation;
pub use philox::philox4x32_10;
pub use purpose::Purpose;
pub use stream::{Stream, normal_pair, open_unit};
