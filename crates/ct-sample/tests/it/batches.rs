use ct_sample::{
    Draw, Error, SeededNoise, in_batches, multistep,
    testing::{Gaussian, GaussianConsistency},
};

const SIGMAS: [f64; 3] = [80.0, 3.0, 0.5];

fn model() -> GaussianConsistency {
    GaussianConsistency::new(Gaussian::isotropic(&[3, 5, 5], 0.1, 0.3).unwrap()).with_num_classes(11)
}

fn bits(images: &candle_core::Tensor) -> Vec<u32> {
    images.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_batch_size_changes_no_bit() {
    let model = model();
    let noise = SeededNoise { seed: 1, first_index: 0 };
    let labels: Vec<u32> = (0..11).collect();
    let draw = Draw::new(&model, 11).with_class_labels(&labels);
    let sample = |batch_size| {
        let sampler = &mut |part: &Draw<'_>| multistep(&model, &SIGMAS, &noise, part);
        bits(&in_batches(&draw, batch_size, sampler, &mut |_| ()).unwrap())
    };
    let whole = sample(11);
    for batch_size in [1, 2, 4, 64] {
        assert!(sample(batch_size) == whole, "batch size {batch_size}");
    }
}

#[test]
fn image_seven_is_image_seven_in_any_count() {
    let model = model();
    let from_zero = SeededNoise { seed: 1, first_index: 0 };
    let from_seven = SeededNoise { seed: 1, first_index: 7 };
    let ten = multistep(&model, &SIGMAS, &from_zero, &Draw::new(&model, 10)).unwrap();
    let alone = multistep(&model, &SIGMAS, &from_seven, &Draw::new(&model, 1)).unwrap();
    assert!(bits(&ten.narrow(0, 7, 1).unwrap()) == bits(&alone));
    let other_seed = SeededNoise { seed: 2, first_index: 7 };
    let other = multistep(&model, &SIGMAS, &other_seed, &Draw::new(&model, 1)).unwrap();
    assert!(bits(&other) != bits(&alone));
}

#[test]
fn nothing_to_do_and_labels_that_do_not_fit_are_errors() {
    let model = model();
    let noise = SeededNoise { seed: 1, first_index: 0 };
    let run = |draw: &Draw<'_>, batch_size| {
        in_batches(draw, batch_size, &mut |part| multistep(&model, &SIGMAS, &noise, part), &mut |_| ())
    };
    assert!(matches!(run(&Draw::new(&model, 0), 1), Err(Error::Zero { .. })));
    assert!(matches!(run(&Draw::new(&model, 1), 0), Err(Error::Zero { .. })));
    let mislabelled = Draw::new(&model, 3).with_class_labels(&[0, 1]);
    assert!(matches!(run(&mislabelled, 2), Err(Error::LabelCount { labels: 2, samples: 3 })));
}
