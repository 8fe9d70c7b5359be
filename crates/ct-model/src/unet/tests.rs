//! The forward-mode derivative of whole networks against central differences, all in f64.

use candle_core::{DType, Device, Tensor};
use ct_kernels::Value;
use ct_random::{Purpose, Stream};

use super::{ResampleKind, SampleSize, TimeEmbedding, TimeScaleShift, UNet2DConfig};
use crate::{Activations, Input, MlpConfig, Network, NetworkConfig, Result, Weights};

const BATCH: usize = 2;

/// Normal numbers, the same in every run.
fn normal(index: u64, shape: &[usize], std: f64) -> Result<Tensor> {
    let mut numbers = vec![0f32; shape.iter().product()];
    Stream::new(1, Purpose::Data, index, 0).fill_normal(&mut numbers);
    Ok((Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::F64)? * std)?)
}

/// Weights none of which is zero or like another, so that every branch adds something.
fn weights(network: &dyn Network) -> Result<Weights> {
    let mut values = Vec::new();
    // Places are in the order in which the network was built, which `iter` does not follow.
    let places = crate::Params::init(network.layout(), 0, &Device::Cpu)?.constants();
    for (index, value) in places.part(0..network.layout().len()).iter().enumerate() {
        let shape = value.dims();
        let fan_in: usize = shape.iter().skip(1).product();
        // Gains and biases around 0.5 and small, matrices so that they keep the size of what they multiply.
        let (mean, std) = if shape.len() == 1 { (0.5, 0.2) } else { (0.0, 1.0 / (fan_in as f64).sqrt()) };
        values.push(Value::from((normal(index as u64 + 10, shape, std)? + mean)?));
    }
    Ok(Weights::of_part(0, values))
}

