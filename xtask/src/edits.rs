//! `cargo xtask edits`: how well zero-shot edits restore held-out pictures, beside doing without a model.
//!
//! Every edit is made of the same held-out pictures by `ct edit`, and compared with them by `ct eval --pairs`:
//! the results of the model, the least picture that agrees with what is known (no model at all),
//! and, given a Python with `OpenCV` and scikit-image, what a well-known method makes of the same measurement.
//! With `--gallery` a strip of pictures is made by every edit there is, in place of the table.

mod gallery;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::mistake::Mistake;
use crate::workspace;

/// Arguments of `cargo xtask edits`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask edits --model runs/fashion --data idx:data/fashion-mnist --shape 1,28,28\n  \
    cargo xtask edits --model runs/icons --data folder:emoji --shape 3,32,32 --features efflite0.safetensors\n  \
    cargo xtask edits --model runs/icons --data folder:emoji --shape 3,32,32 --gallery --out gallery")]
pub(crate) struct Args {
    /// A model folder, a checkpoint or a run.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The data, of which the held-out part is edited.
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// Channels, height and width of the model's pictures.
    #[arg(long, value_name = "C,H,W", value_delimiter = ',', required = true)]
    shape: Vec<u32>,
    /// Make a strip of pictures by every edit, and no table.
    #[arg(long, conflicts_with_all = ["num", "features", "peer"])]
    gallery: bool,
    /// Held-out pictures.
    #[arg(long, value_name = "N", default_value_t = 500)]
    num: usize,
    /// Steps of each edit.
    #[arg(long, value_name = "N", default_value_t = 40)]
    steps: usize,
    /// Weights of a feature network for `ct eval --features`.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// A Python with `OpenCV` and scikit-image, to compare with.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Folder of the results and the table.
    #[arg(long, value_name = "DIR", default_value = "runs/edits")]
    out: PathBuf,
    /// Use this program instead of building `ct`.
    #[arg(long, value_name = "FILE")]
    ct: Option<PathBuf>,
}

/// One edit, what it is told, and what a well-known method for the same is called.
struct Edit {
    name: &'static str,
    title: String,
    args: Vec<String>,
    /// Whether results are made in steps; a denoiser takes one.
    in_steps: bool,
    known_method: &'static str,
}

/// Makes and compares every edit, and writes `table.md` and `table.json`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let &[channels @ (1 | 3), height, width] = &args.shape[..] else {
        return Err(
            Mistake(format!("--shape {:?}: expected 1 or 3 channels, height, width", args.shape)).into()
        );
    };
    if [height, width].iter().any(|side| *side < 8 || !side.is_multiple_of(4)) {
        return Err(Mistake(format!(
            "--shape {:?}: expected sides that are multiples of 4, at least 8",
            args.shape
        ))
        .into());
    }
    let workspace = workspace::load()?;
    let ct = workspace::ct_program(&workspace, args.ct.as_deref())?;
    let script = workspace.root.join("bench/pytorch/edit_baselines.py");
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    if args.gallery {
        gallery::make(args, &ct, [channels, height, width])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for edit in edits(height, width) {
        println!("== {}", edit.title);
        let row = measure(&edit, args, &ct, &script)?;
        rows.push(row);
        write(&rows, &args.out)?;
    }
    println!("\n{}", markdown(&rows));
    Ok(ExitCode::SUCCESS)
}

/// The edits of the table: a hole of a quarter of the picture, 4 and 16 times fewer pixels, blur, noise.
fn edits(height: u32, width: u32) -> Vec<Edit> {
    let edit = |name, title: &str, args: &[&str], in_steps, known_method| Edit {
        name,
        title: title.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        in_steps,
        known_method,
    };
    let rect = hole(height, width);
    vec![
        edit(
            "inpaint",
            &format!("inpaint, {}x{} in the middle", width / 2, height / 2),
            &["--rect", &rect],
            true,
            "Telea",
        ),
        edit("upscale", "upscale by 2", &["--factor", "2"], true, "bicubic"),
        edit("upscale", "upscale by 4", &["--factor", "4"], true, "bicubic"),
        edit("deblur", "deblur, 1.5 pixels", &["--std", "1.5"], true, "Richardson-Lucy"),
        edit("denoise", "denoise, sigma 0.25", &["--sigma", "0.25"], false, "non-local means"),
        edit("denoise", "denoise, sigma 0.5", &["--sigma", "0.5"], false, "non-local means"),
    ]
}

/// A rectangle in the middle, half as wide and half as high as the picture, as `--rect` takes it.
fn hole(height: u32, width: u32) -> String {
    format!("{},{},{},{}", width / 4, height / 4, width / 2, height / 2)
}

