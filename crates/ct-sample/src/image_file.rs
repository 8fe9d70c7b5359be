//! Pictures on disk.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use ct_model::folder::write_file;
use image::{DynamicImage, ImageFormat, ImageReader};

use crate::{
    error::{Error, Result},
    pixels::{from_image, to_images},
};

/// Writes a PNG that is either whole or absent: beside the file, synced, then renamed. Folders on the way are made.
///
/// # Errors
/// [`Error::Image`] when it cannot be encoded, [`Error::File`] when it cannot be written.
pub fn save_png(image: &DynamicImage, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|source| Error::Image {
        action: "encode",
        path: path.to_path_buf(),
        source,
    })?;
    Ok(write_file(path, bytes.get_ref())?)
}

/// Writes every image of a batch as `00000.png`, `00001.png`, ... counting from `first_index`.
///
/// # Shapes
/// `x`: `[N, C, H, W]` in [-1, 1], C = 1 or 3.
///
/// # Errors
/// When `x` is not a batch of images, or the folder or a file cannot be written.
pub fn save_all(x: &Tensor, dir: &Path, first_index: usize) -> Result<Vec<PathBuf>> {
    let save = |(offset, image): (usize, DynamicImage)| {
        let path = dir.join(format!("{:05}.png", first_index + offset));
        save_png(&image, &path).map(|()| path)
    };
    to_images(x)?.into_iter().enumerate().map(save).collect()
}

/// Reads a PNG, JPEG or WebP as a batch of one in the model's shape; see [`from_image`].
///
/// # Shapes
/// `shape`: `[C, H, W]` of the model, C = 1 or 3; the result is `[1, C, H, W]` f32 in [-1, 1] on `device`.
///
/// # Errors
/// When the file cannot be read or decoded, or `shape` is not that of an image.
pub fn read_image(path: &Path, shape: &[usize], device: &Device) -> Result<Tensor> {
    from_image(&open_image(path)?, shape, device)
}

/// Decodes a PNG, JPEG or WebP.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Image`] when it is no such picture.
pub fn open_image(path: &Path) -> Result<DynamicImage> {
    // The content says what it is: a picture with a wrong extension is read all the same.
    ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|source| Error::Io { path: path.to_path_buf(), source })?
        .decode()
        .map_err(|source| Error::Image { action: "decode", path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn images_go_to_disk_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new/folder");
        let x = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap();
        let x = ((x * (10.0 / 127.5)).unwrap() - 1.0).unwrap();
        let paths = save_all(&x, &dir, 7).unwrap();
        assert_eq!(paths, [dir.join("00007.png"), dir.join("00008.png")]);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing unfinished is left behind");
        for (index, path) in paths.iter().enumerate() {
            let back = read_image(path, &[3, 2, 2], &Device::Cpu).unwrap();
            let difference = (back - x.narrow(0, index, 1).unwrap()).unwrap().abs().unwrap();
            let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(largest < 1e-6, "image {index} differs by {largest}");
        }
    }

    #[test]
    fn what_is_not_an_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.png");
        fs::write(&path, "text").unwrap();
        assert!(matches!(
            read_image(&path, &[1, 2, 2], &Device::Cpu),
            Err(Error::Image { action: "decode", .. })
        ));
        let missing = folder.path().join("missing.png");
        assert!(matches!(read_image(&missing, &[1, 2, 2], &Device::Cpu), Err(Error::Io { .. })));
    }
}
