//! Two folders, file by file, by SHA-256.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Files whose name holds one of these tell the time of day and differ between any two runs.
const NOT_COMPARED: [&str; 2] = ["timing", "metrics"];

/// What is equal and what is not.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Name and SHA-256 of each file that both folders hold with the same bytes.
    pub(super) same: Vec<(String, String)>,
    /// A sentence for each file that differs or is missing on one side.
    pub(super) different: Vec<String>,
}

/// Compares every file below both folders, and the names of the folders themselves.
pub(super) fn folders(left: &Path, right: &Path) -> Result<Report> {
    let (left_files, mut right_files) = (digests(left)?, digests(right)?);
    let mut report = Report::default();
    if left.file_name() != right.file_name() {
        report.different.push(format!("{} and {} are of different steps", left.display(), right.display()));
    }
    for (name, digest) in left_files {
        match right_files.remove(&name) {
            Some(other) if other == digest => report.same.push((name, digest)),
            Some(_) => report.different.push(format!("{name}: the bytes differ")),
            None => report.different.push(format!("{name}: only in {}", left.display())),
        }
    }
    let unmatched = right_files.into_keys();
    report.different.extend(unmatched.map(|name| format!("{name}: only in {}", right.display())));
    Ok(report)
}

/// The SHA-256 of every file below the folder, by its path inside it.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    collect(folder, "", &mut digests)?;
    Ok(digests)
}

fn collect(folder: &Path, prefix: &str, digests: &mut BTreeMap<String, String>) -> Result<()> {
    let cannot_read = || format!("cannot read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{inside}/"), digests)?;
        } else if !NOT_COMPARED.iter().any(|part| name.contains(part)) {
            digests.insert(inside, sha256(&path)?);
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    for byte in Sha256::digest(&bytes) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = base.path().join("step-1").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        base
    }

    fn compare(left: &[(&str, &str)], right: &[(&str, &str)]) -> Report {
        let (left, right) = (folder(left), folder(right));
        folders(&left.path().join("step-1"), &right.path().join("step-1")).unwrap()
    }

    #[test]
    fn equal_bytes_are_equal_and_timing_does_not_count() {
        let report = compare(
            &[("state", "abc"), ("unet/weights", "1"), ("timing.json", "3 s")],
            &[("state", "abc"), ("unet/weights", "1"), ("metrics.jsonl", "4 s")],
        );
        assert!(report.different.is_empty(), "{:?}", report.different);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(report.same[0], ("state".to_owned(), abc.to_owned()));
        assert_eq!(report.same[1].0, "unet/weights");
    }

    #[test]
    fn one_byte_and_one_missing_file_are_found() {
        let report = compare(&[("a", "1"), ("b", "2"), ("c", "3")], &[("a", "1"), ("b", "9"), ("d", "3")]);
        assert_eq!(report.same.len(), 1);
        assert_eq!(report.different.len(), 3);
        assert!(report.different[0].starts_with("b: the bytes differ"));
        assert!(report.different[1].starts_with("c: only in"));
        assert!(report.different[2].starts_with("d: only in"));
    }
}
