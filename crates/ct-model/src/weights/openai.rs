//! Weights with the names of openai's `cm` and `guided-diffusion`, given those of diffusers.
//!
//! Those programs number the parts of a UNet through: `input_blocks.0` is the first convolution, then come for each level
//! its residual blocks, each with its attention behind it, and what halves the image; `output_blocks` likewise.
//! Which parts there are, the layout of the network says.
//! Queries, keys and values are the three thirds of one matrix, as in the checkpoints of `cm` (its attention `flash`).

use std::collections::HashMap;

use candle_core::Tensor;

use crate::{ParamLayout, Result};

/// A tensor that only such files have.
const MARK: &str = "input_blocks.0.0.weight";

/// Parts of a residual block, theirs and ours.
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// Parts outside of the blocks, theirs and ours.
const REST: [(&str, &str); 6] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb", "class_embedding"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];

/// Gives the tensors of an openai checkpoint the names and shapes of `layout`; others are left as they are.
pub(crate) fn rename_openai(layout: &ParamLayout, tensors: &mut HashMap<String, Tensor>) -> Result<()> {
    if !tensors.contains_key(MARK) {
        return Ok(());
    }
    for (theirs, ours) in parts(layout) {
        for kind in ["weight", "bias"] {
            if let Some(tensor) = tensors.remove(&format!("{theirs}.{kind}")) {
                put(tensors, &ours, kind, tensor)?;
            }
        }
    }
    Ok(())
}

/// Puts a tensor under our name; a matrix of queries, keys and values under three.
fn put(tensors: &mut HashMap<String, Tensor>, ours: &str, kind: &str, tensor: Tensor) -> Result<()> {
    let (attention, names): (&str, &[&str]) = match ours.rsplit_once('.') {
        Some((attention, "qkv")) => (attention, &["to_q", "to_k", "to_v"]),
        Some((attention, "proj_out")) => (attention, &["to_out.0"]),
        _ => {
            tensors.insert(format!("{ours}.{kind}"), tensor);
            return Ok(());
        }
    };
    // Their dense layers are convolutions of one pixel.
    let tensor = if tensor.rank() > 2 { tensor.flatten_from(1)? } else { tensor };
    for (name, part) in names.iter().zip(tensor.chunk(names.len(), 0)?) {
        tensors.insert(format!("{attention}.{name}.{kind}"), part.contiguous()?);
    }
    Ok(())
}

/// Names of modules, theirs and ours.
fn parts(layout: &ParamLayout) -> Vec<(String, String)> {
    let has = |module: &str| layout.iter().any(|(_, spec)| spec.name.starts_with(&format!("{module}.")));
    let mut parts: Vec<(String, String)> =
        REST.iter().map(|&(theirs, ours)| (theirs.to_owned(), ours.to_owned())).collect();
    let mut resnet = |theirs: &str, ours: &str| {
        parts.extend(RESNET.iter().map(|(a, b)| (format!("{theirs}.{a}"), format!("{ours}.{b}"))));
    };
    let mut attentions = Vec::new();
    // One position for each residual block, and before the next level one for the block that changes the size.
    let mut number = 1;
    for level in (0..).map(|level| format!("down_blocks.{level}")).take_while(|level| has(level)) {
        for block in (0..).take_while(|block| has(&format!("{level}.resnets.{block}"))) {
            resnet(&format!("input_blocks.{number}.0"), &format!("{level}.resnets.{block}"));
            attentions.push((format!("input_blocks.{number}.1"), format!("{level}.attentions.{block}")));
            number += 1;
        }
        if has(&format!("{level}.downsamplers.0")) {
            resnet(&format!("input_blocks.{number}.0"), &format!("{level}.downsamplers.0"));
            number += 1;
        }
    }
    resnet("middle_block.0", "mid_block.resnets.0");
    attentions.push(("middle_block.1".to_owned(), "mid_block.attentions.0".to_owned()));
    resnet("middle_block.2", "mid_block.resnets.1");
    number = 0;
    for level in (0..).map(|level| format!("up_blocks.{level}")).take_while(|level| has(level)) {
        for block in (0..).take_while(|block| has(&format!("{level}.resnets.{block}"))) {
            resnet(&format!("output_blocks.{number}.0"), &format!("{level}.resnets.{block}"));
            attentions.push((format!("output_blocks.{number}.1"), format!("{level}.attentions.{block}")));
            number += 1;
        }
        // What doubles the size stands behind the last block and its attention, where it has one.
        let place = if has(&format!("{level}.attentions.0")) { 2 } else { 1 };
        resnet(&format!("output_blocks.{}.{place}", number - 1), &format!("{level}.upsamplers.0"));
    }
    for (theirs, ours) in attentions.into_iter().filter(|(_, ours)| has(ours)) {
        let names = [("norm", "group_norm"), ("qkv", "qkv"), ("proj_out", "proj_out")];
        parts.extend(names.iter().map(|(a, b)| (format!("{theirs}.{a}"), format!("{ours}.{b}"))));
    }
    parts
}