fn flat(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The derivative along a random direction of input and `c_noise`, which both ways must give alike.
fn check(config: &NetworkConfig, c_noise: [f64; BATCH]) -> Result<()> {
    // Central differences: h^2 times a third derivative, and 1e-16 / h from the rounding.
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-7;
    let network = config.build()?;
    let weights = weights(&*network)?;
    let shape = [&[BATCH], network.sample_shape()].concat();
    let (x, x_dot) = (normal(0, &shape, 1.0)?, normal(1, &shape, 1.0)?);
    let (t, t_dot) = (Tensor::new(&c_noise, &Device::Cpu)?, normal(2, &[BATCH], 1.0)?);
    let labels = network.num_classes().map(|_| [1, 0]);
    let run = |weights: &Weights, x: Value, c_noise: Value| {
        let class_labels = labels.as_ref().map(|labels| &labels[..]);
        network.forward(
            weights,
            &Input { x: &x, c_noise: &c_noise, class_labels, dropout: None, extra_embedding: None },
        )
    };
    let moved = |step: f64| -> Result<Vec<f64>> {
        let (x, t) = ((&x + (&x_dot * step)?)?, (&t + (&t_dot * step)?)?);
        flat(run(&weights, x.into(), t.into())?.tensor())
    };
    let duals = || -> Result<_> {
        Ok((Value::dual(x.clone(), x_dot.clone())?, Value::dual(t.clone(), t_dot.clone())?))
    };
    let (dual_x, dual_t) = duals()?;
    let output = run(&weights, dual_x, dual_t)?;
    let tangent = flat(output.tangent().expect("a dual input gives a dual output"))?;
    let scale = tangent.iter().fold(0.0f64, |max, v| max.max(v.abs()));
    assert!(scale > 0.01, "the derivative is {scale}: nothing is tested");
    for ((ahead, behind), tangent) in moved(STEP)?.into_iter().zip(moved(-STEP)?).zip(&tangent) {
        let error = ((ahead - behind) / (2.0 * STEP) - tangent).abs();
        assert!(error <= TOLERANCE * scale, "{tangent} is off by {error:e}, scale {scale}, {config:?}");
    }

    // Constants and duals are on no tape, and the primal is what a plain pass gives.
    assert!(!output.is_recorded());
    assert_eq!(flat(output.tensor())?, moved(0.0)?);
    // Recomputation changes nothing where nothing is kept.
    let (dual_x, dual_t) = duals()?;
    let again = run(&weights.with_activations(Activations::Recomputed), dual_x, dual_t)?;
    assert_eq!(again.tangent().map(flat).transpose()?, Some(tangent));
    Ok(())
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// The layout of the presets `fashion` and `icons`, with fewer channels.
fn preset(resnet_time_scale_shift: TimeScaleShift) -> UNet2DConfig {
    UNet2DConfig {
        block_out_channels: vec![8, 16, 16],
        layers_per_block: 1,
        down_block_types: names(["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"]),
        attention_head_dim: Some(8),
        norm_num_groups: 4,
        resnet_time_scale_shift,
        ..UNet2DConfig::default()
    }
    .for_samples(1, 8, 8)
}

#[test]
fn derivative_of_the_presets_layout() -> Result<()> {
    for time in [TimeScaleShift::Default, TimeScaleShift::ScaleShift, TimeScaleShift::DoubleNorm] {
        check(&preset(time).into(), [-310.5, 700.25])?;
        // Angles, which TrigFlow gives the network as they are.
        check(&preset(time).into(), [0.05, 1.5])?;
    }
    Ok(())
}

#[test]
fn derivative_with_classes_residual_resampling_and_odd_heads() -> Result<()> {
    let config = UNet2DConfig {
        downsample_type: ResampleKind::Resnet,
        upsample_type: ResampleKind::Resnet,
        num_class_embeds: Some(3),
        attention_head_dim: Some(4),
        attn_norm_num_groups: Some(2),
        mid_block_scale_factor: 1.5,
        center_input_sample: true,
        sample_size: Some(SampleSize([8, 4])),
        ..preset(TimeScaleShift::ScaleShift)
    };
    check(&config.into(), [-12.0, 3.5])
}

#[test]
fn derivative_with_fourier_features() -> Result<()> {
    let config = UNet2DConfig {
        time_embedding_type: TimeEmbedding::Fourier,
        downsample_padding: 0,
        add_attention: false,
        ..preset(TimeScaleShift::Default)
    };
    check(&config.into(), [2.5, 0.75])
}

#[test]
fn derivative_with_a_skip_path_and_mish() -> Result<()> {
    let config = UNet2DConfig {
        block_out_channels: vec![8, 16, 16],
        down_block_types: names(["SkipDownBlock2D", "SkipDownBlock2D", "DownBlock2D"]),
        up_block_types: names(["UpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"]),
        act_fn: "mish".to_owned(),
        ..preset(TimeScaleShift::Default)
    };
    check(&config.for_samples(3, 8, 8).into(), [-12.0, 3.5])
}

#[test]
fn derivative_of_the_perceptron() -> Result<()> {
    let config = MlpConfig { hidden_dim: 24, num_class_embeds: Some(2), ..MlpConfig::default() };
    check(&NetworkConfig::Mlp(config), [-3.0, 250.0])
}

/// At first a double norm does what the plain block does: the scale is about 1 and the shift is 0.
#[test]
fn double_norm_begins_near_scale_one_and_shift_zero() -> Result<()> {
    let network = NetworkConfig::from(preset(TimeScaleShift::DoubleNorm)).build()?;
    let params = crate::Params::init(network.layout(), 0, &Device::Cpu)?;
    let prefix = "down_blocks.0.resnets.0.time_emb_proj";
    let values = |name: &str| -> Result<Vec<f64>> {
        let id = network.layout().find(&format!("{prefix}.{name}")).expect("a parameter");
        flat(params.get(id))
    };
    assert_eq!(values("scale.bias")?, [1.0; 8]);
    assert!(values("scale.weight")?.iter().any(|&v| v != 0.0));
    assert!(values("shift.weight")?.iter().chain(&values("shift.bias")?).all(|&v| v == 0.0));
    Ok(())
}

/// Only what diffusers cannot run has a name of its own.
#[test]
fn the_class_says_who_can_run_the_network() -> serde_json::Result<()> {
    for (time, class, library) in [
        (TimeScaleShift::ScaleShift, "UNet2DModel", "diffusers"),
        (TimeScaleShift::DoubleNorm, "CtUNet2DModel", "ct_model"),
    ] {
        let config = NetworkConfig::from(preset(time));
        let json = serde_json::to_value(&config)?;
        assert_eq!((&json["_class_name"], config.class_name()), (&class.into(), class));
        assert_eq!(config.package(), library);
        assert_eq!(serde_json::from_value::<NetworkConfig>(json)?, config);
    }
    Ok(())
}
