//! Recomputed activations: the same gradients from less memory.

use candle_core::{Device, Tensor};
use ct_kernels::{Metric, Tape, Value, distance};
use ct_model::{
    Activations, Conditions, Dropout, MlpConfig, NetworkConfig, NoiseRange, Parameterization, ResampleKind,
    TimeScaleShift, UNet2DConfig, consistency_function, normal,
};
use ct_random::Purpose;

use crate::parameterization::{bits, small_model, small_unet};

/// Large enough for activations to weigh something beside weights.
const BATCH: usize = 48;

/// Output, gradients and the bytes that the tape keeps, of a loss on f with dropout.
fn run(config: &NetworkConfig, activations: Activations) -> (Vec<u32>, Vec<Option<Vec<u32>>>, usize) {
    let range = NoiseRange::default();
    let model = small_model(config, range);
    let shape = model.network().sample_shape();
    let draw = |step| normal(1, Purpose::Noise, step, 0, BATCH, shape, &Device::Cpu).unwrap();
    let labels = model.network().num_classes().map(|_| [0, 1, 1].repeat(BATCH / 3));

    let images: Vec<u64> = (7..).take(BATCH).collect();

    let tape = Tape::new();
    let weights = model.params().watched(&tape).with_activations(activations);
    let f = consistency_function(
        &**model.network(),
        &weights,
        &Parameterization::Consistency.preconditioning(&range).unwrap(),
        &Value::from(draw(0)),
        &[0.01, 0.5, 20.0].repeat(BATCH / 3),
        &Conditions {
            class_labels: labels.as_ref().map(|labels| &labels[..]),
            dropout: Some(Dropout { seed: 4, images: &images }),
            extra_embedding: None,
        },
    )
    .unwrap();
    let loss = distance(&f, &draw(1), Metric::L2, &[1.0, 0.5, 2.0].repeat(BATCH / 3)).unwrap();
    let kept_bytes = tape.kept_bytes();
    let gradients = tape.backward(&loss).unwrap().into_vec();
    let gradients = gradients.iter().map(|gradient: &Option<Tensor>| gradient.as_ref().map(bits));
    (bits(f.tensor()), gradients.collect(), kept_bytes)
}

/// Fails unless everything has the same bits; the share of memory that is left.
fn share_of_memory(config: &NetworkConfig) -> f64 {
    let (f, gradients, all) = run(config, Activations::Kept);
    let (f_again, gradients_again, few) = run(config, Activations::Recomputed);
    assert!(f == f_again, "outputs differ");
    assert!(gradients.iter().flatten().count() > 10);
    for (idx, (kept, recomputed)) in gradients.iter().zip(&gradients_again).enumerate() {
        assert!(kept == recomputed, "gradient {idx} differs");
    }
    few as f64 / all as f64
}

#[test]
fn gradients_of_the_unet_have_the_same_bits() {
    let NetworkConfig::UNet2D(plain) = small_unet(0.3) else { panic!("not a UNet") };
    let share = share_of_memory(&(*plain).clone().into());
    assert!(share < 0.5, "{share} of the memory is left");

    let other = UNet2DConfig {
        layers_per_block: 2,
        resnet_time_scale_shift: TimeScaleShift::ScaleShift,
        downsample_type: ResampleKind::Resnet,
        upsample_type: ResampleKind::Resnet,
        num_class_embeds: Some(2),
        ..*plain
    };
    let share = share_of_memory(&other.into());
    assert!(share < 0.5, "{share} of the memory is left");
}

#[test]
fn gradients_of_the_mlp_have_the_same_bits() {
    let config = MlpConfig { dropout: 0.3, num_blocks: 4, num_class_embeds: Some(2), ..MlpConfig::default() };
    let share = share_of_memory(&NetworkConfig::Mlp(config));
    // Weights count too.
    assert!(share < 0.95, "{share} of the memory is left");
}
