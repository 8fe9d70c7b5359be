//! Recomputed activations: the same gradients from less memory.

use ct_model::{
    Activations, MlpConfig, NetworkConfig, Precision, ResampleKind, TimeScaleShift, UNet2DConfig,
};

use crate::one_pass::{OnePass, one_pass};
use crate::parameterization::{bits, small_unet};

/// Large enough for activations to weigh something beside weights.
const BATCH: usize = 48;

/// Output, gradients and the bytes that the tape keeps.
fn run(config: &NetworkConfig, activations: Activations) -> (Vec<u32>, Vec<Option<Vec<u32>>>, usize) {
    let OnePass { f, gradients, kept_bytes } = one_pass(config, BATCH, activations, Precision::F32);
    let gradients = gradients.iter().map(|gradient| gradient.as_ref().map(bits));
    (bits(&f), gradients.collect(), kept_bytes)
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
