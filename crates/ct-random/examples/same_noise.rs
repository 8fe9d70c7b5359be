//! Sample 5 gets the same noise whether it is drawn alone or in a batch of eight.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ct_random::{Purpose, Stream};

const SEED: u64 = 42;

fn noise(sample: u64) -> [f32; 4] {
    let mut z = [0.0; 4];
    Stream::new(SEED, Purpose::Sample, 0, sample).fill_normal(&mut z);
    z
}

fn main() {
    let batch: Vec<_> = (0..8).map(noise).collect();
    println!("sample 5 in a batch: {:?}", batch[5]);
    println!("sample 5 alone:      {:?}", noise(5));
}

#[test]
#[expect(clippy::float_cmp, reason = "equal bits are the contract")]
fn samples_do_not_depend_on_the_batch() {
    let batch: Vec<_> = (0..8).map(noise).collect();
    assert_eq!(batch[5], noise(5));
    assert_ne!(batch[5], batch[4]);
}
