//! Safetensors files, read tensor by tensor through a file handle.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

use super::{format_error, io_error};
use crate::Result;

/// Bytes of the number that a file begins with: the length of its header.
const LENGTH_BYTES: usize = 8;
/// As the format has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads all tensors of a safetensors file.
pub(crate) fn read(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let mut file = File::open(path).map_err(|source| io_error(path, source))?;
    let metadata = read_header(path, &mut file)?;
    // The header was checked: in this order they follow one another without gaps.
    let mut infos: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut bytes = Vec::new();
    let mut tensors = HashMap::with_capacity(infos.len());
    for (name, info) in infos {
        bytes.resize(info.data_offsets.1 - info.data_offsets.0, 0);
        file.read_exact(&mut bytes).map_err(|source| io_error(path, source))?;
        let tensor = TensorView::new(info.dtype, info.shape.clone(), &bytes)
            .map_err(|source| not_whole(path, &source))
            .and_then(|view| Ok(view.load(device)?))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The header, whose claims are checked against each other and against the length of the file.
fn read_header(path: &Path, file: &mut File) -> Result<Metadata> {
    let io = |source| io_error(path, source);
    let len = file.metadata().map_err(io)?.len();
    let Some(len_rest) = len.checked_sub(LENGTH_BYTES as u64) else {
        return Err(not_whole(
            path,
            &format!("it has {len} bytes, and the length of a header alone takes 8"),
        ));
    };
    let mut length = [0; LENGTH_BYTES];
    file.read_exact(&mut length).map_err(io)?;
    let header_len = u64::from_le_bytes(length);
    if header_len > len_rest || header_len > MAX_HEADER_BYTES {
        let reason = format!("its header claims to have {header_len} bytes, and {len_rest} bytes follow");
        return Err(not_whole(path, &reason));
    }
    let mut header = Vec::new();
    file.take(header_len).read_to_end(&mut header).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|source| not_whole(path, &source))?;
    let (claimed, found) = (metadata.data_len() as u64, len_rest - header_len);
    if claimed != found {
        let reason = format!("its header speaks of {claimed} bytes of numbers, and {found} bytes follow");
        return Err(not_whole(path, &reason));
    }
    Ok(metadata)
}

fn not_whole(path: &Path, reason: &dyn std::fmt::Display) -> crate::Error {
    format_error(
        path,
        format!("not a whole safetensors file ({reason}): it may have been cut short, copy it again"),
    )
}
