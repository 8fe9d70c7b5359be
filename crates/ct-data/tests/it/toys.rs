//! The 2-D toys.

use ct_data::{Error, LoadOptions, Source, Split, Toy};

use crate::{split, values};

#[test]
fn points_depend_on_seed_and_split_alone() {
    for toy in Toy::ALL {
        let source = Source::Toy(toy);
        let train = source.load(&split(Split::Train)).unwrap();
        let test = source.load(&split(Split::Test)).unwrap();
        let all = source.load(&split(Split::All)).unwrap();
        let reseeded = LoadOptions { seed: 1, ..LoadOptions::default() };
        let reseeded = source.load(&reseeded).unwrap();
        let again = source.load(&split(Split::Train)).unwrap();

        let first: Vec<usize> = (0..100).collect();
        let second: Vec<usize> = (65_536..65_636).collect();
        assert_eq!(values(&train, &first), values(&again, &first), "{toy}");
        assert_eq!(values(&train, &first), values(&all, &first), "{toy}");
        assert_eq!(values(&test, &first), values(&all, &second), "{toy}");
        assert_ne!(values(&train, &first), values(&test, &first), "{toy}");
        assert_ne!(values(&train, &first), values(&reseeded, &first), "{toy}");
        assert_eq!((train.len(), all.len()), (65_536, 131_072));
    }
}

#[test]
fn labels_where_there_are_classes() {
    for toy in Toy::ALL {
        let data = Source::Toy(toy).load(&LoadOptions::default()).unwrap();
        assert_eq!(data.sample_shape(), [2]);
        assert_eq!(data.num_classes(), toy.num_classes());
        assert!(!data.flip_allowed());
        assert_eq!(data.name(), format!("toy:{toy}"));
        let Some(labels) = data.labels() else { continue };
        let classes = toy.num_classes().unwrap();
        for class in 0..classes {
            // Binomial; 8 classes have the smallest count, 8192 with standard deviation 85. Five of them.
            let n = labels.iter().filter(|&&l| l as usize == class).count();
            let expected = data.len() / classes;
            assert!(n.abs_diff(expected) < 700, "{toy}: {n} of {expected}");
        }
    }
}

#[test]
fn the_eight_modes_are_where_they_should_be() {
    let data = Source::Toy(Toy::EightGaussians).load(&LoadOptions::default()).unwrap();
    for i in 0..1000 {
        let x = values(&data, &[i]);
        let angle = f64::from(data.label(i).unwrap()) * std::f64::consts::FRAC_PI_4;
        let offset = (f64::from(x[0]) - 0.7 * angle.cos()).hypot(f64::from(x[1]) - 0.7 * angle.sin());
        // Six standard deviations.
        assert!(offset < 0.3, "{x:?}");
    }
}

#[test]
fn toys_have_no_image_options() {
    let size = LoadOptions { size: Some([8, 8]), ..LoadOptions::default() };
    let channels = LoadOptions { channels: Some(1), ..LoadOptions::default() };
    for (options, expected) in [(size, "size"), (channels, "channels")] {
        let error = Source::Toy(Toy::Spirals).load(&options).unwrap_err();
        assert!(matches!(error, Error::NotImages { option, .. } if option == expected));
    }
}
