//! Which keys there are, asked of the types that are read from them.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use ct_data::AugmentConfig;
use ct_model::{MlpConfig, UNet2DConfig};
use ct_train::{
    CdConfig, CtConfig, DiffusionConfig, EctConfig, IctConfig, ScmConfig, TcmConfig, TrainConfig,
};

use super::suggest::nearest;
use super::{
    CheckpointConfig, Config, DataConfig, InitConfig, MetricsConfig, ModelConfig, NoiseConfig, SampleConfig,
    ScoreConfig,
};

/// The sections of a configuration, each with its keys; the first is the top.
fn sections() -> [(&'static str, &'static [&'static str]); 20] {
    [
        ("", fields_of::<Config>()),
        ("data", fields_of::<DataConfig>()),
        ("model", fields_of::<ModelConfig>()),
        ("model.unet", fields_of::<UNet2DConfig>()),
        ("model.mlp", fields_of::<MlpConfig>()),
        ("init", fields_of::<InitConfig>()),
        ("noise", fields_of::<NoiseConfig>()),
        ("train", fields_of::<TrainConfig>()),
        ("train.augment", fields_of::<AugmentConfig>()),
        ("train.diffusion", fields_of::<DiffusionConfig>()),
        ("train.ct", fields_of::<CtConfig>()),
        ("train.ict", fields_of::<IctConfig>()),
        ("train.ect", fields_of::<EctConfig>()),
        ("train.cd", fields_of::<CdConfig>()),
        ("train.scm", fields_of::<ScmConfig>()),
        ("train.tcm", fields_of::<TcmConfig>()),
        ("metrics", fields_of::<MetricsConfig>()),
        ("checkpoint", fields_of::<CheckpointConfig>()),
        ("sample", fields_of::<SampleConfig>()),
        ("score", fields_of::<ScoreConfig>()),
    ]
}

/// Whether `key`, with dots, is the name of a section.
pub(super) fn is_section(key: &str) -> bool {
    sections().iter().any(|&(section, _)| section == key)
}

/// Whether `key`, with dots, is a key or a section.
pub(super) fn is_known(key: &str) -> bool {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    sections().iter().any(|&(known, fields)| known == section && fields.contains(&name))
}

/// The known key that `key` was probably meant to be: the same name elsewhere, or a similar one.
pub(super) fn suggestion(key: &str) -> Option<String> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let join = |section: &str, name: &str| {
        if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
    };
    let all =
        || sections().into_iter().flat_map(|(section, names)| names.iter().map(move |&name| (section, name)));
    let here = all().filter(|&(known, _)| known == section).map(|(_, name)| name);
    if let Some(name) = nearest(name, here) {
        return Some(join(section, name));
    }
    if let Some((section, name)) = all().find(|&(_, known)| known == name) {
        return Some(join(section, name));
    }
    let whole: Vec<String> = all().map(|(section, name)| join(section, name)).collect();
    nearest(key, whole.iter().map(String::as_str)).map(str::to_owned)
}

/// The names of the fields of a struct that derives `Deserialize`.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // There is nothing to read, so this is an error; by then it has named its fields.
    let _ = T::deserialize(AskFields(&mut fields));
    fields
}

struct AskFields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for AskFields<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_names_its_keys() {
        for (section, fields) in sections() {
            assert!(!fields.is_empty(), "[{section}] has no keys");
        }
    }

    #[test]
    fn keys_are_known_by_section() {
        for known in ["seed", "train", "train.ect.pretrain", "model.unet.dropout", "train.ect.weighting"] {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["lr", "train.lrr", "train.foo.lr", "model.unet.hidden_dim", "seed.x", "foo", ""] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn suggestions() {
        for (wrong, right) in [
            ("train.setps", Some("train.steps")),
            ("lr", Some("train.lr")),
            ("train.sigma_max", Some("noise.sigma_max")),
            ("tran.recipe", Some("train.recipe")),
            ("dta", Some("data")),
            ("zzzzzzz", None),
        ] {
            assert_eq!(suggestion(wrong).as_deref(), right, "{wrong}");
        }
    }
}
