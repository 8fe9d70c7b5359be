//! Pictures of any kind brought to one shape of bytes.

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, Rgb, RgbImage};
use rayon::prelude::*;

/// A picture as bytes `[C, H, W]`: laid over white, cropped to the largest centred region of the aspect `W : H`, resized.
///
/// Transparency and colour are resolved first, so that the filter never mixes in the colour of a transparent pixel.
/// The filter is Lanczos with three lobes; its support grows with the scale, so that a downscaled picture does not alias.
/// A picture of eight times the size or more is first averaged to four times the size, which makes photographs load several times faster.
pub(crate) fn fit(picture: DynamicImage, [channels, height, width]: [usize; 3]) -> Vec<u8> {
    let rgb = over_white(picture);
    let plain =
        if channels == 1 { DynamicImage::ImageLuma8(luma(&rgb)) } else { DynamicImage::ImageRgb8(rgb) };
    let size = [side(width), side(height)];
    let cropped = crop_to_aspect(plain, size);
    let resized = if [cropped.width(), cropped.height()] == size { cropped } else { resize(&cropped, size) };
    if channels == 1 { resized.into_luma8().into_raw() } else { planar(&resized.into_rgb8()) }
}

fn resize(picture: &DynamicImage, [width, height]: [u32; 2]) -> DynamicImage {
    let lanczos = |picture: &DynamicImage| picture.resize_exact(width, height, FilterType::Lanczos3);
    if picture.width() < 8 * width || picture.height() < 8 * height {
        return lanczos(picture);
    }
    lanczos(&picture.thumbnail_exact(4 * width, 4 * height))
}

/// Images `[N, C, H, W]` of bytes from the shape `from` to the shape `to`.
pub(crate) fn to_shape(bytes: Vec<u8>, from: [usize; 3], to: [usize; 3]) -> Vec<u8> {
    if from == to {
        return bytes;
    }
    bytes
        .par_chunks_exact(from.iter().product())
        .flat_map_iter(|image| fit(picture(image, from), to))
        .collect()
}

/// Composites a picture over white: RGB without transparency.
fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let (width, height) = rgba.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        Rgb([r, g, b].map(|v| blend(v, alpha)))
    })
}

/// `v` with opacity `alpha / 255` over white, rounded.
fn blend(v: u8, alpha: u8) -> u8 {
    let (v, alpha) = (u16::from(v), u16::from(alpha));
    let sum = v * alpha + 255 * (255 - alpha);
    u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
}

/// Gray by the weights .299, .587, .114 of ITU-R BT.601: those of the colourization edit.
fn luma(rgb: &RgbImage) -> GrayImage {
    let (width, height) = rgb.dimensions();
    GrayImage::from_fn(width, height, |x, y| {
        let [r, g, b] = rgb.get_pixel(x, y).0.map(u32::from);
        let gray = (299 * r + 587 * g + 114 * b + 500) / 1000;
        image::Luma([u8::try_from(gray).unwrap_or(u8::MAX)])
    })
}

/// The largest centred region with the aspect of `size`, to the nearest pixel.
fn crop_to_aspect(picture: DynamicImage, size: [u32; 2]) -> DynamicImage {
    let own = [picture.width(), picture.height()];
    let [width, height] = largest_of_aspect(own, size);
    if [width, height] == own {
        return picture;
    }
    picture.crop_imm((own[0] - width) / 2, (own[1] - height) / 2, width, height)
}

/// Width and height of the largest rectangle of this aspect within a picture, each at least 1.
fn largest_of_aspect([width, height]: [u32; 2], [w, h]: [u32; 2]) -> [u32; 2] {
    let scaled = |side: u32, numerator: u32, denominator: u32, limit: u32| {
        let (n, d) = (u64::from(numerator), u64::from(denominator));
        let rounded = (2 * u64::from(side) * n + d) / (2 * d);
        u32::try_from(rounded).unwrap_or(limit).clamp(1, limit)
    };
    if u64::from(width) * u64::from(h) > u64::from(height) * u64::from(w) {
        [scaled(height, w, h, width), height]
    } else {
        [width, scaled(width, h, w, height)]
    }
}

