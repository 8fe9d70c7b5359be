//! Edits: every one of them on a tiny model, and what people get wrong.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use crate::{DIGITS, Place};

/// Pictures of 8x8 in colour, as a model of a second learns them.
const ICONS: &[&str] = &["--data", "folder:pictures", "--set", "data.size=8", "--set", "data.channels=3"];

fn gray() -> Place {
    let place = Place::new();
    place.ct(&[DIGITS, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    picture(8, 8).save(place.path().join("in.png")).unwrap();
    place
}

fn colour() -> Place {
    let place = Place::new();
    place.write_pictures("pictures", 8);
    place.ct(&[DIGITS, ICONS, &["--set", "score.num=0", "--out", "run"]].concat()).ok();
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([x, y, 7 - x].map(|v| u8::try_from(v * 36).unwrap())));
    image.save(place.path().join("in.png")).unwrap();
    place
}

fn picture(width: u32, height: u32) -> DynamicImage {
    let value = |x, y| u8::try_from((x * x * 31 + y * y * 17 + x * y * 57) % 256).unwrap();
    GrayImage::from_fn(width, height, |x, y| Luma([value(x, y)])).into()
}

fn edit(place: &Place, args: &[&str]) -> crate::Answer {
    let (edit, rest) = args.split_at(1);
    let steps: &[&str] = match edit[0] {
        "denoise" | "stroke" | "vary" | "interpolate" | "invert" => &[],
        _ => &["--steps", "3"],
    };
    place.ct(&[&["edit"], edit, &["--model", "run", "--seed", "4"], steps, rest].concat())
}

fn tensors(place: &Place, path: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(place.path().join(path), &Device::Cpu).unwrap()
}

fn size(place: &Place, path: impl AsRef<Path>) -> (u32, u32) {
    let image = image::open(place.path().join(path)).unwrap();
    (image.width(), image.height())
}

/// Width of a strip of so many pictures of 8 x 8, each 8 times as large.
fn strip(columns: u32) -> u32 {
    columns * 66 + 2
}

#[test]
fn a_hole_is_filled_and_the_rest_is_kept() {
    let place = gray();
    let fill = |more: &[&str]| {
        edit(&place, &[&["inpaint", "--input", "in.png", "--rect", "2,2,4,4"], more].concat()).ok()
    };
    let answer = fill(&["--num", "2", "--save-tensors", "out.safetensors"]);
    assert!(answer.out.contains("2 results of 3 steps"), "{answer:?}");
    assert!(answer.out.contains("edit.png (known | results)"), "{answer:?}");
    assert_eq!(size(&place, "edit.png"), (strip(3), strip(1)));
    let out = tensors(&place, "out.safetensors");
    let (samples, known) = (&out["samples"], &out["measured"]);
    assert_eq!(samples.dims(), [2, 1, 8, 8]);
    let at = |x: &Tensor, i: usize, row: usize, column: usize| {
        x.get(i).unwrap().get(0).unwrap().get(row).unwrap().get(column).unwrap().to_scalar::<f32>().unwrap()
    };
    for (row, column) in (0..8).flat_map(|row| (0..8).map(move |column| (row, column))) {
        let is_hole = (2..6).contains(&row) && (2..6).contains(&column);
        for i in 0..2 {
            let same = at(samples, i, row, column).to_bits() == at(known, 0, row, column).to_bits();
            assert_eq!(same, !is_hole, "sample {i} at {row}, {column}");
        }
    }
    // The second result is that of the second noise, in any batch and any number.
    fill(&["--num", "5", "--batch", "2", "--save-tensors", "more.safetensors"]);
    let difference =
        (samples - tensors(&place, "more.safetensors")["samples"].narrow(0, 0, 2).unwrap()).unwrap();
    assert!(difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
}

#[test]
fn a_hole_is_named_in_many_ways() {
    let place = gray();
    let mut mask = GrayImage::new(8, 8);
    mask.put_pixel(3, 1, Luma([255]));
    mask.save(place.path().join("mask.png")).unwrap();
    let hole = |path: &str| {
        let out = tensors(&place, path);
        let changed = (&out["samples"] - &out["measured"]).unwrap().abs().unwrap().gt(0.0).unwrap();
        changed.to_dtype(DType::F32).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let run = |args: &[&str]| {
        edit(&place, &[&["inpaint", "--num", "1", "--save-tensors", "out.safetensors"], args].concat()).ok();
        hole("out.safetensors")
    };
    assert!((run(&["--input", "in.png", "--mask", "mask.png"]) - 1.0).abs() < f32::EPSILON);
    let missing = run(&["--input", "in.png", "--missing", "0.5"]);
    assert!((16.0..48.0).contains(&missing), "{missing} of 64 pixels");

    let mut clear = RgbaImage::from_pixel(8, 8, Rgba([200, 200, 200, 255]));
    clear.put_pixel(0, 0, Rgba([0, 0, 0, 0]));
    clear.put_pixel(1, 0, Rgba([0, 0, 0, 0]));
    clear.save(place.path().join("clear.png")).unwrap();
    assert!((run(&["--input", "clear.png"]) - 2.0).abs() < f32::EPSILON);

    let x = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let mask =
        Tensor::cat(&[x.narrow(2, 0, 2).unwrap(), x.narrow(2, 0, 6).unwrap().affine(0.0, 1.0).unwrap()], 2);
    let file = HashMap::from([("input".to_owned(), x), ("mask".to_owned(), mask.unwrap())]);
    candle_core::safetensors::save(&file, place.path().join("in.safetensors")).unwrap();
    assert!((run(&["--input", "in.safetensors"]) - 96.0).abs() < f32::EPSILON);
    edit(&place, &["inpaint", "--input", "in.png"]).failed(2, &["nothing says what to fill", "--mask"]);
}

#[test]
fn gray_pictures_take_every_edit_that_needs_no_colour() {
    let place = gray();
    let measured: &[&[&str]] = &[
        &["outpaint"],
        &["outpaint", "--at", "0,0", "--size", "5,3"],
        &["upscale", "--factor", "2"],
        &["deblur", "--std", "0.8"],
        &["sense", "--share", "0.3"],
    ];
    for args in measured {
        let answer =
            edit(&place, &[args, &["--input", "in.png", "--measure", "--num", "2"][..]].concat()).ok();
        assert!(answer.out.contains("PSNR") && answer.out.contains("without the model"), "{answer:?}");
        assert_eq!(size(&place, "edit.png"), (strip(4), strip(1)), "{args:?}");
    }
    let answer = edit(&place, &["denoise", "--input", "in.png", "--measure", "--sigma", "0.3"]).ok();
    assert!(answer.out.contains("PSNR") && answer.out.contains("before"), "{answer:?}");
    edit(&place, &["denoise", "--input", "in.png", "--out", "clean.png"]).ok();
    assert_eq!(size(&place, "clean.png"), (strip(2), strip(1)));
    edit(&place, &["stroke", "--input", "in.png", "--num", "3", "--results", "all"]).ok();
    assert!(place.exists("all/00002.png") && !place.exists("all/00003.png"));
    edit(&place, &["vary", "--input", "in.png", "in.png", "--num", "2", "--out", "new/vary.png"]).ok();
    assert_eq!(size(&place, "new/vary.png"), (strip(3), strip(2)));
}

#[test]
fn what_is_observed_can_be_given_as_it_is() {
    let place = gray();
    picture(4, 4).save(place.path().join("small.png")).unwrap();
    edit(&place, &["upscale", "--factor", "2", "--input", "small.png", "--save-tensors", "out.safetensors"])
        .ok();
    let out = tensors(&place, "out.safetensors");
    let means = out["samples"].avg_pool2d(2).unwrap();
    let largest = means.broadcast_sub(&out["measured"]).unwrap().abs().unwrap().max_all().unwrap();
    assert!(largest.to_scalar::<f32>().unwrap() < 1e-5);
    edit(&place, &["outpaint", "--input", "small.png", "--at", "4,0"]).ok();
    edit(&place, &["upscale", "--factor", "2", "--input", "in.png"])
        .failed(2, &["4x4 pixels", "--measure", "8x8 pixels"]);

    let matrix = Tensor::ones((1, 64), DType::F32, &Device::Cpu).unwrap();
    let file = HashMap::from([("matrix".to_owned(), (matrix / 64.0).unwrap())]);
    candle_core::safetensors::save(&file, place.path().join("mean.safetensors")).unwrap();
    let measured = Tensor::new(&[[[0.25f32]]], &Device::Cpu).unwrap();
    let file = HashMap::from([("measured".to_owned(), measured)]);
    candle_core::safetensors::save(&file, place.path().join("y.safetensors")).unwrap();
    let args = ["--matrix", "mean.safetensors", "--save-tensors", "out.safetensors"];
    edit(&place, &[&["linear", "--input", "y.safetensors"], &args[..]].concat()).ok();
    let means = tensors(&place, "out.safetensors")["samples"].flatten_from(1).unwrap().mean(1).unwrap();
    for mean in means.to_vec1::<f32>().unwrap() {
        assert!((mean - 0.25).abs() < 1e-5, "{mean}");
    }
    edit(&place, &[&["linear", "--input", "in.png"], &args[..]].concat()).ok();
}

#[test]
fn colour_pictures_take_the_edits_of_colour() {
    let place = colour();
    edit(&place, &["colorize", "--input", "in.png", "--measure", "--save-tensors", "out.safetensors"]).ok();
    let out = tensors(&place, "out.safetensors");
    let weights =
        Tensor::new(&[0.299f32, 0.587, 0.114], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let gray = out["samples"].broadcast_mul(&weights).unwrap().sum_keepdim(1).unwrap();
    let largest = gray.broadcast_sub(&out["measured"]).unwrap().abs().unwrap().max_all().unwrap();
    assert!(largest.to_scalar::<f32>().unwrap() < 1e-5, "the gray picture is that of the input");
    picture(8, 8).save(place.path().join("gray.png")).unwrap();
    edit(&place, &["colorize", "--input", "gray.png"]).ok();
    edit(&place, &["demosaic", "--input", "gray.png", "--pattern", "gbrg"]).ok();
    edit(&place, &["demosaic", "--input", "in.png", "--measure"]).ok();
    assert_eq!(size(&place, "edit.png"), (strip(6), strip(1)));
    let mut kernel = GrayImage::new(3, 3);
    kernel.put_pixel(0, 0, Luma([255]));
    kernel.put_pixel(1, 1, Luma([255]));
    kernel.save(place.path().join("kernel.png")).unwrap();
    edit(&place, &["deblur", "--input", "in.png", "--measure", "--kernel", "kernel.png"]).ok();
}

#[test]
fn noises_are_found_and_mixed() {
    let place = gray();
    edit(&place, &["interpolate", "--seeds", "1,2", "--frames", "5"]).ok();
    assert_eq!(size(&place, "edit.png"), (strip(5), strip(1)));
    place
        .ct(&["sample", "--model", "run", "--num", "1", "--seed", "2", "--save-tensors", "end.safetensors"])
        .ok();
    edit(&place, &["interpolate", "--seeds", "1,2", "--frames", "2", "--save-tensors", "out.safetensors"])
        .ok();
    let end = tensors(&place, "out.safetensors")["samples"].narrow(0, 1, 1).unwrap();
    let difference = (end - &tensors(&place, "end.safetensors")["samples"]).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5, "it ends at the second sample");

    place.ct(&["sample", "--model", "run", "--num", "2", "--seed", "3", "--out", "two"]).ok();
    let pair = ["two/00000.png", "two/00001.png"];
    let answer = edit(
        &place,
        &[&["invert", "--iterations", "30", "--save-tensors", "z.safetensors", "--input"], &pair[..]]
            .concat(),
    )
    .ok();
    assert!(answer.out.contains("the noise of 2 pictures, made again with PSNR"), "{answer:?}");
    place
        .ct(&["sample", "--model", "run", "--noise", "z.safetensors", "--save-tensors", "again.safetensors"])
        .ok();
    let (found, again) = (tensors(&place, "z.safetensors"), tensors(&place, "again.safetensors"));
    let difference = (&found["samples"] - &again["samples"]).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    edit(&place, &[&["interpolate", "--iterations", "5", "--frames", "3", "--input"], &pair[..]].concat())
        .ok();
    assert_eq!(size(&place, "edit.png"), (strip(5), strip(1)), "both pictures stand at the ends");
    edit(&place, &["interpolate", "--seeds", "1"]).failed(2, &["--seeds", "two numbers"]);
    edit(&place, &["interpolate", "--input", "in.png"]).failed(2, &["it takes two"]);
}

#[test]
fn a_denoiser_is_inverted_by_its_ode() {
    let place = Place::new();
    let more = ["--set", "score.num=0", "--set", "train.recipe=diffusion", "--out", "run"];
    place.ct(&[DIGITS, &more[..]].concat()).ok();
    picture(8, 8).save(place.path().join("in.png")).unwrap();
    let answer = edit(&place, &["invert", "--input", "in.png"]).ok();
    assert!(answer.out.contains("the noise of 1 pictures"), "{answer:?}");
    place.ct(&["sample", "--model", "run", "--num", "4", "--sampler", "dpmpp2m", "--steps", "6"]).ok();
    place.ct(&["sample", "--model", "run", "--num", "4", "--gamma", "0.5"]).failed(2, &["--gamma", "ODE"]);
    place.ct(&["search", "--model", "run"]).failed(2, &["a denoiser"]);
}

#[test]
fn mistakes_are_told_before_the_work() {
    let place = gray();
    let inpaint = |args: &[&str]| edit(&place, &[&["inpaint", "--input", "in.png"], args].concat());
    GrayImage::new(5, 8).save(place.path().join("narrow.png")).unwrap();
    inpaint(&["--mask", "narrow.png"]).failed(2, &["narrow.png", "5x8 pixels", "8x8"]);
    GrayImage::new(8, 8).save(place.path().join("nothing.png")).unwrap();
    inpaint(&["--mask", "nothing.png"]).failed(2, &["covers nothing"]);
    inpaint(&["--rect", "0,0,8,8"]).failed(2, &["covers everything", "sample"]);
    inpaint(&["--rect", "9,9,2,2"]).failed(2, &["covers nothing"]);
    inpaint(&["--rect", "1,2,3"]).failed(2, &["X,Y,W,H"]);
    inpaint(&["--missing", "1.5"]).failed(2, &["1.5", "between 0 and 1"]);
    let rect: &[&str] = &["--rect", "2,2,4,4"];
    let with = |args: &[&str]| inpaint(&[rect, args].concat());
    with(&["--class", "3"]).failed(2, &["--class 3", "knows no classes"]);
    with(&["--guidance", "2"]).failed(2, &["guidance", "label_dropout"]);
    with(&["--out", "edit.jpg"]).failed(2, &["edit.jpg", ".png"]);
    let sigmas = |levels: &str| {
        place.ct(&[
            "edit", "inpaint", "--model", "run", "--input", "in.png", "--rect", "2,2,4,4", "--sigmas", levels,
        ])
    };
    sigmas("1,2").failed(2, &["sigma 2", "not below the one before"]);
    sigmas("900").failed(2, &["sigma 900", "(0.002, 20]"]);
    edit(&place, &["denoise", "--input", "in.png", "--sigma", "0.001"]).failed(2, &["sigma 0.001"]);
    picture(9, 9).save(place.path().join("large.png")).unwrap();
    edit(&place, &["vary", "--input", "large.png"]).failed(2, &["large.png has 9x9 pixels", "8x8", "--fit"]);
    edit(&place, &["vary", "--input", "large.png", "--fit"]).ok();
    edit(&place, &["outpaint", "--input", "large.png"]).failed(2, &["9x9", "only a smaller one"]);
    picture(4, 4).save(place.path().join("small.png")).unwrap();
    edit(&place, &["outpaint", "--input", "small.png", "--at", "6,0"])
        .failed(2, &["--at 6,0", "leave the canvas"]);
    edit(&place, &["vary", "--input", "nowhere.png"]).failed(2, &["nowhere.png"]);
    place.write("text.png", "text");
    edit(&place, &["vary", "--input", "text.png"]).failed(2, &["text.png", "no picture"]);
    edit(&place, &["colorize", "--input", "in.png"]).failed(2, &["colour picture"]);
    edit(&place, &["upscale", "--input", "in.png", "--factor", "3"])
        .failed(2, &["factor 3", "divide both sides"]);
    edit(&place, &["deblur", "--input", "in.png", "--kernel", "small.png"]).failed(2, &["kernel", "odd"]);
    edit(&place, &["deblur", "--input", "in.png", "--std", "0"]).failed(2, &["standard deviation of 0"]);
    edit(&place, &["sense", "--input", "in.png", "--share", "0"]).failed(2, &["share 0"]);
    let flat = GrayImage::from_pixel(8, 8, Luma([77]));
    flat.save(place.path().join("flat.png")).unwrap();
    edit(&place, &["denoise", "--input", "flat.png"]).failed(2, &["no noise was found", "--sigma"]);
    assert!(
        !place.exists("edit.png") || size(&place, "edit.png") == (strip(9), strip(1)),
        "only vary has drawn"
    );

    let save = |name: &str, tensor: Tensor| {
        let file = HashMap::from([(name.to_owned(), tensor)]);
        candle_core::safetensors::save(&file, place.path().join("x.safetensors")).unwrap();
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    save("input", zeros(&[2, 3, 8, 8]));
    edit(&place, &["vary", "--input", "x.safetensors"])
        .failed(2, &["`input` has shape [2, 3, 8, 8]", "[1, 8, 8]"]);
    save("other", zeros(&[2, 3, 8, 8]));
    edit(&place, &["vary", "--input", "x.safetensors"]).failed(2, &["no tensor named `input`"]);
    save("input", (zeros(&[1, 1, 8, 8]) + 255.0).unwrap());
    edit(&place, &["vary", "--input", "x.safetensors"]).failed(2, &["reaches to 255", "[-1, 1]"]);
    let linear = || edit(&place, &["linear", "--input", "in.png", "--matrix", "x.safetensors"]);
    save("matrix", zeros(&[3, 63]));
    linear().failed(2, &["the measurement matrix has shape [3, 63]", "d = 64"]);
    save("matrix", zeros(&[3, 64]));
    linear().failed(2, &["rank 0"]);
    save("matrx", zeros(&[3, 64]));
    linear().failed(2, &["no tensor named `matrix`"]);
}

#[test]
fn vectors_are_left_to_the_library() {
    let place = Place::new();
    place.ct(&[crate::TOY, &["--out", "run"]].concat()).ok();
    picture(8, 8).save(place.path().join("in.png")).unwrap();
    edit(&place, &["vary", "--input", "in.png"]).failed(2, &["makes vectors", "ct_sample::edit"]);
}
