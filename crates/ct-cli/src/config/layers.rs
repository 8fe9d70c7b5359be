//! Layers of settings, and where each setting came from.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use toml::{Table, Value};

use super::{Config, ModelKind, fields};
use crate::mistake::mistake;

/// What the origin of a preset's settings begins with.
pub(crate) const PRESET: &str = "preset ";

/// Settings, each layer over the one before.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    table: Table,
    origins: Origins,
}

/// Where each setting came from, by its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, String>);

impl Layers {
    /// Adds a TOML text; `origin` is the name of the file or preset.
    pub(crate) fn add_toml(&mut self, text: &str, origin: &str) -> Result<()> {
        let table: Table =
            text.parse().map_err(|error| mistake(format!("{origin} is not valid TOML: {error}")))?;
        for (key, value) in leaves(&table) {
            self.set(&key, value, origin)?;
        }
        Ok(())
    }

    /// Adds one `key=value`, the value in TOML or else a string.
    pub(crate) fn add_assignment(&mut self, assignment: &str) -> Result<()> {
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(mistake(format!(
                "--set {assignment}: expected key=value, as in --set train.lr=2e-4"
            )));
        };
        let (key, text) = (key.trim(), text.trim());
        let parsed =
            format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        self.set(key, parsed.unwrap_or_else(|| text.into()), "--set")
    }

    /// Sets one key.
    pub(crate) fn set(&mut self, key: &str, value: Value, origin: &str) -> Result<()> {
        if !fields::is_known(key) {
            let meant =
                fields::suggestion(key).map_or_else(String::new, |key| format!("; did you mean `{key}`?"));
            return Err(mistake(format!("unknown key `{key}` in {origin}{meant}")));
        }
        if fields::is_section(key) && !value.is_table() {
            return Err(mistake(format!(
                "{key} = {value} in {origin}: `{key}` is a section; set a key of it"
            )));
        }
        if let Value::Table(table) = &value
            && fields::is_section(key)
        {
            return leaves(table)
                .into_iter()
                .try_for_each(|(inner, value)| self.set(&format!("{key}.{inner}"), value, origin));
        }
        insert(&mut self.table, key, value);
        self.origins.0.insert(key.to_owned(), origin.to_owned());
        Ok(())
    }

    /// The configuration that the layers make.
    pub(crate) fn finish(self) -> Result<(Config, Origins)> {
        let Self { table, origins } = self;
        match table.clone().try_into() {
            Ok(config) => Ok((config, origins)),
            Err(error) => Err(culprit(&table, &origins).unwrap_or_else(|| anyhow!(error))),
        }
    }
}

/// The setting that cannot be read even when it stands alone.
fn culprit(table: &Table, origins: &Origins) -> Option<anyhow::Error> {
    leaves(table).into_iter().find_map(|(key, value)| {
        let mut alone = Table::new();
        insert(&mut alone, &key, value.clone());
        let error = alone.try_into::<Config>().err()?;
        let reason = error.message();
        Some(mistake(format!("{key} = {value}{}: {reason}", origins.of(&key))))
    })
}

/// All settings of a table, by their keys with dots. A table that is no section is a value.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    fn visit(prefix: &str, table: &Table, found: &mut Vec<(String, Value)>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(inner) if fields::is_section(&key) => visit(&key, inner, found),
                value => found.push((key, value.clone())),
            }
        }
    }
    let mut found = Vec::new();
    visit("", table, &mut found);
    found
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => _ = table.insert(key.to_owned(), value),
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Table::new().into());
            if !inner.is_table() {
                *inner = Table::new().into();
            }
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl Origins {
    /// Whether somebody has set this key.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether somebody has set this key, and not only a preset.
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|origin| !origin.starts_with(PRESET))
    }

    /// ` (set in ORIGIN)`, or nothing for a default.
    pub(crate) fn of(&self, key: &str) -> String {
        self.0.get(key).map_or_else(|| " (the default)".to_owned(), |origin| format!(" (set in {origin})"))
    }

    /// Names the key behind an error of the trainer, and where it was set.
    pub(crate) fn explain(&self, config: &Config, error: ct_train::Error) -> anyhow::Error {
        use ct_train::Error;
        match error {
            Error::Config { key, value, range } => {
                mistake(format!("{key} = {value}{} is out of range: it must be {range}", self.of(key)))
            }
            Error::Schedule(error) | Error::Model(ct_model::Error::Schedule(error)) => {
                self.explain_schedule(config, error)
            }
            Error::Model(error) => self.explain_model(config, error),
            error => error.into(),
        }
    }

    /// Names the key behind an error of the network, and where it was set.
    pub(crate) fn explain_model(&self, config: &Config, error: ct_model::Error) -> anyhow::Error {
        let section = match config.model.kind {
            ModelKind::Unet => "model.unet",
            ModelKind::Mlp => "model.mlp",
        };
        match error {
            ct_model::Error::Config { field, value, reason } => {
                let key = format!("{section}.{field}");
                mistake(format!("{key} = {value}{}: {reason}", self.of(&key)))
            }
            ct_model::Error::Unsupported { field, value, supported } => {
                let key = format!("{section}.{field}");
                mistake(format!(
                    "{key} = {value:?}{} is not supported; supported: {supported}",
                    self.of(&key)
                ))
            }
            error => error.into(),
        }
    }

    fn explain_schedule(&self, config: &Config, error: ct_schedule::Error) -> anyhow::Error {
        let section = format!("train.{}", config.train.recipe.section());
        let key = |name: &str| {
            let candidates = [format!("{section}.{name}"), format!("noise.{name}"), format!("train.{name}")];
            candidates.into_iter().find(|key| fields::is_known(key))
        };
        if let ct_schedule::Error::OutOfRange { name, expected, got } = &error
            && let Some(key) = key(name)
        {
            return mistake(format!("{key} = {got}{} is out of range: it must be {expected}", self.of(&key)));
        }
        if let ct_schedule::Error::NotBelow { low_name, high_name, low, high } = &error
            && let (Some(low_key), Some(high_key)) = (key(low_name), key(high_name))
        {
            return mistake(format!(
                "{low_key} = {low}{} must be below {high_key} = {high}{}",
                self.of(&low_key),
                self.of(&high_key)
            ));
        }
        error.into()
    }
}

