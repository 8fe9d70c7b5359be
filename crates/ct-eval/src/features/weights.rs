//! Weights of a feature network, from a safetensors file.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Tensor, safetensors::Load as _};
use ct_model::folder;
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

    /// Reads a state dict as PyTorch saves it; nothing in it is executed.
    pub(crate) fn read_state_dict(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let read = folder::read_weights(path, &Device::Cpu)
            .map_err(|error| Error::Weights { origin: origin.clone(), reason: error.to_string() })?;
        let floats = read.into_iter().filter(|(_, tensor)| tensor.dtype().is_float());
        let tensors = floats
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?)))
            .collect::<Result<HashMap<_, _>>>()?;
        Ok(Self { origin, tensors, metadata: HashMap::new() })
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

    /// The dimensions of the weights of a convolution.
    pub(crate) fn rank4(&self, w: &Tensor, name: &str) -> Result<[usize; 4]> {
        <[usize; 4]>::try_from(w.dims()).map_err(|_| {
            self.error(format!("`{name}.weight` has shape {:?}, expected four dimensions", w.dims()))
        })
    }

    /// A convolution without bias and the batch normalization after it, as one convolution with a bias:
    /// w' = w gamma / sqrt(var + eps), b' = beta - mean gamma / sqrt(var + eps).
    pub(crate) fn folded(&self, conv: &str, norm: &str, eps: f64) -> Result<(Tensor, Tensor)> {
        let w = self.get(&format!("{conv}.weight"))?;
        let channels = self.rank4(w, conv)?[0];
        let of_norm = |part: &str| self.shaped(&format!("{norm}.{part}"), &[channels]);
        let (gamma, beta) = (of_norm("weight")?, of_norm("bias")?);
        let (mean, var) = (of_norm("running_mean")?, of_norm("running_var")?);
        let factor = (gamma / (var + eps)?.sqrt()?)?;
        let folded = w.broadcast_mul(&factor.reshape((channels, 1, 1, 1))?)?;
        Ok((folded, (beta - (mean * factor)?)?))
    }

    /// An error about this file.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Weights { origin: self.origin.clone(), reason: reason.into() }
    }
}
