//! Weights files: one safetensors file, several with an index, or a state dict of PyTorch.
//!
//! Tensors are read one by one, so that reading takes the memory of the weights and of the largest tensor, not twice that of the weights.

mod names;
mod openai;
mod pickle;
mod safetensors;
mod sharded;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::{Error, Result};

pub(crate) use names::rename_old;
pub(crate) use openai::rename_openai;
pub(crate) use safetensors::read as read_safetensors;

/// What diffusers calls the weights of a network, without the ending.
const STEM: &str = "diffusion_pytorch_model";
/// Endings of weights files, the preferred ones first.
const ENDINGS: [&str; 4] = ["safetensors", "safetensors.index.json", "bin", "bin.index.json"];

/// Reads all tensors of a weights file of any kind, by its name's ending.
pub(crate) fn read(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit('.').next() {
        Some("json") => sharded::read(path, device),
        Some("bin" | "pt" | "pth" | "ckpt") => pickle::read(path, device),
        _ => safetensors::read(path, device),
    }
}

/// The weights file of the network whose configuration is in `dir`.
pub(crate) fn find(dir: &Path) -> Result<PathBuf> {
    let usual = ENDINGS.map(|ending| dir.join(format!("{STEM}.{ending}")));
    if let Some(path) = usual.iter().find(|path| path.is_file()) {
        return Ok(path.clone());
    }
    let fail = |reason: String| Err(Error::Format { path: dir.to_path_buf(), reason });
    match variants(dir)?.as_slice() {
        [only] => Ok(only.clone()),
        [] => fail(format!(
            "there are no weights here: looked for {}",
            ENDINGS.map(|e| format!("{STEM}.{e}")).join(", ")
        )),
        several => fail(format!(
            "there are several weights here, {several:?}, and none is called {STEM}.safetensors: rename the one that is meant"
        )),
    }
}

/// Files such as `diffusion_pytorch_model.fp16.safetensors`.
fn variants(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::Io { path: dir.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let middle = name
            .strip_prefix(STEM)
            .and_then(|rest| ["safetensors", "bin"].iter().find_map(|ending| rest.strip_suffix(ending)));
        if middle.is_some_and(|middle| middle.starts_with('.') && middle.ends_with('.')) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn format_error(path: &Path, reason: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), reason: reason.into() }
}

fn io_error(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), source }
}
