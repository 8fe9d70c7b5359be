//! Spellings of parameters' names in files of older releases of diffusers.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use crate::{ParamLayout, Result};

/// What is called so today, and what it was called.
const OLD: [(&str, &str); 9] = [
    (".to_q.", ".query."),
    (".to_k.", ".key."),
    (".to_v.", ".value."),
    (".to_out.0.", ".proj_attn."),
    ("time_proj.weight", "time_proj.W"),
    (".downsamplers.0.conv.", ".downsamplers.0.op."),
    (".downsamplers.0.conv.", ".downsamplers.0.Conv2d_0."),
    (".downsamplers.0.conv.", ".downsamplers.0.op.Conv2d_0."),
    (".upsamplers.0.conv.", ".upsamplers.0.Conv2d_0."),
];

/// Gives tensors with an old name the name that `layout` knows.
/// Some files have a tensor under both names; of two that are the same, one is dropped.
pub(crate) fn rename_old(layout: &ParamLayout, tensors: &mut HashMap<String, Tensor>) -> Result<()> {
    for (_, spec) in layout.iter() {
        for (new, old) in OLD {
            if !spec.name.contains(new) {
                continue;
            }
            let Some((old_name, tensor)) = tensors.remove_entry(&spec.name.replacen(new, old, 1)) else {
                continue;
            };
            match tensors.get(&spec.name) {
                None => drop(tensors.insert(spec.name.clone(), tensor)),
                Some(known) if is_same(known, &tensor)? => {}
                // It will be listed as one too many.
                Some(_) => drop(tensors.insert(old_name, tensor)),
            }
        }
    }
    Ok(())
}

fn is_same(a: &Tensor, b: &Tensor) -> Result<bool> {
    let values = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    Ok(a.dims() == b.dims() && values(a)? == values(b)?)
}
