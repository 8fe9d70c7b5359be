//! Presets: configurations that are part of the program.

use super::suggest::nearest;

const PRESETS: [(&str, &str); 7] = [
    ("digits", include_str!("../../../../presets/digits.toml")),
    ("toy", include_str!("../../../../presets/toy.toml")),
    ("fashion", include_str!("../../../../presets/fashion.toml")),
    ("icons", include_str!("../../../../presets/icons.toml")),
    ("icons-gpu", include_str!("../../../../presets/icons-gpu.toml")),
    ("icons64-gpu", include_str!("../../../../presets/icons64-gpu.toml")),
    ("cifar-gpu", include_str!("../../../../presets/cifar-gpu.toml")),
];

/// The names of all presets.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|&(name, _)| name)
}

/// The text of a preset.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|&&(known, _)| known == name).map(|&(_, text)| text)
}

/// What to say about a preset that there is not.
pub(crate) fn unknown(name: &str) -> String {
    let known: Vec<&str> = names().collect();
    let hint = match nearest(name, names()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if std::path::Path::new(name).is_file() => format!("to read that file, write --config {name}"),
        None => format!("the presets are {}", known.join(", ")),
    };
    format!("unknown preset `{name}`: {hint}")
}
