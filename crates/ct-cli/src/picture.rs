//! One picture of many samples: a grid of images, or points in the plane over the points of the data.

use anyhow::{Context as _, Result, anyhow, bail};
use candle_core::Tensor;
use image::{DynamicImage, RgbImage};
use plotters::prelude::{
    BitMapBackend, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, RGBColor, WHITE,
};

/// Pixels between the images of a grid.
const PADDING: usize = 2;
/// Width and height of a plot.
const PLOT_SIDE: u32 = 640;
const DATA_COLOUR: RGBColor = RGBColor(200, 200, 200);
const SAMPLE_COLOUR: RGBColor = RGBColor(204, 58, 32);

/// A picture of samples.
///
/// # Shapes
/// `samples`: `[N, C, H, W]` in [-1, 1], or `[N, D]` with D at least 2, of which the first two are drawn;
/// `data`, which is drawn below points: `[M, D]`.
pub(crate) fn picture(samples: &Tensor, columns: usize, data: Option<&Tensor>) -> Result<DynamicImage> {
    match *samples.dims() {
        [_, _, height, width] => {
            Ok(ct_sample::grid(samples, columns, PADDING, ct_sample::readable_upscale(height, width))?)
        }
        [_, dim] if dim >= 2 => scatter(samples, data),
        _ => bail!(
            "samples of shape {:?} cannot be drawn; write their numbers with --save-tensors",
            samples.dims()
        ),
    }
}

/// Points in the plane over the points of the data.
fn scatter(samples: &Tensor, data: Option<&Tensor>) -> Result<DynamicImage> {
    let samples = points(samples)?;
    let data = data.map(points).transpose()?.unwrap_or_default();
    let reach = 1.1 * extent(if data.is_empty() { &samples } else { &data });
    let mut pixels = vec![0; (3 * PLOT_SIDE * PLOT_SIDE) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (PLOT_SIDE, PLOT_SIDE)).into_drawing_area();
        area.fill(&WHITE).context("cannot draw")?;
        let mut chart = ChartBuilder::on(&area)
            .build_cartesian_2d(-reach..reach, -reach..reach)
            .context("cannot draw")?;
        let below = data.iter().map(|&point| Circle::new(point, 2, DATA_COLOUR.filled()));
        chart.draw_series(below).context("cannot draw")?;
        let above = samples.iter().map(|&point| Circle::new(point, 2, SAMPLE_COLOUR.mix(0.6).filled()));
        chart.draw_series(above).context("cannot draw")?;
    }
    let image = RgbImage::from_raw(PLOT_SIDE, PLOT_SIDE, pixels)
        .ok_or_else(|| anyhow!("cannot draw: a wrong size"))?;
    Ok(image.into())
}

fn points(x: &Tensor) -> Result<Vec<(f64, f64)>> {
    let rows = x.to_dtype(candle_core::DType::F64)?.to_vec2::<f64>()?;
    Ok(rows.iter().filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect())
}

/// The largest coordinate, without its sign.
fn extent(points: &[(f64, f64)]) -> f64 {
    let largest =
        points.iter().map(|&(x, y)| x.abs().max(y.abs())).filter(|r| r.is_finite()).fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn samples_are_drawn_over_the_data() {
        let data = Tensor::new(&[[0.0f32, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
        let samples = Tensor::new(&[[0.0f32, 0.0], [9.0, 9.0]], &Device::Cpu).unwrap();
        let picture = picture(&samples, 8, Some(&data)).unwrap().into_rgb8();
        let (mid, far) = (picture.get_pixel(319, 319).0, picture.get_pixel(610, 29).0);
        assert!(mid[0] > 180 && mid[2] < 130, "a sample lies in the middle, found {mid:?}");
        assert_eq!(far, [200; 3], "a point of the data lies at (1, 1)");
        assert_eq!(picture.get_pixel(100, 100).0, [255; 3]);
    }

    #[test]
    fn numbers_cannot_be_drawn() {
        let samples = Tensor::new(&[[0.0f32], [1.0]], &Device::Cpu).unwrap();
        assert!(picture(&samples, 8, None).is_err());
    }
}
