//! Many samples in one picture.

use candle_core::Tensor;
use image::{
    DynamicImage, GrayImage, Luma, Rgb, RgbImage,
    imageops::{self, FilterType},
};

use crate::{
    error::{Error, Result},
    pixels::{image_dims, pixel_count, to_images},
};

/// Sides below this are enlarged by [`readable_upscale`].
const READABLE_SIDE: usize = 64;

/// The factor that makes an image of this size readable: 8 for 8 pixels, 3 for 28, 1 from 64 on.
///
/// ```
/// assert_eq!([8, 28, 32, 64, 256].map(|side| ct_sample::readable_upscale(side, side)), [8, 3, 2, 1, 1]);
/// ```
pub fn readable_upscale(height: usize, width: usize) -> usize {
    READABLE_SIDE.div_ceil(height.min(width).max(1)).max(1)
}

/// A grid of images on white, row by row, each enlarged by a whole factor without smoothing.
///
/// # Shapes
/// `x`: `[N, C, H, W]` in [-1, 1], C = 1 or 3, N > 0.
/// `padding`: pixels between and around the images, after enlarging.
///
/// # Errors
/// [`Error::Shape`] when `x` is not a batch of images, [`Error::Zero`] when there is no image, column or factor.
pub fn grid(x: &Tensor, columns: usize, padding: usize, upscale: usize) -> Result<DynamicImage> {
    let (num, channels, height, width) = image_dims(x)?;
    for (value, what) in
        [(num, "the number of images"), (columns, "the number of columns"), (upscale, "the factor of a grid")]
    {
        if value == 0 {
            return Err(Error::Zero { what });
        }
    }
    let columns = columns.min(num);
    let (cell_w, cell_h) = (width * upscale, height * upscale);
    let total_w = pixel_count(columns * (cell_w + padding) + padding)?;
    let total_h = pixel_count(num.div_ceil(columns) * (cell_h + padding) + padding)?;
    let (big_w, big_h) = (pixel_count(cell_w)?, pixel_count(cell_h)?);
    let mut canvas = if channels == 1 {
        DynamicImage::ImageLuma8(GrayImage::from_pixel(total_w, total_h, Luma([255])))
    } else {
        DynamicImage::ImageRgb8(RgbImage::from_pixel(total_w, total_h, Rgb([255; 3])))
    };
    for (index, image) in to_images(x)?.into_iter().enumerate() {
        let left = index % columns * (cell_w + padding) + padding;
        let top = index / columns * (cell_h + padding) + padding;
        let big = image.resize_exact(big_w, big_h, FilterType::Nearest);
        paste(&mut canvas, &big, left as u64, top as u64);
    }
    Ok(canvas)
}

/// Copies an image into a canvas of the same kind.
fn paste(canvas: &mut DynamicImage, image: &DynamicImage, left: u64, top: u64) {
    let (left, top) = (left.cast_signed(), top.cast_signed());
    match (canvas, image) {
        (DynamicImage::ImageLuma8(canvas), DynamicImage::ImageLuma8(image)) => {
            imageops::replace(canvas, image, left, top);
        }
        (canvas, image) => imageops::replace(canvas, image, left, top),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn images_lie_row_by_row_on_white() {
        let x = Tensor::new(&[-1f32, 0.0, 1.0], &Device::Cpu).unwrap().reshape((3, 1, 1, 1)).unwrap();
        let picture = grid(&x, 2, 1, 2).unwrap().into_luma8();
        assert_eq!(picture.dimensions(), (7, 7));
        let row = |y| (0..7).map(|x| picture.get_pixel(x, y).0[0]).collect::<Vec<_>>();
        assert_eq!(row(0), [255; 7]);
        assert_eq!(row(1), [255, 0, 0, 255, 128, 128, 255]);
        assert_eq!(row(2), row(1));
        assert_eq!(row(4), [255; 7]);
    }

    #[test]
    fn colour_stays_colour() {
        let x = Tensor::new(&[-1f32, 0.0, 1.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let picture = grid(&x, 8, 0, 3).unwrap();
        assert_eq!((picture.width(), picture.height()), (3, 3));
        assert_eq!(picture.into_rgb8().get_pixel(2, 2).0, [0, 128, 255]);
    }

    #[test]
    fn nothing_to_show_is_an_error() {
        let x = Tensor::zeros((2, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(grid(&x, 0, 0, 1), Err(Error::Zero { .. })));
        assert!(matches!(grid(&x, 1, 0, 0), Err(Error::Zero { .. })));
        assert!(matches!(grid(&x.narrow(0, 0, 0).unwrap(), 1, 0, 1), Err(Error::Zero { .. })));
    }
}
