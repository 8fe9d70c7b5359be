//! Random cases: shapes from a seed that every failure names.
//!
//! A test draws its cases from the seeds `CT_TEST_SEED`, `CT_TEST_SEED + 1`, .., by default from 1 on,
//! and `CT_TEST_CASES` of them in place of its own number.
//! So `CT_TEST_SEED=17 CT_TEST_CASES=1` repeats the case of seed 17, and a large number searches for a long time.

use std::fmt::Debug;

/// Draws whole numbers from a seed (`SplitMix64`).
#[derive(Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// One of `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// One of the choices.
    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Heads or tails.
    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Uniform in [low, high).
    pub(crate) fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Samples in a batch: one in every third case.
    pub(crate) fn batch(&mut self) -> usize {
        self.one_of(&[1, 1, 2, 2, 3, 5])
    }

    /// Rows or columns of an image: often one, often odd.
    pub(crate) fn side(&mut self) -> usize {
        self.one_of(&[1, 1, 2, 3, 4, 5, 6, 7, 9])
    }

    /// Channels: one, whole vectors, and one less or more than those.
    pub(crate) fn channels(&mut self) -> usize {
        self.one_of(&[1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33])
    }
}

/// Runs `test` on as many random cases as asked for, and says which one failed.
pub(crate) fn random_cases<C: Debug>(
    default_count: u64,
    draw: impl Fn(&mut Draw) -> C,
    test: impl Fn(&str, &mut Draw, C),
) {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect("CT_TEST_SEED and CT_TEST_CASES are numbers"),
        Err(_) => default,
    };
    let first = number("CT_TEST_SEED", 1);
    for seed in first..first + number("CT_TEST_CASES", default_count) {
        let mut numbers = Draw::new(seed);
        let case = draw(&mut numbers);
        let name = format!("CT_TEST_SEED={seed} CT_TEST_CASES=1: {case:?}");
        let _naming = Naming(&name);
        test(&name, &mut numbers, case);
    }
}

/// Names the case on the way out of a panic, whatever the panic itself says.
struct Naming<'a>(&'a str);

impl Drop for Naming<'_> {
    #[expect(clippy::print_stderr, reason = "part of the message of a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat the case that failed: {}", self.0);
        }
    }
}
