//! Batches as a function of the number of images seen.

use std::sync::Arc;

use candle_core::Device;
use ct_data::{Batch, Batches, Dataset, Error, LoadOptions, Source};
use ct_random::{Purpose, Stream, permutation};

use crate::flat;

/// `len` images of 1x1x2 pixels: the index, then 200, so that a mirrored one is seen.
fn tiny(len: u8) -> Arc<Dataset> {
    let pixels = (0..len).flat_map(|i| [i, 200]).collect();
    let labels = (0..u32::from(len)).collect();
    let names = (0..len).map(|i| format!("class {i}")).collect();
    let data = Dataset::from_images("tiny", [1, 1, 2], pixels).unwrap();
    Arc::new(data.with_labels(labels, names).unwrap())
}

fn batch(batches: &Batches, images_seen: u64) -> Batch {
    batches.batch(images_seen, &Device::Cpu).unwrap()
}

/// What one call for `n` images must equal, from calls for one image.
fn one_by_one(data: &Arc<Dataset>, range: std::ops::Range<u64>) -> (Vec<f32>, Vec<u32>) {
    let single = Batches::new(Arc::clone(data), 1, 3, true).unwrap();
    let images: Vec<Batch> = range.map(|n| batch(&single, n)).collect();
    (
        images.iter().flat_map(|b| flat(&b.x)).collect(),
        images.iter().flat_map(|b| b.indices.clone()).collect(),
    )
}

#[test]
fn batch_size_does_not_change_the_sequence() {
    let data = tiny(7);
    let expected = one_by_one(&data, 0..84);
    for size in [2, 3, 4, 6, 7, 12, 14, 21, 28, 42, 84] {
        let batches = Batches::new(Arc::clone(&data), size, 3, true).unwrap();
        let (mut x, mut indices) = (Vec::new(), Vec::new());
        for start in (0..84).step_by(size) {
            let b = batch(&batches, start);
            assert_eq!(b.x.dims(), [size, 1, 1, 2]);
            assert_eq!(b.labels.as_ref(), Some(&b.indices));
            x.extend(flat(&b.x));
            indices.extend(b.indices);
        }
        assert_eq!((x, indices), expected, "batch size {size}");
    }
}

#[test]
fn pure_in_any_order_of_calls() {
    let data = tiny(7);
    let batches = Batches::new(Arc::clone(&data), 5, 3, true).unwrap();
    for start in [40, 0, 13, 14, 1 << 40, 0, 6] {
        let b = batch(&batches, start);
        assert_eq!((flat(&b.x), b.indices), one_by_one(&data, start..start + 5), "from {start}");
    }
}

#[test]
fn follows_the_documented_formula() {
    let data = tiny(11);
    let batches = Batches::new(Arc::clone(&data), 50, 9, true).unwrap();
    let b = batch(&batches, 17);
    let x = flat(&b.x);
    for (j, n) in (17..67_u64).enumerate() {
        let order = permutation(9, Purpose::Shuffle, n / 11, 11);
        let index = order[(n % 11) as usize];
        assert_eq!(b.indices[j], index);
        let flipped = Stream::new(9, Purpose::Flip, n, 0).below(2) == 1;
        let mut expected = flat(&data.tensor(&[index as usize]).unwrap());
        if flipped {
            expected.reverse();
        }
        assert_eq!(x[2 * j..2 * j + 2], expected);
    }
}

#[test]
fn every_epoch_shows_every_sample_once() {
    let batches = Batches::new(tiny(23), 23, 0, false).unwrap();
    let mut orders = Vec::new();
    for epoch in 0..5 {
        let mut indices = batch(&batches, epoch * 23).indices;
        orders.push(indices.clone());
        indices.sort_unstable();
        assert!(indices.into_iter().eq(0..23));
    }
    orders.dedup();
    assert_eq!(orders.len(), 5);
}

#[test]
fn about_half_the_images_are_flipped_or_none() {
    let count = |flip| {
        let batches = Batches::new(tiny(100), 1000, 4, flip).unwrap();
        let x = flat(&batch(&batches, 0).x);
        // The pixel 200 comes first in a mirrored image; indices are below 100.
        x.chunks(2).filter(|image| image[0] > image[1]).count()
    };
    assert_eq!(count(false), 0);
    // Standard deviation 16; five of them.
    assert!((420..580).contains(&count(true)), "{}", count(true));
}

#[test]
fn vectors_come_without_labels_or_flips() {
    let data = Dataset::from_vectors("v", 3, vec![0.0; 30]).unwrap();
    let data = Arc::new(data);
    let b = batch(&Batches::new(Arc::clone(&data), 4, 0, false).unwrap(), 8);
    assert_eq!(b.x.dims(), [4, 3]);
    assert_eq!(b.labels, None);
    let error = Batches::new(data, 4, 0, true).unwrap_err();
    assert!(matches!(error, Error::NotImages { option: "flip", .. }));
}

#[test]
fn a_batch_of_nothing_is_refused() {
    let digits = Arc::new(Source::Digits.load(&LoadOptions::default()).unwrap());
    assert!(matches!(Batches::new(digits, 0, 0, false), Err(Error::BatchSize)));
}

#[test]
fn own_data_is_checked() {
    let images = |pixels| Dataset::from_images("own", [1, 2, 2], pixels);
    assert!(matches!(images(vec![0; 5]), Err(Error::Shape { found: 5, .. })));
    assert!(matches!(images(vec![]), Err(Error::NoSamples { .. })));
    assert!(matches!(Dataset::from_images("own", [1, 0, 2], vec![]), Err(Error::Shape { .. })));
    let nan = Dataset::from_vectors("own", 2, vec![0.0, f32::NAN]);
    assert!(matches!(nan, Err(Error::NotFinite { index: 1, .. })));

    let two = images(vec![0; 8]).unwrap();
    let names = vec!["a".to_owned()];
    let count = two.clone().with_labels(vec![0], names.clone());
    assert!(matches!(count, Err(Error::LabelCount { samples: 2, labels: 1, .. })));
    let class = two.with_labels(vec![0, 1], names);
    assert!(matches!(class, Err(Error::BadLabel { index: 1, label: 1, classes: 1, .. })));
}
