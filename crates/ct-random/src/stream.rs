//! A stream of random numbers named by `(seed, purpose, step, index)`.

use core::f64::consts::TAU;

use crate::philox::split;
use crate::{Purpose, philox4x32_10};

/// ASCII `CTRS`: keeps key derivation apart from every other use of the block function.
const KEY_DOMAIN: u32 = 0x4354_5253;
const WORDS_PER_BLOCK: usize = 4;

/// A stream of random numbers; see the [crate documentation](crate) for the mapping from its name to its bits.
///
/// Draw `j` of one kind from a fresh stream is a pure function of `j`. Kinds may be mixed: no block feeds two kinds
/// of which one is normal, so the draws stay independent.
///
/// ```
/// use ct_random::{Purpose, Stream};
///
/// let mut stream = Stream::new(0, Purpose::Sample, 0, 0);
/// let (u, z, i) = (stream.uniform(), stream.normal(), stream.below(10));
/// assert!(0.0 < u && u < 1.0 && z.is_finite() && i < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    index: [u32; 2],
    /// The next block to generate.
    next_block: u64,
    /// The current block and how many of its words are used.
    words: [u32; WORDS_PER_BLOCK],
    used: usize,
    /// The second normal of a pair.
    spare: Option<f64>,
}

impl Stream {
    /// The stream of this name, at its start.
    pub fn new(seed: u64, purpose: Purpose, step: u64, index: u64) -> Self {
        let [step_lo, step_hi] = split(step);
        let [key0, key1, _, _] = philox4x32_10([step_lo, step_hi, purpose as u32, KEY_DOMAIN], split(seed));
        Self {
            key: [key0, key1],
            index: split(index),
            next_block: 0,
            words: [0; WORDS_PER_BLOCK],
            used: WORDS_PER_BLOCK,
            spare: None,
        }
    }

    /// The Philox key: with [`Stream::block`]'s counter it lets a GPU make the same numbers. It does not depend on `index`.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Block `b` of the stream, wherever the stream stands.
    #[inline]
    pub fn block(&self, b: u64) -> [u32; 4] {
        let [lo, hi] = split(b);
        philox4x32_10([lo, hi, self.index[0], self.index[1]], self.key)
    }

    /// 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == WORDS_PER_BLOCK {
            self.words = self.take_block();
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// Uniform in the open interval (0, 1): an odd multiple of `2^-53`.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        let lo = self.next_u32();
        let hi = self.next_u32();
        open_unit(lo, hi)
    }

    /// Uniform in the open interval (0, 1) from a single word: an odd multiple of `2^-24`, exact in f32.
    #[inline]
    pub fn uniform_f32(&mut self) -> f32 {
        const STEP: f32 = 1.0 / (1 << 24) as f32;
        ((self.next_u32() >> 9) * 2 + 1) as f32 * STEP
    }

    /// Standard normal, by [`normal_pair`].
    #[inline]
    pub fn normal(&mut self) -> f64 {
        if let Some(z) = self.spare.take() {
            return z;
        }
        let [first, second] = normal_pair(self.take_block());
        self.spare = Some(second);
        first
    }

    /// Uniform in `0..n`, without bias; 0 when `n` is 0.
    ///
    /// Lemire, "Fast random integer generation in an interval" (2019), algorithm 5.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        // 2^32 mod n products of each residue are too many; they are drawn again.
        let excess = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        loop {
            let [lo, hi] = split(u64::from(self.next_u32()) * u64::from(n));
            if lo >= excess {
                return hi;
            }
        }
    }

    /// Fills a slice with standard normals: the values of as many calls of [`Stream::normal`], rounded to f32.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the contract")]
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for value in out {
            *value = self.normal() as f32;
        }
    }

    /// Fills a slice with uniforms: the values of as many calls of [`Stream::uniform_f32`].
    pub fn fill_uniform(&mut self, out: &mut [f32]) {
        for value in out {
            *value = self.uniform_f32();
        }
    }

    fn take_block(&mut self) -> [u32; 4] {
        let block = self.block(self.next_block);
        self.next_block += 1;
        block
    }
}

