//! Every measurement against what a linear map with orthonormal rows must do.

use candle_core::{DType, Device, Tensor};
use ct_sample::{
    BayerPattern, Blur, DEFAULT_RCOND, Draw, Error, Known, Luma, Mask, MatrixMeasurement, Measurement,
    NoiseSource, PatchMeans, RandomCosines, SeededNoise, bayer_mask, default_sigmas, edit, gaussian_kernel,
    rectangle_mask, scattered_mask,
    testing::{Gaussian, GaussianConsistency},
};

use crate::moments::largest_difference;

const COLOUR: [usize; 3] = [3, 8, 6];
const GRAY: [usize; 3] = [1, 7, 5];
const NOISE: SeededNoise = SeededNoise { seed: 11, first_index: 0 };

fn batch(num: usize, shape: &[usize]) -> Tensor {
    (NOISE.noise(0, 0..num, shape, &Device::Cpu).unwrap() * 0.5).unwrap()
}

/// A kernel that is no product of a column and a row.
fn slanted_kernel() -> Tensor {
    Tensor::new(&[[3f64, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 3.0]], &Device::Cpu).unwrap()
}

/// All kinds of measurement, with the shape of their samples.
fn all() -> Vec<(&'static str, Box<dyn Measurement>, &'static [usize])> {
    let matrix = |rows: usize, columns: usize| batch(rows, &[columns]);
    let mask = |mask: &Tensor, shape: &[usize]| Box::new(Mask::new(mask, shape).unwrap());
    vec![
        ("hole", mask(&rectangle_mask(&COLOUR, 1, 2, 3, 3).unwrap(), &COLOUR), &COLOUR),
        ("missing", mask(&scattered_mask(&GRAY, 3, 0.5, 1).unwrap(), &GRAY), &GRAY),
        ("bayer", mask(&bayer_mask(BayerPattern::Grbg, &COLOUR).unwrap(), &COLOUR), &COLOUR),
        ("one coordinate", mask(&Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap(), &[2]), &[2]),
        ("luma", Box::new(Luma::new(Luma::BT601, &COLOUR).unwrap()), &COLOUR),
        ("patches", Box::new(PatchMeans::new(2, &COLOUR).unwrap()), &COLOUR),
        ("matrix", Box::new(MatrixMeasurement::new(&matrix(20, 35), &GRAY, DEFAULT_RCOND).unwrap()), &GRAY),
        ("tall matrix", Box::new(MatrixMeasurement::new(&matrix(60, 35), &GRAY, 0.5).unwrap()), &GRAY),
        ("channels", Box::new(MatrixMeasurement::new(&matrix(20, 48), &COLOUR, 0.05).unwrap()), &COLOUR),
        ("vector", Box::new(MatrixMeasurement::new(&matrix(1, 2), &[2], DEFAULT_RCOND).unwrap()), &[2]),
        (
            "gaussian blur",
            Box::new(Blur::new(&gaussian_kernel(1.0).unwrap(), &COLOUR, 0.02).unwrap()),
            &COLOUR,
        ),
        ("slanted blur", Box::new(Blur::new(&slanted_kernel(), &COLOUR, 0.1).unwrap()), &COLOUR),
        ("cosines", Box::new(RandomCosines::new(0.3, &COLOUR, 5).unwrap()), &COLOUR),
        ("cosines of vectors", Box::new(RandomCosines::new(0.5, &[2], 5).unwrap()), &[2]),
    ]
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let product = (a.to_dtype(DType::F64).unwrap() * b.to_dtype(DType::F64).unwrap()).unwrap();
    product.sum_all().unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn rows_are_orthonormal_and_the_projection_is_one() {
    for (name, measurement, shape) in all() {
        let x = batch(3, shape);
        let c = measurement.measure(&x).unwrap();
        // M M^T = I on coordinates, where they are coordinates: masks and blurs fill the rest with zeros.
        let again = measurement.measure(&measurement.adjoint(&c).unwrap()).unwrap();
        assert!(largest_difference(&again, &c) < 2e-6, "{name}: M M^T is not the identity");
        // M^T is the adjoint of M.
        let other = measurement.measure(&batch(6, shape).narrow(0, 3, 3).unwrap()).unwrap();
        let (left, right) = (dot(&c, &other), dot(&x, &measurement.adjoint(&other).unwrap()));
        assert!((left - right).abs() < 1e-5 * left.abs().max(1.0), "{name}: {left} for {right}");
        // R(R(x)) = R(x), and R changes nothing that agrees already.
        let target = measurement.measure(&batch(9, shape).narrow(0, 6, 3).unwrap()).unwrap();
        let once = measurement.project(&x, &target).unwrap();
        let twice = measurement.project(&once, &target).unwrap();
        assert!(largest_difference(&once, &twice) < 2e-6, "{name}: R is no projection");
        assert!(largest_difference(&measurement.project(&x, &c).unwrap(), &x) < 2e-6, "{name}");
    }
}

#[test]
fn observations_lead_to_the_same_coordinates() {
    for (name, measurement, shape) in all() {
        let x = batch(3, shape);
        let seen = measurement.coordinates(&measurement.observe(&x).unwrap()).unwrap();
        let difference = largest_difference(&seen, &measurement.measure(&x).unwrap());
        // Divided by singular values down to 0.02, the rounding of the observation is 50 times as large.
        assert!(difference < 2e-5, "{name}: off by {difference}");
    }
}

#[test]
fn what_was_measured_is_kept_by_an_edit() {
    for (name, measurement, shape) in all() {
        let model = GaussianConsistency::new(Gaussian::isotropic(shape, 0.1, 0.2).unwrap());
        let x = batch(3, shape);
        let known = Known::observed(&*measurement, &measurement.observe(&x).unwrap()).unwrap();
        let sigmas = default_sigmas(model.gaussian().range, 8).unwrap();
        let edited = edit(&model, &known, &sigmas, &NOISE, &Draw::new(&model, 3)).unwrap();
        let kept = measurement.measure(&edited).unwrap();
        let difference = largest_difference(&kept, known.coordinates());
        assert!(difference < 1e-5, "{name}: measured components differ by {difference}");
        assert!(largest_difference(&edited, &x) > 1e-3, "{name}: the rest is new");
    }
}

#[test]
fn known_values_come_back_bit_for_bit() {
    let mask = scattered_mask(&COLOUR, 4, 0.4, 3).unwrap();
    let measurement = Mask::new(&mask, &COLOUR).unwrap();
    let x = batch(4, &COLOUR);
    let model = GaussianConsistency::new(Gaussian::isotropic(&COLOUR, 0.1, 0.2).unwrap());
    let known = Known::of_samples(&measurement, &x).unwrap();
    let edited = edit(&model, &known, &[80.0, 4.0, 0.5], &NOISE, &Draw::new(&model, 4)).unwrap();
    let bits = |x: &Tensor| -> Vec<u32> {
        x.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    let known: Vec<u8> = measurement.known().flatten_all().unwrap().to_vec1().unwrap();
    let same = bits(&edited).into_iter().zip(bits(&x)).map(|(a, b)| u8::from(a == b));
    assert_eq!(same.collect::<Vec<_>>(), known);
}

#[test]
fn a_gaussian_conditional_is_drawn_for_vectors() {
    // With independent coordinates the other one keeps its distribution when one is known.
    let model = GaussianConsistency::new(crate::multistep::gaussian());
    let mask = Mask::new(&Tensor::new(&[[1f32, 0.0]], &Device::Cpu).unwrap(), &[2]).unwrap();
    let points = Tensor::new(&[[0f32, 3.0]], &Device::Cpu).unwrap().repeat((20_000, 1)).unwrap();
    let known = Known::of_samples(&mask, &points).unwrap();
    let edited = edit(&model, &known, &[800.0, 3.0], &NOISE, &Draw::new(&model, 20_000)).unwrap();
    let rows = edited.to_vec2::<f32>().unwrap();
    assert!(rows.iter().all(|row| row[1].to_bits() == 3f32.to_bits()));
    let mean = rows.iter().map(|row| f64::from(row[0])).sum::<f64>() / 20_000.0;
    let variance = rows.iter().map(|row| (f64::from(row[0]) - mean).powi(2)).sum::<f64>() / 20_000.0;
    // N(1, 0.25) and the noise of sigma_min = 0.5; four standard errors.
    assert!((mean - 1.0).abs() < 4.0 * 0.5f64.sqrt() / 20_000f64.sqrt(), "mean {mean}");
    assert!((variance / 0.5 - 1.0).abs() < 4.0 * (2.0 / 20_000f64).sqrt(), "variance {variance}");
}

#[test]
fn observations_are_what_their_names_say() {
    let x = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((1, 1, 2, 4)).unwrap();
    let small = PatchMeans::new(2, &[1, 2, 4]).unwrap().observe(&x).unwrap();
    assert_eq!(small.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [2.5, 4.5]);

    let red = Tensor::new(&[1f32, 0.0, 0.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let gray = Luma::new(Luma::BT601, &[3, 1, 1]).unwrap().observe(&red).unwrap();
    assert!((gray.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0] - 0.299).abs() < 1e-6);

    // A point becomes the kernel, turned neither way; at the border the picture goes on as it ends.
    let mut point = vec![0f32; 25];
    point[12] = 1.0;
    let point = Tensor::from_vec(point, (1, 1, 5, 5), &Device::Cpu).unwrap();
    let blurred = Blur::new(&slanted_kernel(), &[1, 5, 5], 0.0).unwrap().observe(&point).unwrap();
    let middle = blurred.narrow(2, 1, 3).unwrap().narrow(3, 1, 3).unwrap().reshape((3, 3)).unwrap();
    let kernel = (slanted_kernel() / 10.0).unwrap().to_dtype(DType::F32).unwrap();
    assert!(largest_difference(&middle, &kernel) < 1e-6);
    let flat = Tensor::full(0.7f32, (1, 1, 5, 5), &Device::Cpu).unwrap();
    for kernel in [slanted_kernel(), gaussian_kernel(3.0).unwrap()] {
        let blurred = Blur::new(&kernel, &[1, 5, 5], 0.0).unwrap().observe(&flat).unwrap();
        assert!(largest_difference(&blurred, &flat) < 1e-6);
    }

    let mosaic = bayer_mask(BayerPattern::Rggb, &[3, 2, 2]).unwrap();
    let has = (1.0 - mosaic).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(has, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn the_basis_of_cosines_is_incoherent_and_of_the_right_size() {
    let measurement = RandomCosines::new(0.25, &[1, 8, 8], 0).unwrap();
    assert_eq!(measurement.num_measured(), 16);
    // A single bright pixel shows in every number.
    let mut point = vec![0f32; 64];
    point[27] = 1.0;
    let seen = measurement.observe(&Tensor::from_vec(point, (1, 1, 8, 8), &Device::Cpu).unwrap()).unwrap();
    let seen = seen.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(seen.iter().all(|v| v.abs() > 1e-3 && v.abs() < 0.5), "{seen:?}");
}

#[test]
fn what_is_no_measurement_is_refused() {
    let device = &Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device).unwrap();
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, device).unwrap();
    assert!(matches!(Mask::new(&zeros(&[1, 1, 8, 6]), &COLOUR), Err(Error::MaskNothing { index: 0 })));
    assert!(matches!(Mask::new(&ones(&[1, 1, 8, 6]), &COLOUR), Err(Error::MaskAll { index: 0 })));
    assert!(matches!(Mask::new(&ones(&[1, 1, 8, 8]), &COLOUR), Err(Error::Shape { .. })));
    assert!(matches!(Mask::new(&ones(&[1, 2, 8, 6]), &COLOUR), Err(Error::Shape { .. })));
    for share in [0.0, 1.0, f64::NAN] {
        assert!(matches!(scattered_mask(&COLOUR, 1, share, 0), Err(Error::Share { .. })));
        assert!(matches!(RandomCosines::new(share, &COLOUR, 0), Err(Error::Share { .. })));
    }
    assert!(matches!(RandomCosines::new(0.001, &COLOUR, 0), Err(Error::Share { .. })), "not one number");
    for factor in [0, 1, 4, 9] {
        assert!(matches!(PatchMeans::new(factor, &COLOUR), Err(Error::Factor { .. })));
    }
    assert!(matches!(Luma::new(Luma::BT601, &GRAY), Err(Error::Shape { .. })));
    assert!(matches!(bayer_mask(BayerPattern::Rggb, &GRAY), Err(Error::Shape { .. })));
    let matrix = |shape: &[usize]| MatrixMeasurement::new(&ones(shape), &GRAY, DEFAULT_RCOND);
    assert!(matches!(matrix(&[2, 34]), Err(Error::Shape { .. })));
    assert!(matches!(matrix(&[0, 35]), Err(Error::Shape { .. })));
    assert!(matches!(matrix(&[35]), Err(Error::Shape { .. })));
    assert_eq!(matrix(&[2, 35]).unwrap().rank(), 1);
    assert!(matches!(MatrixMeasurement::new(&zeros(&[2, 35]), &GRAY, 0.0), Err(Error::Rank)));
    assert!(matches!(MatrixMeasurement::new(&ones(&[2, 35]), &GRAY, 1.0), Err(Error::Rcond { .. })));
    let infinite = (ones(&[2, 35]) / 0.0).unwrap();
    assert!(matches!(MatrixMeasurement::new(&infinite, &GRAY, 0.0), Err(Error::Svd)));
    for kernel in [zeros(&[3, 3]), ones(&[2, 3]), ones(&[3])] {
        assert!(matches!(Blur::new(&kernel, &GRAY, 0.0), Err(Error::Kernel { .. })));
    }
    assert!(matches!(Blur::new(&slanted_kernel(), &[1, 65, 64], 0.0), Err(Error::Kernel { .. })));
    for std in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert!(matches!(gaussian_kernel(std), Err(Error::Kernel { .. })));
    }
}
