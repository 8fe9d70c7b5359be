//! `cargo xtask data emoji SHEET.png EMOJI.json OUT`: cut a sheet of emoji into `OUT/train` and `OUT/test`.
//!
//! Which part a picture goes to depends on its base emoji alone: the skin tones of one emoji are near-duplicates and
//! stay together, and so does an emoji with the one that replaced it, whose picture is often the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::sheet::Sheet;
use crate::mistake::Mistake;

/// One emoji in this many is held out.
const ONE_IN: u64 = 10;

/// Arguments of `cargo xtask data emoji`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The package is emoji-datasource-google 16.0.0 (Noto emoji, images Apache-2.0):
  npm pack emoji-datasource-google@16.0.0
  sha256 fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438
  tar -xzf emoji-datasource-google-16.0.0.tgz
emoji-datasource-twitter 16.0.0 (Twemoji, images CC BY 4.0) has the same layout.
Take the sheet from sheets-clean: in the other folders gaps are filled with the pictures of other vendors.

Example:
  cargo xtask data emoji package/img/google/sheets-clean/32.png package/emoji.json data/emoji
  ct train icons --data folder:data/emoji")]
pub(crate) struct Args {
    /// The sheet: square, transparent, each picture in a cell with a border of one pixel.
    #[arg(value_name = "SHEET.png")]
    sheet: PathBuf,
    /// What is where on the sheet.
    #[arg(value_name = "EMOJI.json")]
    emoji: PathBuf,
    /// The folder to make; it must not exist yet.
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

/// An emoji of the list, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Emoji {
    unified: String,
    sheet_x: u32,
    sheet_y: u32,
    #[serde(default)]
    obsoleted_by: Option<String>,
    #[serde(default)]
    skin_variations: BTreeMap<String, Picture>,
}

/// Where a picture is on the sheet, and its code: hexadecimal numbers with dashes between.
#[derive(Debug, Deserialize)]
struct Picture {
    unified: String,
    sheet_x: u32,
    sheet_y: u32,
}

/// A picture with the part it belongs to.
#[derive(Debug)]
struct Placed {
    picture: Picture,
    held_out: bool,
}

/// Cuts the sheet and says what came of it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let [train, test, empty] = cut(&args.sheet, &args.emoji, &args.out)?;
    let out = args.out.display();
    println!("{train} pictures in {out}/train, {test} in {out}/test; {empty} cells of the sheet were empty");
    println!("next: ct train icons --data folder:{out}");
    Ok(ExitCode::SUCCESS)
}