/// One line of the table.
struct Row {
    title: String,
    /// Pictures that were edited: fewer than were asked for, where fewer are held out.
    num: u64,
    known_method: &'static str,
    /// PSNR and distances of the results, of what is known alone, and of the known method.
    model: Value,
    alone: Value,
    peer: Value,
    command: String,
}

fn measure(edit: &Edit, args: &Args, ct: &Path, script: &Path) -> Result<Row> {
    let stem: String =
        edit.title.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let file = args.out.join(format!("{stem}.safetensors"));
    let mut told: Vec<String> = vec!["edit".into(), edit.name.into()];
    told.extend(edit.args.iter().cloned());
    told.extend(["--data".into(), args.data.clone(), "--pictures".into(), args.num.to_string()]);
    if edit.in_steps {
        told.extend(["--num".into(), "1".into(), "--steps".into(), args.steps.to_string()]);
    }
    let mut command = Command::new(ct);
    command.args(&told).arg("--model").arg(&args.model).arg("--save-tensors").arg(&file);
    command.arg("--out").arg(args.out.join(format!("{stem}.png")));
    println!("   {}", text_of(command)?.trim());
    let report = pairs(ct, args, &file)?;
    let mut peer = Value::Null;
    if let Some(python) = &args.peer {
        let made = args.out.join(format!("{stem}-peer.safetensors"));
        let mut command = Command::new(python);
        command.arg(script).arg(edit.name).arg("--edited").arg(&file).arg("--out").arg(&made);
        command.args(&edit.args);
        text_of(command)?;
        peer = pairs(ct, args, &made)?["samples"].clone();
    }
    let (model, alone) = (report["samples"].clone(), report["least"].clone());
    let command = format!("ct {} --model MODEL", told.join(" "));
    let num = report["num_inputs"].as_u64().unwrap_or(0);
    Ok(Row { title: edit.title.clone(), num, known_method: edit.known_method, model, alone, peer, command })
}

/// What `ct eval --pairs` says of a file.
fn pairs(ct: &Path, args: &Args, file: &Path) -> Result<Value> {
    let mut command = Command::new(ct);
    command.args(["eval", "--json", "--pairs"]).arg(file);
    if let Some(features) = &args.features {
        command.arg("--features").arg(features);
    }
    serde_json::from_str(&text_of(command)?).context("ct eval wrote no JSON")
}

/// Runs a program, and returns what it printed.
fn text_of(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "a program failed ({}); its message stands above", output.status);
    String::from_utf8(output.stdout).context("a program printed what is no text")
}

fn write(rows: &[Row], out: &Path) -> Result<()> {
    let numbers: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "edit": row.title, "model": row.model, "known alone": row.alone,
                "known method": row.known_method, "peer": row.peer, "command": row.command,
            })
        })
        .collect();
    workspace::write_tables(out, markdown(rows), &numbers)
}

/// The table in markdown, and the commands below.
fn markdown(rows: &[Row]) -> String {
    let mut text = format!(
        "{} held-out pictures; each cell is PSNR in dB, then the distance in features.\n\n\
         | edit | model | what is known, alone | known method | |\n|---|---|---|---|---|\n",
        rows.first().map_or(0, |row| row.num)
    );
    for Row { title, known_method, model, alone, peer, .. } in rows {
        let method = if peer.is_null() { "" } else { known_method };
        _ = writeln!(text, "| {title} | {} | {} | {} | {method} |", cell(model), cell(alone), cell(peer));
    }
    text.push('\n');
    for row in rows {
        _ = writeln!(text, "{}: `{}`\n", row.title, row.command);
    }
    text
}

fn cell(figures: &Value) -> String {
    let Some(figures) = figures.as_object() else { return String::new() };
    let texts = figures.iter().map(|(name, value)| {
        let value = value.as_f64().unwrap_or(f64::NAN);
        if name == "PSNR" { format!("{value:.2}") } else { format!("{value:.3}") }
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_there_is() {
        let figures = |psnr: f64| json!({ "PSNR": psnr, "distance-fashion": 1.5 });
        let row = Row {
            title: "upscale by 2".into(),
            num: 500,
            known_method: "bicubic",
            model: figures(20.0),
            alone: figures(15.0),
            peer: Value::Null,
            command: "ct edit".into(),
        };
        let text = markdown(&[row]);
        assert!(text.contains("| upscale by 2 | 20.00, 1.500 | 15.00, 1.500 |  |  |"), "{text}");
    }

    #[test]
    fn the_hole_lies_in_the_middle() {
        assert_eq!(edits(28, 28)[0].args, ["--rect", "7,7,14,14"]);
    }
}
