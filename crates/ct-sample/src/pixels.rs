//! Between tensors in [-1, 1] and pixels in 0..=255.

use candle_core::{DType, Device, Tensor};
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage, imageops::FilterType};

use crate::error::{Error, Result};

/// Pixels of a batch, channels last, rounded as diffusers does: round(255 clamp(x/2 + 1/2, 0, 1)), ties to even.
///
/// # Shapes
/// `x`: `[N, C, H, W]` in [-1, 1], any float type, C = 1 or 3; the result is N images of H * W * C bytes.
///
/// # Errors
/// [`Error::Shape`] when `x` is not a batch of gray or RGB images.
pub fn to_rgb8(x: &Tensor) -> Result<Vec<Vec<u8>>> {
    let (_, channels, height, width) = image_dims(x)?;
    let values = x.permute((0, 2, 3, 1))?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values
        .chunks_exact(channels * height * width)
        .map(|image| image.iter().map(|&v| to_u8(v)).collect())
        .collect())
}

/// The images of a batch.
///
/// # Shapes
/// `x`: `[N, C, H, W]` in [-1, 1], C = 1 (gray images) or 3 (RGB images).
///
/// # Errors
/// As for [`to_rgb8`].
pub fn to_images(x: &Tensor) -> Result<Vec<DynamicImage>> {
    let (_, channels, height, width) = image_dims(x)?;
    let (height, width) = (pixel_count(height)?, pixel_count(width)?);
    to_rgb8(x)?
        .into_iter()
        .map(|bytes| {
            if channels == 1 {
                GrayImage::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8)
            } else {
                RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8)
            }
            .ok_or(Error::Zero { what: "the size of an image" })
        })
        .collect()
}

/// One image as a batch of one: shown on white where it is transparent, cut to the middle and resized
/// where its size differs, gray by the weights of ITU-R BT.601 where the model has one channel.
///
/// # Shapes
/// `shape`: `[C, H, W]` of the model, C = 1 or 3; the result is `[1, C, H, W]` f32 in [-1, 1] on `device`.
///
/// # Errors
/// [`Error::Shape`] when `shape` is not that of a gray or RGB image.
pub fn from_image(image: &DynamicImage, shape: &[usize], device: &Device) -> Result<Tensor> {
    let &[channels @ (1 | 3), height, width] = shape else {
        return Err(Error::Shape {
            what: "the model's sample".into(),
            expected: "[1 or 3, H, W]".into(),
            got: shape.to_vec(),
        });
    };
    let (rows, columns) = (pixel_count(height)?, pixel_count(width)?);
    let mut rgb = over_white(&image.to_rgba8());
    if rgb.dimensions() != (columns, rows) {
        rgb = DynamicImage::ImageRgb8(rgb).resize_to_fill(columns, rows, FilterType::Lanczos3).into_rgb8();
    }
    let bytes =
        if channels == 1 { rgb.pixels().map(|pixel| luma(pixel.0)).collect() } else { rgb.into_raw() };
    let values: Vec<f32> = bytes.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0).collect();
    Ok(Tensor::from_vec(values, (1, height, width, channels), device)?.permute((0, 3, 1, 2))?.contiguous()?)
}

/// N, C, H and W of a batch of gray or RGB images.
pub(crate) fn image_dims(x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match *x.dims() {
        [num, channels @ (1 | 3), height, width] if height * width > 0 => Ok((num, channels, height, width)),
        _ => Err(Error::Shape {
            what: "a batch of images".into(),
            expected: "[N, 1 or 3, H, W]".into(),
            got: x.dims().to_vec(),
        }),
    }
}

/// A side in the type of the image library.
pub(crate) fn pixel_count(side: usize) -> Result<u32> {
    match u32::try_from(side) {
        Ok(side) if side > 0 => Ok(side),
        _ => Err(Error::Shape {
            what: "an image".into(),
            expected: "sides between 1 and 2^32 - 1".into(),
            got: vec![side],
        }),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to 0..=255; NaN becomes 0"
)]
fn to_u8(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Rec. 601 luma in 16-bit fixed point; the weights sum to 2^16, so gray stays as it is.
#[expect(clippy::cast_possible_truncation, reason = "the weights sum to 2^16, so the result is at most 255")]
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

#[expect(clippy::cast_possible_truncation, reason = "a mean of two bytes is a byte")]
fn over_white(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, alpha] = image.get_pixel(x, y).0.map(u32::from);
        image::Rgb([r, g, b].map(|c| ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_round_as_numpy_does_and_come_back() {
        let x = Tensor::new(&[-2f32, -1.0, 0.0, 1.0, 3.0, f32::NAN], &Device::Cpu).unwrap();
        let bytes = to_rgb8(&x.reshape((1, 1, 2, 3)).unwrap()).unwrap();
        // 127.5 is rounded to the even 128.
        assert_eq!(bytes, [[0, 0, 128, 255, 255, 0]]);
        let all: Vec<u8> = (0..=255).collect();
        let image = DynamicImage::ImageLuma8(GrayImage::from_raw(16, 16, all.clone()).unwrap());
        let back = from_image(&image, &[1, 16, 16], &Device::Cpu).unwrap();
        assert_eq!(to_rgb8(&back).unwrap(), [all]);
    }

    #[test]
    fn channels_come_last_in_pixels() {
        let x = Tensor::new(&[[[[-1f32, 1.0]], [[1.0, 1.0]], [[-1.0, -1.0]]]], &Device::Cpu).unwrap();
        assert_eq!(to_rgb8(&x).unwrap(), [[0, 255, 0, 255, 255, 0]]);
        let image = to_images(&x).unwrap().remove(0);
        let back = from_image(&image, &[3, 1, 2], &Device::Cpu).unwrap();
        assert_eq!(back.flat(), x.flat());
    }

    #[test]
    fn transparent_is_white_and_sizes_are_matched() {
        let clear = DynamicImage::ImageRgba8(RgbaImage::new(7, 5));
        let x = from_image(&clear, &[3, 4, 4], &Device::Cpu).unwrap();
        assert_eq!(x.dims(), &[1, 3, 4, 4]);
        assert_eq!(to_rgb8(&x).unwrap(), [[255; 48]]);
        assert!(matches!(from_image(&clear, &[2, 4, 4], &Device::Cpu), Err(Error::Shape { .. })));
        assert!(matches!(from_image(&clear, &[1, 0, 4], &Device::Cpu), Err(Error::Shape { .. })));
    }

    trait Flat {
        fn flat(&self) -> Vec<f32>;
    }
    impl Flat for Tensor {
        fn flat(&self) -> Vec<f32> {
            self.flatten_all().unwrap().to_vec1().unwrap()
        }
    }
}
