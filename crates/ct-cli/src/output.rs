//! Places for results, checked before the work starts.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::mistake::mistake;

/// Checks that a file can be written at `path`; its folder is made if it is not there.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(mistake(format!("{} is a folder, expected the name of a file", path.display())));
    }
    if path.exists() && !path.is_file() {
        return Err(mistake(format!(
            "{} is not a regular file, and would be replaced by one",
            path.display()
        )));
    }
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        fs::create_dir_all(parent)
            .map_err(|error| mistake(format!("cannot make the folder {}: {error}", parent.display())))?;
    }
    Ok(())
}

/// Checks that a picture can be written at `path`, which is what `option` names.
pub(crate) fn check_png(option: &str, path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        return Err(mistake(format!(
            "{option} {}: the picture is a PNG, expected a name that ends in .png",
            path.display()
        )));
    }
    check_file(path)
}

/// Checks that `dir` is free for a set of new files.
pub(crate) fn check_new_dir(dir: &Path) -> Result<()> {
    if dir.is_file() {
        return Err(mistake(format!("{} is a file, expected a folder", dir.display())));
    }
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(mistake(format!(
            "the folder {} is not empty: name another one, or empty it",
            dir.display()
        )));
    }
    Ok(())
}
