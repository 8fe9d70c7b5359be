//! Reads recordings of a peer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

/// One recorded case: tensors by name, and notes.
pub(crate) struct Golden {
    tensors: HashMap<String, Tensor>,
    notes: HashMap<String, String>,
}

impl Golden {
    pub(crate) fn read(case: &str) -> Self {
        Self::read_file(&folder().join(case).join("case.safetensors"))
    }

    pub(crate) fn read_file(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let notes = header.metadata().clone().unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        Self { tensors, notes }
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the recording has no {name}"))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors whose names begin with `prefix`, without it.
    pub(crate) fn below(&self, prefix: &str) -> HashMap<String, Tensor> {
        let stripped = self
            .tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())));
        stripped.collect()
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        &self.notes[name]
    }

    pub(crate) fn note(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.notes[name]).unwrap()
    }
}

/// Where the recordings are.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The largest absolute value of some tensors.
pub(crate) fn largest<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    tensors.into_iter().flat_map(flat).fold(0f64, |max, v| max.max(v.abs()))
}

/// Fails unless `got` is `expected` within `tolerance` times `scale`; says where it does not.
pub(crate) fn assert_close(what: &str, got: &Tensor, expected: &Tensor, tolerance: f64, scale: f64) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    for (idx, (got, expected)) in flat(got).into_iter().zip(flat(expected)).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(
            error <= tolerance,
            "{what}: {got} at {idx}, expected {expected}: off by {error:.2e} of {scale:.2e}"
        );
    }
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
}
