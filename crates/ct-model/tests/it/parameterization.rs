//! The boundary condition, and dropout.

use candle_core::{Device, Tensor};
use ct_kernels::Value;
use ct_model::{
    ConsistencyModel, Denoiser, Dropout, Input, MlpConfig, NetworkConfig, NoiseRange, Params, UNet2DConfig,
    normal,
};
use ct_random::Purpose;

use crate::golden::{assert_close, largest};

pub(crate) fn small_unet(dropout: f64) -> NetworkConfig {
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let config = UNet2DConfig {
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![8, 16],
        norm_num_groups: 4,
        layers_per_block: 1,
        dropout,
        ..UNet2DConfig::default()
    };
    config.for_samples(1, 8, 8).into()
}

pub(crate) fn small_model(config: &NetworkConfig, range: NoiseRange) -> ConsistencyModel {
    let network = config.build().unwrap();
    // Random everywhere: a network that begins at zero would hide mistakes.
    let zeros = Params::init(network.layout(), 5, &Device::Cpu).unwrap();
    let tensors = zeros.iter().enumerate().map(|(idx, (name, tensor))| {
        let noise = normal(11, Purpose::Eval, 0, idx as u64, 1, tensor.dims(), &Device::Cpu).unwrap();
        (name.to_owned(), (noise.squeeze(0).unwrap() * 0.2).unwrap())
    });
    let params = Params::from_tensors(network.layout(), tensors.collect(), &Device::Cpu).unwrap().unwrap();
    ConsistencyModel::new(network, params, range).unwrap()
}

pub(crate) fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn f_at_sigma_min_is_the_identity_bit_for_bit() {
    let range = NoiseRange { sigma_min: 0.003, sigma_max: 40.0, sigma_data: 0.61, rho: 7.0 };
    for (config, shape) in
        [(small_unet(0.0), vec![1, 8, 8]), (NetworkConfig::Mlp(MlpConfig::default()), vec![2])]
    {
        let model = small_model(&config, range);
        let x = normal(1, Purpose::Noise, 0, 0, 3, &shape, &Device::Cpu).unwrap();
        assert_eq!(bits(&model.denoise(&x, range.sigma_min, None).unwrap()), bits(&x));
        assert_ne!(bits(&model.denoise(&x, 1.0, None).unwrap()), bits(&x));
    }
}

#[test]
fn dropout_masks_belong_to_the_image() {
    let model = small_model(&small_unet(0.5), NoiseRange::default());
    let run = |images: &[u64], seed: Option<u64>| {
        let x = normal(1, Purpose::Noise, 0, 0, 1, &[1, 8, 8], &Device::Cpu).unwrap();
        let x = Tensor::cat(&vec![&x; images.len()], 0).unwrap();
        let c_noise = Tensor::zeros(images.len(), x.dtype(), &Device::Cpu).unwrap();
        let dropout = seed.map(|seed| Dropout { seed, images });
        let input = Input {
            x: &Value::from(&x),
            c_noise: &Value::from(c_noise),
            class_labels: None,
            dropout,
            extra_embedding: None,
        };
        model.network().forward(&model.params().constants(), &input).unwrap().tensor().clone()
    };
    let both = run(&[4, 9], Some(0));
    let alone = run(&[9], Some(0));
    // A mask of its own moves the output by its own size; rounding in a batch of another size does not.
    let (same, scale) = (both.get(1).unwrap(), largest([&alone]));
    assert_close("an image keeps its mask in any batch", &same, &alone.get(0).unwrap(), 1e-4, scale);
    assert_ne!(bits(&both.get(0).unwrap()), bits(&both.get(1).unwrap()), "images have masks of their own");
    assert_ne!(bits(&alone), bits(&run(&[9], Some(1))), "masks depend on the seed");
    assert_ne!(bits(&alone), bits(&run(&[9], None)), "there is no dropout outside training");
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let config = NetworkConfig::Mlp(MlpConfig { num_class_embeds: Some(3), ..MlpConfig::default() });
    let model = small_model(&config, NoiseRange::default());
    let x = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let message = |labels: Option<&[u32]>| model.denoise(&x, 1.0, labels).unwrap_err().to_string();
    assert!(model.denoise(&x, 1.0, Some(&[0, 2])).is_ok());
    assert!(message(None).contains("no labels came"));
    assert!(message(Some(&[0])).contains("1 labels for a batch of 2"));
    assert!(message(Some(&[0, 3])).contains("label 3, but the classes are 0 to 2"));
    let plain = small_model(&NetworkConfig::Mlp(MlpConfig::default()), NoiseRange::default());
    assert!(plain.denoise(&x, 1.0, Some(&[0, 1])).unwrap_err().to_string().contains("no classes"));
}
