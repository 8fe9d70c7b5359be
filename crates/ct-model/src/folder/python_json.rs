//! JSON as Python writes it: with numbers that are infinite or none, which JSON does not have.
//!
//! diffusers writes `"lambda_min_clipped": -Infinity` into the files of its DPM solvers.

use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::{Error, Result};

const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Reads an object, in which numbers that JSON does not have are null.
pub(super) fn read(path: &Path) -> Result<Map<String, Json>> {
    let text = std::fs::read_to_string(path).map_err(|source| super::io_error(path, source))?;
    serde_json::from_str(&without_words(&text))
        .map_err(|source| Error::Format { path: path.to_path_buf(), reason: source.to_string() })
}

/// The same text with `null` for each of the words, but in strings.
fn without_words(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS.iter().find(|word| !quoted && rest.starts_with(**word));
        let taken = match (word, first) {
            (Some(word), _) => word.len(),
            // What is escaped ends no string.
            (None, '\\') => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, _) => first.len_utf8(),
        };
        quoted ^= first == '"';
        clean.push_str(if word.is_some() { "null" } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::without_words;

    #[test]
    fn words_are_replaced_outside_of_strings() {
        let text = r#"{"a": -Infinity, "NaN": NaN, "b": "x\"Infinity\\", "c": [Infinity, -1], "ä": 1}"#;
        let clean = r#"{"a": null, "NaN": null, "b": "x\"Infinity\\", "c": [null, -1], "ä": 1}"#;
        assert_eq!(without_words(text), clean);
    }
}
