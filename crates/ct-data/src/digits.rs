//! The digits that are part of the binary; credits are in `data/NOTICE.md`.

use std::io::Read;

use ct_random::{Purpose, permutation};
use flate2::read::GzDecoder;

use crate::dataset::numbered_classes;
use crate::fit::to_shape;
use crate::{Dataset, Error, LoadOptions, Result, Split};

const COMPRESSED: &[u8] = include_bytes!("../data/digits.csv.gz");
const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
/// Pixels count the dark points of a 4x4 block: 0 to 16.
const BRIGHTEST: u8 = 16;
const COUNT: usize = 1797;
const TRAIN_COUNT: usize = 1500;
/// Names the permutation whose end is the test split; never changes.
const SPLIT_SEED: u64 = 0;

pub(crate) fn load(options: &LoadOptions) -> Result<Dataset> {
    let (pixels, labels) = parse()?;
    let order = permutation(SPLIT_SEED, Purpose::Data, 0, COUNT);
    let chosen = match options.split {
        Split::Train => &order[..TRAIN_COUNT],
        Split::Test => &order[TRAIN_COUNT..],
        Split::All => &order[..],
    };
    let mut bytes = Vec::with_capacity(chosen.len() * PIXELS);
    for &i in chosen {
        bytes.extend_from_slice(&pixels[i as usize]);
    }
    let labels = chosen.iter().map(|&i| labels[i as usize]).collect();

    let own = [1, SIDE, SIDE];
    let [height, width] = options.size.unwrap_or([SIDE, SIDE]);
    let shape = [options.channels.unwrap_or(1), height, width];
    let dataset = if shape == own {
        // The 17 levels stay what they are: v / 8 - 1 is exact.
        Dataset::from_levels("digits", own, bytes, BRIGHTEST)?
    } else {
        // 255 / 16 is not whole: resized and coloured images are rounded to bytes.
        for v in &mut bytes {
            *v = stretch(*v);
        }
        Dataset::from_images("digits", shape, to_shape(bytes, own, shape))?
    };
    dataset.with_labels(labels, numbered_classes(10))
}

/// 0..=16 to 0..=255, rounded.
fn stretch(v: u8) -> u8 {
    let rounded = (u16::from(v) * 255 + 8) / 16;
    u8::try_from(rounded).unwrap_or(u8::MAX)
}

/// Pixels and labels, in the order of the file.
fn parse() -> Result<(Vec<[u8; PIXELS]>, Vec<u32>)> {
    let mut csv = String::new();
    GzDecoder::new(COMPRESSED).read_to_string(&mut csv).map_err(|_| Error::Embedded { line: 0 })?;
    let rows: Vec<_> = (1..)
        .zip(csv.lines())
        .map(|(line, text)| row(text).ok_or(Error::Embedded { line }))
        .collect::<Result<_>>()?;
    if rows.len() != COUNT {
        return Err(Error::Embedded { line: rows.len() });
    }
    Ok(rows.into_iter().unzip())
}

/// 64 values from 0 to 16, then a label from 0 to 9.
fn row(text: &str) -> Option<([u8; PIXELS], u32)> {
    let values: Vec<u8> = text.split(',').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let (pixels, [label]) = values.split_first_chunk::<PIXELS>()? else {
        return None;
    };
    let valid = pixels.iter().all(|&v| v <= BRIGHTEST) && *label < 10;
    valid.then_some((*pixels, u32::from(*label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let (pixels, labels) = parse().unwrap();
        assert_eq!((pixels.len(), labels.len()), (COUNT, COUNT));
        // Facts of the published set: how many of each digit, and the first row of the first image.
        let counts: Vec<usize> =
            (0..10).map(|digit| labels.iter().filter(|&&l| l == digit).count()).collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(pixels[0][..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    }

    #[test]
    fn bad_rows_are_refused() {
        let good = format!("{}3", "0,".repeat(64));
        assert!(row(&good).is_some());
        for bad in [
            String::new(),
            "0,".repeat(64),
            format!("17,{}3", "0,".repeat(63)),
            format!("{}10", "0,".repeat(64)),
            format!("{good},1"),
        ] {
            assert_eq!(row(&bad), None, "{bad}");
        }
    }

    #[test]
    fn stretched_ends_are_exact() {
        assert_eq!([0, 8, 16].map(stretch), [0, 128, 255]);
    }
}
