//! Augmentation from outside: identity, mirrors, independence of the batch, and how often.

use candle_core::{Device, Tensor};
use ct_data::{AUGMENT_LABELS, AugmentConfig, Error, augment, augment_batch};

use crate::flat;

const SHAPE: [usize; 3] = [3, 6, 4];

fn everything(probability: f64) -> AugmentConfig {
    AugmentConfig { xflip: 1.0, yflip: 1.0, ..AugmentConfig::without_flips(probability) }
}

fn picture(number: usize) -> Vec<f32> {
    (0..72).map(|i| ((i * 31 + number * 7) % 73) as f32 / 36.5 - 1.0).collect()
}

fn batch(numbers: &[usize]) -> Tensor {
    let values: Vec<f32> = numbers.iter().flat_map(|&number| picture(number)).collect();
    Tensor::from_vec(values, (numbers.len(), 3, 6, 4), &Device::Cpu).unwrap()
}

#[test]
fn at_probability_0_nothing_changes() {
    for image in 0..50 {
        let (x, label) = augment(&picture(1), SHAPE, &everything(0.0), 7, image).unwrap();
        assert!(x.iter().zip(picture(1)).all(|(got, expected)| got.to_bits() == expected.to_bits()));
        assert_eq!(label, [0.0; AUGMENT_LABELS]);
    }
}

#[test]
fn mirrors_are_exact_and_labelled() {
    let config = AugmentConfig { probability: 1.0, xflip: 1.0, yflip: 1.0, ..AugmentConfig::none() };
    let x = picture(2);
    let mut counts = [0; 2];
    for image in 0..1000 {
        let (y, label) = augment(&x, SHAPE, &config, 7, image).unwrap();
        let [left, up] = [label[0], label[1]].map(|v| v == 1.0);
        assert_eq!(label, [f32::from(left), f32::from(up), 0., 0., 0., 0., 0., 0., 0.]);
        for (i, y) in y.into_iter().enumerate() {
            let (channel, row, column) = (i / 24, i / 4 % 6, i % 4);
            let row = if up { 5 - row } else { row };
            let column = if left { 3 - column } else { column };
            assert_eq!(y, x[channel * 24 + row * 4 + column]);
        }
        counts[0] += usize::from(left);
        counts[1] += usize::from(up);
    }
    // Binomial: mean 500, standard deviation 16.
    assert!(counts.iter().all(|count| (420..580).contains(count)), "{counts:?}");
}

#[test]
fn an_image_is_augmented_the_same_in_any_batch() {
    let (x, numbers) = (batch(&[0, 1, 2, 3]), [10, 11, 12, 13]);
    let (whole, labels) = augment_batch(&x, &everything(0.7), 5, &numbers).unwrap();
    assert_eq!((whole.dims(), labels.dims()), (&[4, 3, 6, 4][..], &[4, 9][..]));
    let (back, back_labels) = augment_batch(&batch(&[3, 1]), &everything(0.7), 5, &[13, 11]).unwrap();
    for (row, of) in [3, 1].into_iter().enumerate() {
        assert_eq!(flat(&back.get(row).unwrap()), flat(&whole.get(of).unwrap()));
        assert_eq!(flat(&back_labels.get(row).unwrap()), flat(&labels.get(of).unwrap()));
        let (alone, label) = augment(&picture(of), SHAPE, &everything(0.7), 5, numbers[of]).unwrap();
        assert_eq!(alone, flat(&whole.get(of).unwrap()));
        assert_eq!(label.to_vec(), flat(&labels.get(of).unwrap()));
    }
    let (other, _) = augment_batch(&x, &everything(0.7), 6, &numbers).unwrap();
    assert_ne!(flat(&other), flat(&whole), "the seed counts");
    assert!(flat(&whole).iter().all(|v| (-1.0..=1.0).contains(v)));
}

#[test]
fn each_transformation_comes_as_often_as_it_should() {
    let (mut counts, mut sums) = ([0_usize; 6], [0.0_f64; 9]);
    let x = [0.5; 1];
    for image in 0..4000 {
        let (_, label) = augment(&x, [1, 1, 1], &everything(0.3), 1, image).unwrap();
        let groups = [0..1, 1..2, 2..3, 3..5, 5..7, 7..9];
        for (count, group) in counts.iter_mut().zip(groups) {
            *count += usize::from(label[group].iter().any(|v| *v != 0.0));
        }
        sums.iter_mut().zip(label).for_each(|(sum, v)| *sum += f64::from(v));
    }
    // Binomial: mean 1200, standard deviation 29; mirrors half of it.
    assert!(counts[..2].iter().all(|count| (500..700).contains(count)), "{counts:?}");
    assert!(counts[2..].iter().all(|count| (1080..1320).contains(count)), "{counts:?}");
    // The mean of cos a - 1 is -1 where an image is turned; the others have the mean 0 and a deviation of at most 35.
    assert!((sums[3] + counts[3] as f64).abs() < 150.0, "{sums:?}");
    let centred = [2, 4, 5, 6, 7, 8];
    assert!(centred.iter().all(|&i| sums[i].abs() < 150.0), "{sums:?}");
}

#[test]
fn a_factor_raises_or_removes_a_chance() {
    let config = AugmentConfig { xflip: 1e8, translate: 0.0, ..AugmentConfig::without_flips(0.1) };
    let labels: Vec<_> =
        (0..400).map(|image| augment(&[0.0], [1, 1, 1], &config, 0, image).unwrap().1).collect();
    let mirrored = labels.iter().filter(|label| label[0] == 1.0).count();
    // Binomial: mean 200, standard deviation 10.
    assert!((150..250).contains(&mirrored), "{mirrored}");
    assert!(labels.iter().all(|label| label[1] == 0.0 && label[7..] == [0.0, 0.0]));
}

#[test]
fn mistakes_are_errors() {
    let message = |config: &AugmentConfig| augment(&[0.0], [1, 1, 1], config, 0, 0).unwrap_err().to_string();
    assert!(message(&everything(1.5)).contains("probability = 1.5"));
    assert!(message(&AugmentConfig { rotate: -1.0, ..everything(0.1) }).contains("rotate = -1"));
    assert!(message(&AugmentConfig { scale: f64::NAN, ..everything(0.1) }).contains("scale"));
    let error = augment(&[0.0; 5], [1, 2, 2], &everything(0.1), 0, 0).unwrap_err();
    assert!(matches!(error, Error::AugmentShape { .. }), "{error}");
    let error = augment_batch(&batch(&[0, 1]), &everything(0.1), 0, &[0]).unwrap_err();
    assert!(error.to_string().contains("one for each of 2 images"), "{error}");
    let vectors = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(augment_batch(&vectors, &everything(0.1), 0, &[0, 1]).is_err());
}
