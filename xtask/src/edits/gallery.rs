//! A strip of pictures by every edit: what `docs/edits.md` shows.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use image::{Rgb, RgbImage};

use super::{Args, hole, text_of};

/// Held-out pictures in each strip.
const PICTURES: &str = "4";

/// Makes one picture for each edit, and a file of the commands.
pub(super) fn make(args: &Args, ct: &Path, shape: [u32; 3]) -> Result<()> {
    let [channels, height, width] = shape;
    let sketch = args.out.join("sketch.png");
    sketch_of(channels, height, width)
        .save(&sketch)
        .with_context(|| format!("cannot write {}", sketch.display()))?;
    let rect = hole(height, width);
    let of_data = |more: &[&str]| -> Vec<String> {
        let data = ["--data", &args.data, "--pictures", PICTURES];
        more.iter().chain(&data).map(|&arg| arg.to_owned()).collect()
    };
    let steps = args.steps.to_string();
    let in_steps = |more: &[&str]| of_data(&[more, &["--num", "5", "--steps", &steps]].concat());
    let mut strips = vec![
        ("inpaint", "inpaint", in_steps(&["--rect", &rect])),
        ("missing", "inpaint", in_steps(&["--missing", "0.7"])),
        ("outpaint", "outpaint", in_steps(&[])),
        ("upscale", "upscale", in_steps(&["--factor", "4"])),
        ("deblur", "deblur", in_steps(&["--std", "1.5"])),
        ("sense", "sense", in_steps(&["--share", "0.2"])),
        ("denoise", "denoise", of_data(&["--sigma", "0.5"])),
        ("vary", "vary", of_data(&["--num", "6"])),
        ("invert", "invert", of_data(&[])),
        ("interpolate", "interpolate", vec!["--seeds".to_owned(), "1,2".to_owned()]),
        (
            "stroke",
            "stroke",
            vec!["--input".to_owned(), sketch.display().to_string(), "--num".to_owned(), "8".to_owned()],
        ),
    ];
    if channels == 3 {
        strips.push(("colorize", "colorize", in_steps(&[])));
        strips.push(("demosaic", "demosaic", in_steps(&[])));
    }
    for (name, edit, told) in strips {
        let mut command = Command::new(ct);
        command.args(["edit", edit]).args(&told).arg("--model").arg(&args.model);
        command.arg("--out").arg(args.out.join(format!("{name}.png")));
        println!("{name}: ct edit {edit} {}: {}", told.join(" "), text_of(command)?.trim());
    }
    Ok(())
}

/// A rough painting: a face on white, or a shirt on black.
fn sketch_of(channels: u32, height: u32, width: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        // From -1 to 1 over the picture.
        let at = |pixel: u32, side: u32| (2.0 * f64::from(pixel) + 1.0) / f64::from(side) - 1.0;
        let (x, y) = (at(x, width), at(y, height));
        Rgb(if channels == 3 { face(x, y) } else { shirt(x, y) })
    })
}

/// A bright round thing with two dark spots.
fn face(x: f64, y: f64) -> [u8; 3] {
    if (x.abs() - 0.32).hypot(y + 0.17) < 0.14 {
        [70, 50, 20]
    } else if x.hypot(y) < 0.84 {
        [250, 200, 60]
    } else {
        [255, 255, 255]
    }
}

/// A broad body, and a beam for the sleeves.
fn shirt(x: f64, y: f64) -> [u8; 3] {
    let is_body = x.abs() < 0.5 && y.abs() < 0.85;
    let is_sleeve = x.abs() < 0.9 && (-0.8..-0.3).contains(&y);
    [if is_body || is_sleeve { 170 } else { 0 }; 3]
}
