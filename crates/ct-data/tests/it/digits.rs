//! The embedded digits.

use std::collections::BTreeMap;

use ct_data::{LoadOptions, Source, Split};

use crate::{split, values};

#[test]
fn train_and_test_are_a_partition() {
    let count = |which| {
        let data = Source::Digits.load(&split(which)).unwrap();
        let mut images = BTreeMap::<Vec<i32>, u32>::new();
        for i in 0..data.len() {
            // v / 8 - 1 is exact, so 8 (x + 1) gives the integers back.
            let image = values(&data, &[i]).iter().map(|x| ((x + 1.0) * 8.0) as i32).collect();
            *images.entry(image).or_default() += 1;
        }
        (data.len(), images)
    };
    let (train_len, mut train) = count(Split::Train);
    let (test_len, test) = count(Split::Test);
    let (all_len, all) = count(Split::All);
    assert_eq!((train_len, test_len, all_len), (1500, 297, 1797));
    for (image, n) in test {
        *train.entry(image).or_default() += n;
    }
    assert_eq!(train, all);
}

#[test]
fn values_are_seventeen_exact_levels() {
    let data = Source::Digits.load(&split(Split::All)).unwrap();
    let indices: Vec<usize> = (0..data.len()).collect();
    for x in values(&data, &indices) {
        let level = (x + 1.0) * 8.0;
        assert!(level.fract() == 0.0 && (0.0..=16.0).contains(&level), "{x}");
    }
    // The published set has pixel mean 4.884 and standard deviation 6.017 of 16.
    assert!((data.mean() - (4.884_164_6 / 8.0 - 1.0)).abs() < 1e-6, "{}", data.mean());
    assert!((data.std() - 6.016_787_5 / 8.0).abs() < 1e-6, "{}", data.std());
}

#[test]
fn described_as_documented() {
    let data = Source::Digits.load(&split(Split::Test)).unwrap();
    assert_eq!(data.name(), "digits");
    assert_eq!(data.sample_shape(), [1, 8, 8]);
    assert_eq!(data.num_classes(), Some(10));
    assert_eq!(data.class_names().unwrap()[9], "9");
    assert!(!data.flip_allowed() && !data.is_empty() && data.skipped().is_empty());
    assert!((0..data.len()).all(|i| data.label(i).is_some_and(|label| label < 10)));
    assert_eq!(data.label(data.len()), None);
    assert!(data.tensor(&[data.len()]).is_err());
    // Every class is held out, in about its share of 30.
    for class in 0..10 {
        let n = data.labels().unwrap().iter().filter(|&&l| l == class).count();
        assert!((15..50).contains(&n), "{n} of class {class}");
    }
}

#[test]
fn other_sizes_and_colour() {
    let options = LoadOptions { size: Some([12, 16]), channels: Some(3), ..LoadOptions::default() };
    let data = Source::Digits.load(&options).unwrap();
    assert_eq!(data.sample_shape(), [3, 12, 16]);
    let x = values(&data, &[0, 1]);
    assert_eq!(x[..192], x[192..384]);
    assert!(x.iter().all(|v| v.abs() <= 1.0));
}