/// The numbers of pictures for training, held out, and missing on the sheet.
fn cut(sheet: &Path, emoji: &Path, out: &Path) -> Result<[usize; 3]> {
    if out.exists() {
        return Err(
            Mistake(format!("{} exists already; remove it or name another folder", out.display())).into()
        );
    }
    let placed = read_list(emoji)?;
    let cells =
        placed.iter().map(|p| p.picture.sheet_x.max(p.picture.sheet_y)).max().map_or(0, |last| last + 1);
    let sheet = Sheet::open(sheet, cells)?;

    // Made beside and renamed, so that a folder of this name is always whole.
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    for part in ["train", "test"] {
        let folder = partial.join(part);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut counts = [0; 3];
    for Placed { picture, held_out } in &placed {
        let Some(pixels) = sheet.picture(picture.sheet_x, picture.sheet_y) else {
            counts[2] += 1;
            continue;
        };
        counts[usize::from(*held_out)] += 1;
        let name = format!("{}.png", picture.unified.to_lowercase());
        let path = partial.join(if *held_out { "test" } else { "train" }).join(name);
        pixels.save(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    fs::rename(&partial, out).with_context(|| format!("cannot rename {}", partial.display()))?;
    Ok(counts)
}

/// Every emoji with its skin tones, in the order of the list.
fn read_list(path: &Path) -> Result<Vec<Placed>> {
    let unreadable = |what: &dyn std::fmt::Display| {
        Mistake(format!("{} is no list of emoji: {what}; it is emoji.json of the package", path.display()))
    };
    let text = fs::read(path).map_err(|error| Mistake(format!("cannot read {}: {error}", path.display())))?;
    let list: Vec<Emoji> = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    let mut placed = Vec::new();
    for emoji in list {
        let Emoji { unified, sheet_x, sheet_y, obsoleted_by, skin_variations } = emoji;
        let held_out = is_held_out(obsoleted_by.as_ref().unwrap_or(&unified));
        let base = Picture { unified, sheet_x, sheet_y };
        let pictures = std::iter::once(base).chain(skin_variations.into_values());
        placed.extend(pictures.map(|picture| Placed { picture, held_out }));
    }
    let is_code = |code: &str| code.split('-').all(|part| u32::from_str_radix(part, 16).is_ok());
    if let Some(bad) = placed.iter().find(|placed| !is_code(&placed.picture.unified)) {
        return Err(unreadable(&format!("`{}` is no code of an emoji", bad.picture.unified)).into());
    }
    Ok(placed)
}

/// Whether the emoji of this code is held out: a hash decides, so a newer list moves none to the other part.
fn is_held_out(code: &str) -> bool {
    let hash = Sha256::digest(code.to_uppercase());
    let number = hash.iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    number < u64::MAX / ONE_IN
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    /// Four cells of 6 pixels: an emoji, two skin tones of it (one of them not drawn), and an emoji that it replaced.
    const LIST: &str = r#"[
        {"unified": "1F385", "sheet_x": 0, "sheet_y": 0, "name": "x", "skin_variations": {
            "1F3FB": {"unified": "1F385-1F3FB", "sheet_x": 0, "sheet_y": 1},
            "1F3FC": {"unified": "1F385-1F3FC", "sheet_x": 1, "sheet_y": 0}}},
        {"unified": "00A9-FE0F", "sheet_x": 1, "sheet_y": 1, "obsoleted_by": "1F385"}
    ]"#;

    fn cell(sheet: &mut RgbaImage, x: u32, y: u32, colour: [u8; 4]) {
        for (dx, dy) in (1..5).flat_map(|dx| (1..5).map(move |dy| (dx, dy))) {
            sheet.put_pixel(6 * x + dx, 6 * y + dy, Rgba(colour));
        }
    }

    /// A folder with the sheet and the list.
    fn package() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        // The border is red: none of it may show in a picture.
        let mut sheet = RgbaImage::from_pixel(12, 12, Rgba([255, 0, 0, 255]));
        cell(&mut sheet, 0, 0, [0, 0, 255, 255]);
        cell(&mut sheet, 0, 1, [0, 0, 0, 51]);
        cell(&mut sheet, 1, 0, [9, 9, 9, 0]);
        cell(&mut sheet, 1, 1, [0, 255, 0, 255]);
        sheet.save(root.path().join("sheet.png")).unwrap();
        fs::write(root.path().join("emoji.json"), LIST).unwrap();
        root
    }

    fn cut_in(root: &Path) -> Result<[usize; 3]> {
        cut(&root.join("sheet.png"), &root.join("emoji.json"), &root.join("out"))
    }

    #[test]
    fn pictures_are_cut_without_the_border_and_laid_over_white() {
        let root = package();
        let counts = cut_in(root.path()).unwrap();
        let part = if is_held_out("1F385") { "test" } else { "train" };
        assert_eq!(counts, if part == "test" { [0, 3, 1] } else { [3, 0, 1] });
        // 255 * (1 - 0.2) = 204 where black covers a fifth.
        for (name, colour) in [("1f385", [0, 0, 255]), ("1f385-1f3fb", [204; 3]), ("00a9-fe0f", [0, 255, 0])]
        {
            let path = root.path().join("out").join(part).join(format!("{name}.png"));
            let picture = image::open(path).unwrap();
            assert_eq!(picture.color(), image::ColorType::Rgb8);
            let picture = picture.into_rgb8();
            assert_eq!(picture.dimensions(), (4, 4));
            assert!(picture.pixels().all(|pixel| pixel.0 == colour), "{name}");
        }
        assert!(!root.path().join("out.partial").exists());
    }

    #[test]
    fn a_tenth_of_the_codes_is_held_out() {
        let held_out = (0x1F300..0x1F700).filter(|code| is_held_out(&format!("{code:X}"))).count();
        // Binomial: mean 102, standard deviation 9.6.
        assert!((60..150).contains(&held_out), "{held_out}");
        assert_eq!(is_held_out("1f385"), is_held_out("1F385"));
        // By `printf CODE | sha256sum`, which begins with 1182, 052c and 93c9; a tenth ends at 1999.
        assert!(is_held_out("0039-FE0F-20E3") && is_held_out("1F191") && !is_held_out("1F385"));
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        let message = |root: &Path| {
            let error = cut_in(root).unwrap_err();
            assert!(error.is::<Mistake>(), "{error:#}");
            error.to_string()
        };
        let root = package();
        fs::create_dir(root.path().join("out")).unwrap();
        assert!(message(root.path()).contains("exists already"));

        let root = package();
        fs::write(root.path().join("emoji.json"), LIST.replace("00A9-FE0F", "../A9")).unwrap();
        assert!(message(root.path()).contains("`../A9` is no code"));
        fs::write(root.path().join("emoji.json"), "{}").unwrap();
        assert!(message(root.path()).contains("no list of emoji"));
        fs::write(root.path().join("emoji.json"), LIST.replace("\"sheet_x\": 1", "\"sheet_x\": 6")).unwrap();
        assert!(message(root.path()).contains("7 cells"));
        fs::write(root.path().join("sheet.png"), "not a picture").unwrap();
        fs::write(root.path().join("emoji.json"), LIST).unwrap();
        assert!(message(root.path()).contains("sheet.png"));
        fs::remove_file(root.path().join("emoji.json")).unwrap();
        assert!(message(root.path()).contains("cannot read"));
        assert!(!root.path().join("out").exists());
    }
}