/// Settings that differ between two configurations, one line each: `key: old -> new`.
pub(crate) fn changes(old: &Table, new: &Table) -> Vec<String> {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (leaves(old).into_iter().collect(), leaves(new).into_iter().collect());
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|&key| old.get(key) != new.get(key))
        .map(|key| format!("{key}: {} -> {}", text(old.get(key)), text(new.get(key))))
        .collect()
}

/// The keys of one section in which two values differ, each with its second value.
pub(crate) fn differences<T: serde::Serialize>(first: &T, second: &T) -> Result<Vec<(String, Value)>> {
    let (first, second) = (Table::try_from(first)?, Table::try_from(second)?);
    Ok(second.into_iter().filter(|(key, value)| first.get(key) != Some(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_train::Recipe;

    fn failure(layers: impl FnOnce(&mut Layers) -> Result<()>) -> String {
        let mut all = Layers::default();
        layers(&mut all).and_then(|()| all.finish().map(drop)).unwrap_err().to_string()
    }

    #[test]
    fn later_layers_go_over_earlier_ones() {
        let mut layers = Layers::default();
        layers.add_toml("seed = 1\n[train]\nsteps = 10\nlr = 1e-3\nect.q = 4.0", "the preset").unwrap();
        layers.add_toml("[train]\nsteps = 20", "a file").unwrap();
        for assignment in
            ["train.lr=2e-4", "train.recipe=ict", "data.source=folder:my/pictures", "data.size=[8, 16]"]
        {
            layers.add_assignment(assignment).unwrap();
        }
        let (config, origins) = layers.finish().unwrap();
        assert_eq!((config.seed, config.train.steps, config.train.recipe), (1, 20, Recipe::Ict));
        assert!((config.train.lr - 2e-4).abs() < 1e-12);
        assert!((config.train.ect.q - 4.0).abs() < 1e-12);
        assert_eq!(config.data.source, "folder:my/pictures");
        assert_eq!(config.data.size.unwrap().0, [8, 16]);
        assert_eq!(origins.of("train.steps"), " (set in a file)");
        assert_eq!(origins.of("train.batch_size"), " (the default)");
    }

    #[test]
    fn the_resolved_form_is_read_back_unchanged() {
        for name in super::super::presets::names() {
            let mut layers = Layers::default();
            layers.add_toml(super::super::presets::find(name).unwrap(), name).unwrap();
            let (config, _) = layers.finish().unwrap();
            let mut again = Layers::default();
            again.add_toml(&config.to_toml().unwrap(), "resolved").unwrap();
            assert_eq!(again.finish().unwrap().0, config, "{name}");
        }
    }

    #[test]
    fn unknown_keys_are_named_with_their_place() {
        assert_eq!(
            failure(|layers| layers.add_toml("[train]\nsetps = 5", "my.toml")),
            "unknown key `train.setps` in my.toml; did you mean `train.steps`?"
        );
        assert_eq!(
            failure(|layers| layers.add_assignment("lr=1")),
            "unknown key `lr` in --set; did you mean `train.lr`?"
        );
    }

    #[test]
    fn a_value_of_a_wrong_kind_is_named_with_its_place() {
        let message = failure(|layers| layers.add_assignment("train.steps=many"));
        assert!(message.starts_with("train.steps = \"many\" (set in --set): "), "{message}");
        let message = failure(|layers| layers.add_assignment("train.recipe=icd"));
        assert!(message.contains("`ict`"), "{message}");
        let message = failure(|layers| layers.add_assignment("train=5"));
        assert!(message.contains("is a section"), "{message}");
        assert!(failure(|layers| layers.add_assignment("train.steps")).contains("expected key=value"));
    }

    #[test]
    fn changes_name_both_values() {
        let (old, new) = ("a = 1\ndata.size = 8".parse().unwrap(), "a = 2".parse().unwrap());
        assert_eq!(changes(&old, &new), ["a: 1 -> 2", "data.size: 8 -> nothing"]);
    }
}