/// Uniform in the open interval (0, 1) from 52 of 64 bits: `(2 floor(x / 2^12) + 1) 2^-53` with `x = lo + 2^32 hi`.
///
/// The last bit is always set, so neither 0 nor 1 occurs, and `1 - u` is as likely as `u`.
///
/// ```
/// assert_eq!(ct_random::open_unit(0, 0), f64::EPSILON / 2.0);
/// assert_eq!(ct_random::open_unit(u32::MAX, u32::MAX), 1.0 - f64::EPSILON / 2.0);
/// ```
#[inline]
pub fn open_unit(lo: u32, hi: u32) -> f64 {
    const STEP: f64 = f64::EPSILON / 2.0;
    let bits = (u64::from(hi) << 32) | u64::from(lo);
    ((bits >> 12) * 2 + 1) as f64 * STEP
}

/// Two independent standard normals from one block (Box and Muller 1958).
///
/// With `u = open_unit(w0, w1)` and `v = open_unit(w2, w3)`: `sqrt(-2 ln u) cos(2 pi v)` and `sqrt(-2 ln u) sin(2 pi v)`.
/// The largest possible magnitude is 8.57.
#[inline]
pub fn normal_pair([w0, w1, w2, w3]: [u32; 4]) -> [f64; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(open_unit(w0, w1)));
    let (sin, cos) = libm::sincos(TAU * open_unit(w2, w3));
    [radius * cos, radius * sin]
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "equal bits are the contract")]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(1, Purpose::Noise, 2, 3)
    }

    #[test]
    fn words_follow_the_documented_format() {
        let [k0, k1, _, _] = philox4x32_10([2, 0, 4, 0x4354_5253], [1, 0]);
        let mut s = stream();
        assert_eq!(s.key(), [k0, k1]);
        for b in 0..3 {
            let block = philox4x32_10([b, 0, 3, 0], [k0, k1]);
            assert_eq!(block, core::array::from_fn(|_| s.next_u32()));
        }
    }

    #[test]
    fn high_halves_of_step_and_index_count() {
        let high = 1 << 32;
        let names = [(0, 0, 0), (high, 0, 0), (0, high, 0), (0, 0, high)];
        let blocks = names.map(|(seed, step, index)| Stream::new(seed, Purpose::Data, step, index).block(0));
        for i in 0..names.len() {
            assert!(blocks[i + 1..].iter().all(|b| *b != blocks[i]));
        }
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the contract")]
    fn filling_equals_single_draws() {
        let mut filled = [0.0; 33];
        stream().fill_normal(&mut filled);
        let mut single = stream();
        assert!(filled.iter().all(|z| *z == single.normal() as f32));

        stream().fill_uniform(&mut filled);
        let mut single = stream();
        assert!(filled.iter().all(|u| *u == single.uniform_f32()));
    }

    #[test]
    fn a_fill_can_be_split_anywhere() {
        let (mut whole, mut parts) = ([0.0; 21], [0.0; 21]);
        stream().fill_normal(&mut whole);
        let mut s = stream();
        s.fill_normal(&mut parts[..5]);
        s.fill_normal(&mut parts[5..]);
        assert_eq!(whole, parts);
    }

    #[test]
    fn normal_j_comes_from_block_j_over_2() {
        let mut s = stream();
        let fresh = stream();
        for j in 0..10 {
            assert_eq!(s.normal(), normal_pair(fresh.block(j / 2))[usize::from(j % 2 == 1)]);
        }
    }

    #[test]
    fn mixed_kinds_share_no_block() {
        let mut s = stream();
        let fresh = stream();
        assert_eq!(s.next_u32(), fresh.block(0)[0]);
        assert_eq!(s.normal(), normal_pair(fresh.block(1))[0]);
        assert_eq!(s.next_u32(), fresh.block(0)[1]);
        assert_eq!(s.normal(), normal_pair(fresh.block(1))[1]);
    }

    #[test]
    fn below_handles_the_smallest_ranges() {
        let mut s = stream();
        assert!((0..100).all(|_| s.below(0) == 0 && s.below(1) == 0));
    }

    #[test]
    fn f32_uniforms_stay_inside_the_open_interval() {
        const STEP: f32 = 1.0 / (1 << 24) as f32;
        let mut s = stream();
        assert!((0..10_000).map(|_| s.uniform_f32()).all(|u| (STEP..=1.0 - STEP).contains(&u)));
    }
}
