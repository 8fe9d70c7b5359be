//! One step from noise to images, then a hole filled in one of them: what an application needs.
//!
//! ```text
//! cargo run --release -p ct-sample --example one_step_and_inpaint -- MODEL_FOLDER out.png
//! ```

use std::{error::Error, path::PathBuf};

use candle_core::{Device, Tensor};
use ct_model::{Denoiser as _, folder};
use ct_sample::{
    Draw, Known, Mask, SeededNoise, default_sigmas, edit, grid, one_step, rectangle_mask, save_png,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(dir), Some(picture)) = (paths.next(), paths.next()) else {
        return Err("usage: MODEL out.png".into());
    };
    let model = folder::load(&dir, &Device::Cpu)?.model;
    let (shape, noise) = (model.sample_shape().to_vec(), SeededNoise { seed: 0, first_index: 0 });

    let images = one_step(&model, &noise, &Draw::new(&model, 4))?;

    let (height, width) = (shape[1], shape[2]);
    let mask = Mask::new(&rectangle_mask(&shape, width / 4, height / 4, width / 2, height / 2)?, &shape)?;
    let known = Known::of_samples(&mask, &images)?;
    let filled =
        edit(&model, &known, &default_sigmas(model.noise_range(), 40)?, &noise, &Draw::new(&model, 4))?;

    let all = Tensor::cat(&[images, known.least()?, filled], 0)?;
    Ok(save_png(&grid(&all, 4, 2, 4)?, &picture)?)
}
