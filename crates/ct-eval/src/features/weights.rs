//! Weights of a feature network, from a safetensors file.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, safetensors::Load as _};
use safetensors::SafeTensors;

use crate::error::{Error, Result};

/// Tensors by name, all in f32, and where they come from.
#[derive(Debug)]
pub(crate) struct Weights {
    origin: String,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Weights {
    /// Reads a file of `bytes` that is called `origin` in messages; tensors of whole numbers are left out.
    pub(crate) fn parse(bytes: &[u8], origin: &str) -> Result<Self> {
        let broken = |error: safetensors::SafeTensorError| Error::Weights {
            origin: origin.to_owned(),
            reason: format!("it is no safetensors file, or damaged: {error}"),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut tensors = HashMap::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(broken)?.tensors() {
            let tensor = view.load(&Device::Cpu)?;
            if tensor.dtype().is_float() {
                tensors.insert(name, tensor.to_dtype(DType::F32)?);
            }
        }
        Ok(Self { origin: origin.to_owned(), tensors, metadata })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn metadata(&self, key: &str) -> Result<&str> {
        let value = self.metadata.get(key).map(String::as_str);
        value.ok_or_else(|| self.error(format!("its header does not say `{key}`")))
    }

    /// The tensor of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| self.error(format!("it has no tensor `{name}`")))
    }

    /// The tensor of this name, which must have this shape.
    pub(crate) fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Tensor> {
        let tensor = self.get(name)?;
        if tensor.dims() == shape {
            return Ok(tensor);
        }
        Err(self.error(format!("`{name}` has shape {:?}, expected {shape:?}", tensor.dims())))
    }

    /// An error about this file.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Weights { origin: self.origin.clone(), reason: reason.into() }
    }
}
