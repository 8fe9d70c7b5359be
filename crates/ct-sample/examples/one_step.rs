//! One evaluation from noise to images, in a grid.
//!
//! ```text
//! cargo run -p ct-sample --example one_step -- out.png               # an analytic stand-in: bright fields in a frame
//! cargo run -p ct-sample --example one_step -- out.png MODEL_FOLDER  # a trained model
//! ```

use std::{error::Error, path::PathBuf};

use candle_core::{Device, Tensor};
use ct_model::folder;
use ct_sample::{
    Denoiser, Draw, SeededNoise, grid, one_step, readable_upscale, save_png,
    testing::{Gaussian, GaussianConsistency},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let picture = arguments.next().ok_or("usage: one_step OUT.png [MODEL_FOLDER]")?;
    let (model, clip): (Box<dyn Denoiser>, bool) = match arguments.next() {
        Some(dir) => {
            let loaded = folder::load(&dir, &Device::Cpu)?;
            (Box::new(loaded.model), loaded.card.clip_denoised)
        }
        None => (Box::new(stand_in()?), true),
    };
    // Every class in turn.
    let labels: Option<Vec<u32>> = model.num_classes().map(|n| (0u32..).take(n).cycle().take(64).collect());
    let draw = Draw { class_labels: labels.as_deref(), clip, ..Draw::new(&*model, 64) };
    let images = one_step(&*model, &SeededNoise { seed: 0, first_index: 0 }, &draw)?;
    let (_, _, height, width) = images.dims4()?;
    save_png(&grid(&images, 8, 4, readable_upscale(height, width))?, &picture)?;
    Ok(())
}

/// A Gaussian over 8x8 images with a dark frame: its consistency function is known, nothing is trained.
fn stand_in() -> Result<GaussianConsistency, Box<dyn Error>> {
    let frame: Vec<f32> = (0..64)
        .map(|i| if [0, 7].contains(&(i / 8)) || [0, 7].contains(&(i % 8)) { -0.8 } else { 0.6 })
        .collect();
    let mean = Tensor::from_vec(frame, (1, 8, 8), &Device::Cpu)?;
    let variance = (mean.ones_like()? * 0.03)?;
    Ok(GaussianConsistency::new(Gaussian::new(&mean, &variance)?))
}
