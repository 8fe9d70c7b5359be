//! A square sheet of pictures in cells, each with a border of one pixel.

use std::path::Path;

use anyhow::Result;
use image::{ImageReader, Rgb, RgbImage, RgbaImage};

use crate::mistake::Mistake;

/// Pixels around each picture.
const BORDER: u32 = 1;

pub(crate) struct Sheet {
    pixels: RgbaImage,
    /// Side of a cell.
    side: u32,
}

impl Sheet {
    /// A sheet of `cells` by `cells` cells.
    pub(crate) fn open(path: &Path, cells: u32) -> Result<Self> {
        let mistake = |what: String| Mistake(format!("{}: {what}", path.display()));
        let unreadable = |error: &dyn std::fmt::Display| mistake(format!("cannot read the picture: {error}"));
        let mut reader = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|error| unreadable(&error))?;
        // The sheet of 64 pixels takes 68 MB; the limit of the decoder is for pictures from strangers.
        reader.no_limits();
        let pixels = reader.decode().map_err(|error| unreadable(&error))?.into_rgba8();
        let (width, height) = pixels.dimensions();
        if width != height || cells == 0 || width % cells != 0 || width / cells <= 2 * BORDER {
            let what =
                format!("{width}x{height} pixels cannot be cut into {cells}x{cells} cells, as the list says");
            return Err(mistake(format!(
                "{what}; sheet and list must be of one package, with {cells} cells a side"
            ))
            .into());
        }
        Ok(Self { pixels, side: width / cells })
    }

    /// A picture over white, or nothing where the cell is transparent.
    pub(crate) fn picture(&self, column: u32, row: u32) -> Option<RgbImage> {
        let inner = self.side - 2 * BORDER;
        let pixel =
            |x, y| self.pixels.get_pixel(column * self.side + BORDER + x, row * self.side + BORDER + y).0;
        let picture = RgbImage::from_fn(inner, inner, |x, y| over_white(pixel(x, y)));
        let drawn = (0..inner * inner).any(|i| pixel(i % inner, i / inner)[3] != 0);
        drawn.then_some(picture)
    }
}

fn over_white([red, green, blue, alpha]: [u8; 4]) -> Rgb<u8> {
    let blend = |colour: u8| {
        let sum = u32::from(colour) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
        u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
    };
    Rgb([red, green, blue].map(blend))
}