/// The picture that bytes `[C, H, W]` are.
fn picture(bytes: &[u8], [channels, height, width]: [usize; 3]) -> DynamicImage {
    let plane = height * width;
    let at = |x: u32, y: u32| y as usize * width + x as usize;
    let [w, h] = [side(width), side(height)];
    if channels == 1 {
        DynamicImage::ImageLuma8(GrayImage::from_fn(w, h, |x, y| image::Luma([bytes[at(x, y)]])))
    } else {
        DynamicImage::ImageRgb8(RgbImage::from_fn(w, h, |x, y| {
            Rgb([0, 1, 2].map(|channel| bytes[channel * plane + at(x, y)]))
        }))
    }
}

/// One channel after the other.
fn planar(rgb: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| rgb.pixels().map(move |pixel| pixel.0[channel])).collect()
}

/// A side in the type of the `image` crate; sides are checked to be small before they get here.
fn side(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    #[test]
    fn planes_survive_a_round_trip() {
        let shape = [3, 4, 5];
        let bytes: Vec<u8> = (0..60).collect();
        assert_eq!(fit(picture(&bytes, shape), shape), bytes);
    }

    #[test]
    fn transparent_pixels_become_white_before_the_resize() {
        // Opaque black on the left, transparent red on the right: no red may show.
        let rgba =
            image::RgbaImage::from_fn(8, 8, |x, _| Rgba(if x < 4 { [0, 0, 0, 255] } else { [255, 0, 0, 0] }));
        let bytes = fit(DynamicImage::ImageRgba8(rgba), [3, 4, 4]);
        let (red, green, blue) = (&bytes[..16], &bytes[16..32], &bytes[32..]);
        assert!(red == green && green == blue);
        assert_eq!((red[0], red[3]), (0, 255));
    }

    #[test]
    fn blends_exactly_at_the_ends() {
        for v in 0..=255 {
            assert_eq!((blend(v, 255), blend(v, 0)), (v, 255));
        }
    }

    #[test]
    fn crops_are_centred_and_as_large_as_possible() {
        for (own, size, expected) in [
            ([100, 50], [8, 8], [50, 50]),
            ([50, 100], [8, 8], [50, 50]),
            ([64, 64], [8, 8], [64, 64]),
            ([100, 100], [16, 8], [100, 50]),
            ([65_000, 1], [8, 8], [1, 1]),
            ([1, 1], [1, 8192], [1, 1]),
        ] {
            assert_eq!(largest_of_aspect(own, size), expected, "{own:?} to {size:?}");
        }
        // A column of white in the middle of black remains in the middle.
        let wide =
            GrayImage::from_fn(30, 10, |x, _| image::Luma([if (10..20).contains(&x) { 255 } else { 0 }]));
        let bytes = fit(DynamicImage::ImageLuma8(wide), [1, 10, 10]);
        assert!(bytes.iter().all(|&v| v == 255));
    }

    #[test]
    fn fine_stripes_average_out_when_downscaled() {
        // Stripes of one pixel, eight times too fine for the result: a filter that aliases would keep black or white.
        // Lanczos leaves a ripple of a few levels near the border.
        const TOLERANCE: u8 = 8;
        let stripes = GrayImage::from_fn(64, 64, |x, _| image::Luma([if x % 2 == 0 { 0 } else { 255 }]));
        let bytes = fit(DynamicImage::ImageLuma8(stripes), [1, 8, 8]);
        assert!(bytes.iter().all(|v| v.abs_diff(128) < TOLERANCE), "{bytes:?}");
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels from 28 to 228")]
    fn averaging_first_changes_little() {
        // Levels of a smooth picture; averaging blocks to their upper bounds shifts it by up to 1/16 of a pixel.
        const TOLERANCE: u8 = 4;
        let smooth = GrayImage::from_fn(300, 200, |x, y| {
            let wave = (f64::from(x) / 60.0).sin() * (f64::from(y) / 50.0).cos();
            image::Luma([wave.mul_add(100.0, 128.0) as u8])
        });
        let smooth = DynamicImage::ImageLuma8(smooth);
        let direct = smooth.resize_exact(24, 16, FilterType::Lanczos3).into_luma8();
        let averaged = resize(&smooth, [24, 16]).into_luma8();
        let difference = direct.iter().zip(averaged.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(difference.is_some_and(|d| (1..=TOLERANCE).contains(&d)), "{difference:?}");
    }

    #[test]
    fn gray_of_gray_is_itself() {
        for v in 0..=255_u8 {
            let rgb = RgbImage::from_pixel(1, 1, Rgb([v, v, v]));
            assert_eq!(luma(&rgb).into_raw(), [v]);
        }
    }
}
