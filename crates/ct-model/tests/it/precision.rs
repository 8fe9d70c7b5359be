//! Networks that compute in bf16: near those of f32, from weights of f32 and with gradients of f32.

use candle_core::{DType, Device, Tensor};
use ct_kernels::Value;
use ct_model::{
    Activations, Conditions, MlpConfig, NetworkConfig, NoiseRange, Precision, TimeScaleShift, UNet2DConfig,
    normal,
};
use ct_random::Purpose;

use crate::one_pass::{OnePass, one_pass};
use crate::parameterization::{bits, small_model, small_unet};

const BATCH: usize = 12;

/// Output and gradients, in the order of the names.
fn run(config: &NetworkConfig, precision: Precision, activations: Activations) -> (Tensor, Vec<Tensor>) {
    let OnePass { f, gradients, .. } = one_pass(config, BATCH, activations, precision);
    (f, gradients.into_iter().flatten().collect())
}

fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// |a - b| / |b|, Euclidean.
fn relative_error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(a, b)| a - b));
    difference / norm(&mut expected.iter().copied())
}

fn networks() -> Vec<NetworkConfig> {
    let NetworkConfig::UNet2D(plain) = small_unet(0.2) else { panic!("not a UNet") };
    let modulated = UNet2DConfig {
        resnet_time_scale_shift: TimeScaleShift::ScaleShift,
        num_class_embeds: Some(2),
        center_input_sample: true,
        ..(*plain).clone()
    };
    let double_norm =
        UNet2DConfig { resnet_time_scale_shift: TimeScaleShift::DoubleNorm, ..(*plain).clone() };
    let mlp = MlpConfig { dropout: 0.2, num_class_embeds: Some(2), ..MlpConfig::default() };
    vec![(*plain).into(), modulated.into(), double_norm.into(), NetworkConfig::Mlp(mlp)]
}

/// bf16 has 8 bits of precision, 0.4 %; a dozen layers of roundings, each independent of the others, make a few percent.
#[test]
fn outputs_and_gradients_are_near_those_of_f32() {
    for config in networks() {
        let (f, gradients) = run(&config, Precision::F32, Activations::Kept);
        let (f_half, gradients_half) = run(&config, Precision::Bf16, Activations::Kept);
        assert_eq!(f_half.dtype(), DType::F32);
        let error = relative_error(&values(&f_half), &values(&f));
        assert!(error > 1e-5 && error < 0.02, "output off by {error}, {config:?}");

        assert_eq!(gradients.len(), gradients_half.len());
        assert!(gradients_half.iter().all(|gradient| gradient.dtype() == DType::F32));
        let all = |gradients: &[Tensor]| gradients.iter().flat_map(values).collect::<Vec<_>>();
        let error = relative_error(&all(&gradients_half), &all(&gradients));
        assert!(error > 1e-5 && error < 0.05, "gradients off by {error}, {config:?}");
    }
}

#[test]
fn recomputed_activations_have_the_same_bits_in_bf16() {
    for config in networks() {
        let (f, gradients) = run(&config, Precision::Bf16, Activations::Kept);
        let (f_again, gradients_again) = run(&config, Precision::Bf16, Activations::Recomputed);
        assert_eq!(bits(&f), bits(&f_again));
        for (kept, recomputed) in gradients.iter().zip(&gradients_again) {
            assert_eq!(bits(kept), bits(recomputed));
        }
    }
}

/// The derivative along the trajectory, which continuous-time recipes are made of.
#[test]
fn forward_mode_derivatives_are_near_those_of_f32() {
    for config in networks() {
        let model = small_model(&config, NoiseRange::default());
        let shape = model.network().sample_shape();
        let draw = |step| normal(1, Purpose::Noise, step, 0, BATCH, shape, &Device::Cpu).unwrap();
        let labels = model.network().num_classes().map(|_| [0, 1, 1].repeat(BATCH / 3));
        let times = Tensor::new([-300f32, 10.0, 500.0].repeat(BATCH / 3), &Device::Cpu).unwrap();
        let tangent = |precision| {
            let x = Value::dual(draw(0), draw(1)).unwrap();
            let c_noise = Value::dual(times.clone(), times.ones_like().unwrap()).unwrap();
            let conditions = Conditions { class_labels: labels.as_deref(), ..Conditions::default() };
            let weights = model.params().constants().with_precision(precision);
            let output = model.network().forward(&weights, &conditions.input(&x, &c_noise)).unwrap();
            assert_eq!(output.tensor().dtype(), DType::F32);
            values(output.tangent().expect("a dual input gives a dual output"))
        };
        let error = relative_error(&tangent(Precision::Bf16), &tangent(Precision::F32));
        assert!(error > 1e-5 && error < 0.05, "derivative off by {error}, {config:?}");
    }
}
