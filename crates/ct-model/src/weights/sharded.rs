//! Weights in several files, with an index that says which tensor is where.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path};

use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::{format_error, io_error};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads all tensors of all files that the index at `path` names.
pub(crate) fn read(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    let index: Index =
        serde_json::from_str(&text).map_err(|source| format_error(path, source.to_string()))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut tensors = HashMap::new();
    for file in index.weight_map.values().collect::<BTreeSet<_>>() {
        if !is_plain_name(file) {
            return Err(format_error(path, format!("{file:?} is no name of a file beside the index")));
        }
        let shard = dir.join(file);
        if !shard.is_file() {
            return Err(format_error(
                path,
                format!("{file} is missing: copy all files that the index names"),
            ));
        }
        tensors.extend(super::read(&shard, device)?);
    }
    let missing = |(name, file): (&String, &String)| {
        (!tensors.contains_key(name)).then(|| format!("{name}: not in {file}, where the index has it"))
    };
    let problems: Vec<String> = index.weight_map.iter().filter_map(missing).collect();
    if problems.is_empty() { Ok(tensors) } else { Err(Error::Weights { path: path.to_path_buf(), problems }) }
}

/// Nothing outside of the folder is read, and no index leads to another.
fn is_plain_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        && !Path::new(file).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}
