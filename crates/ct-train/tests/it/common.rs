//! What several tests need.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ct_data::{Dataset, LoadOptions, Source};
use ct_model::{ConsistencyModel, MlpConfig, Network, NetworkConfig, NoiseRange, Params, UNet2DConfig};
use ct_train::{Parts, TrainConfig, Trainer};

/// One recorded case: tensors by name, and notes.
pub(crate) struct Golden {
    tensors: HashMap<String, Tensor>,
    notes: HashMap<String, String>,
}

impl Golden {
    pub(crate) fn read(case: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(case)
            .join("case.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let notes = header.metadata().clone().unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        Self { tensors, notes }
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the recording has no {name}"))
    }

    pub(crate) fn f32(&self, name: &str) -> Tensor {
        self.get(name).to_dtype(DType::F32).unwrap()
    }

    pub(crate) fn f64s(&self, name: &str) -> Vec<f64> {
        flat(self.get(name))
    }

    pub(crate) fn note(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.notes[name]).unwrap()
    }
}

pub(crate) fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails unless `got` is `expected` within `tolerance` times the larger of 1 and the largest expected value.
pub(crate) fn assert_close(what: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    let expected = flat(expected);
    let scale = expected.iter().fold(1f64, |max, v| max.max(v.abs()));
    for (idx, (got, expected)) in flat(got).into_iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(error <= tolerance, "{what}: {got} at {idx}, expected {expected}: off by {error:.2e}");
    }
}

pub(crate) fn digits() -> Arc<Dataset> {
    let source: Source = "digits".parse().unwrap();
    Arc::new(source.load(&LoadOptions::default()).unwrap())
}

pub(crate) fn moons() -> Arc<Dataset> {
    let source: Source = "toy:two-moons".parse().unwrap();
    Arc::new(source.load(&LoadOptions::default()).unwrap())
}

pub(crate) fn small_unet(dropout: f64) -> Arc<dyn Network> {
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
    NetworkConfig::from(config.for_samples(1, 8, 8)).build().unwrap()
}

pub(crate) fn small_mlp() -> Arc<dyn Network> {
    NetworkConfig::Mlp(MlpConfig { hidden_dim: 32, num_blocks: 2, ..MlpConfig::default() }).build().unwrap()
}

pub(crate) fn trainer(network: Arc<dyn Network>, data: Arc<Dataset>, config: TrainConfig) -> Trainer {
    let range = NoiseRange { sigma_min: 0.01, sigma_max: 20.0, sigma_data: data.std(), rho: 7.0 };
    Trainer::new(network, data, range, config, 3, false, &Device::Cpu).unwrap()
}

/// A trainer of any recipe; one that needs a teacher gets random weights for it, which are also its first ones.
pub(crate) fn trainer_from_teacher(
    network: Arc<dyn Network>,
    data: Arc<Dataset>,
    config: TrainConfig,
) -> Trainer {
    let range = NoiseRange { sigma_min: 0.01, sigma_max: 20.0, sigma_data: data.std(), rho: 7.0 };
    let params = Params::init(network.layout(), 8, &Device::Cpu).unwrap();
    let parameterization = config.recipe.parameterization();
    let (teacher_network, weights) = (Arc::clone(&network), params.clone());
    let teacher =
        ConsistencyModel::with_parameterization(teacher_network, weights, range, parameterization).unwrap();
    let parts = Parts {
        network,
        data,
        range,
        parameterization: None,
        init: Some(params),
        teacher: Some(teacher),
        null_label: config.label_dropout > 0.0,
        seed: 3,
        flip: false,
    };
    Trainer::from_parts(parts, config, &Device::Cpu).unwrap()
}
