//! The program `ct`, as a person or a script uses it.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod adapted;
mod bad_input;
mod composed;
mod edit;
mod ema;
mod eval;
mod export;
mod forward;
mod interrupted;
mod precision;
mod recipes;
mod sample;
mod search;
mod train;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A tiny run on points: a fraction of a second.
const TOY: &[&str] = &[
    "train",
    "toy",
    "--set",
    "train.steps=10",
    "--set",
    "train.batch_size=16",
    "--set",
    "train.warmup_steps=2",
    "--set",
    "model.mlp.hidden_dim=8",
    "--set",
    "model.mlp.num_blocks=1",
    "--set",
    "checkpoint.every_steps=4",
    "--set",
    "sample.every_steps=5",
    "--set",
    "score.num=0",
];

/// A tiny run on images: a second.
const DIGITS: &[&str] = &[
    "train",
    "digits",
    "--set",
    "train.steps=4",
    "--set",
    "train.batch_size=8",
    "--set",
    "train.warmup_steps=1",
    "--set",
    "model.unet.block_out_channels=[8, 8]",
    "--set",
    "model.unet.norm_num_groups=4",
    "--set",
    "model.unet.attention_head_dim=4",
    "--set",
    "checkpoint.every_steps=2",
    "--set",
    "sample.every_steps=2",
    "--set",
    "sample.num=4",
    "--set",
    "sample.columns=2",
    "--set",
    "score.num=100",
];

/// A folder to work in.
struct Place(TempDir);

/// What `ct` answered.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `ct` in this folder, with one argument for each word.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ct"));
        command.args(args).current_dir(self.path()).env_remove("RUST_LOG");
        command.stdin(std::process::Stdio::null());
        command
    }

    fn ct(&self, args: &[&str]) -> Answer {
        Answer::new(&self.command(args).output().unwrap())
    }

    /// `ct` under a limit on the size of files, which is what a full disk looks like: writing fails.
    fn ct_on_full_disk(&self, args: &[&str]) -> Answer {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ct")]);
        command.args(args).current_dir(self.path()).env_remove("RUST_LOG");
        Answer::new(&command.output().unwrap())
    }

    fn exists(&self, path: &str) -> bool {
        self.path().join(path).exists()
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Replaces a piece of a text file, which must be there.
    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = self.read(path);
        assert!(text.contains(old), "{path} does not hold {old}: {text}");
        self.write(path, text.replacen(old, new, 1));
    }

    /// Drops the second half of a file.
    fn cut_short(&self, path: &str) {
        let bytes = std::fs::read(self.path().join(path)).unwrap();
        self.write(path, &bytes[..bytes.len() / 2]);
    }

    /// A folder of pictures, of which all can be read.
    fn write_pictures(&self, dir: &str, num: u32) {
        std::fs::create_dir_all(self.path().join(dir)).unwrap();
        for i in 0..num {
            let picture = image::RgbImage::from_fn(12, 10, |x, y| image::Rgb([x, y, i].map(pattern)));
            picture.save(self.path().join(dir).join(format!("{i}.png"))).unwrap();
        }
    }
}

impl Answer {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Everything went well.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with this exit code, and a message that holds all of these pieces.
    #[track_caller]
    fn failed(self, code: i32, pieces: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains("error: "), "{self:?}");
        for piece in pieces {
            assert!(self.err.contains(piece), "no {piece:?} in {self:?}");
        }
        self
    }
}

/// Some byte for each number.
fn pattern(number: u32) -> u8 {
    (20 * number).to_le_bytes()[0]
}

/// All files below `dir`, with their bytes.
fn files(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The two checkpoints hold the same files with the same bytes.
#[track_caller]
fn assert_same_files(one: &Path, other: &Path) {
    let (one, other) = (files(one), files(other));
    assert!(!one.is_empty());
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(bytes == &other[name], "{name} differs");
    }
}
