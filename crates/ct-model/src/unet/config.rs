//! The configuration of a UNet, key for key that of diffusers' `UNet2DModel`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::act::Act;
use crate::{Error, Result};

/// Height and width of the samples; diffusers writes one number for squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleSize(pub [usize; 2]);

impl Serialize for SampleSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self([height, width]) = self;
        if height == width { height.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for SampleSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = SampleSize;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one size for squares, or [height, width]")
            }

            fn visit_u64<E: serde::de::Error>(self, size: u64) -> std::result::Result<SampleSize, E> {
                let size = usize::try_from(size).map_err(E::custom)?;
                Ok(SampleSize([size, size]))
            }

            fn visit_i64<E: serde::de::Error>(self, size: i64) -> std::result::Result<SampleSize, E> {
                self.visit_u64(u64::try_from(size).map_err(E::custom)?)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<SampleSize, A::Error> {
                match (seq.next_element()?, seq.next_element()?, seq.next_element::<usize>()?) {
                    (Some(height), Some(width), None) => Ok(SampleSize([height, width])),
                    _ => Err(serde::de::Error::custom("expected [height, width]")),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// How the embedding of the noise level enters a residual block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Added before the second normalization.
    #[default]
    Default,
    /// Scales and shifts the output of the second normalization.
    ScaleShift,
    /// As `ScaleShift`, with scale and shift brought to size 1 by a pixel normalization each
    /// (Lu and Song 2024, arXiv 2410.11081, section 4.1); diffusers does not have it.
    DoubleNorm,
}

/// How blocks with attention change the size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResampleKind {
    /// A convolution.
    #[default]
    Conv,
    /// A residual block with pooling or repetition inside.
    Resnet,
}

/// How the network is told of the noise level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeEmbedding {
    /// Sines and cosines of geometric frequencies.
    #[default]
    Positional,
    /// Random frequencies of ln(sigma); the output is divided by sigma.
    Fourier,
    /// A table of vectors, one for each of `num_train_timesteps` whole numbers.
    Learned,
}

/// How a label is embedded, other than by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedding {
    /// As a time is.
    Timestep,
    /// Not at all: the caller gives the embedding.
    Identity,
}

/// One level of the UNet: whether it has attention, how it changes the size, whether it carries the image along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockKind {
    pub(crate) attention: bool,
    pub(crate) resample: ResampleKind,
    pub(crate) skip: bool,
}

impl BlockKind {
    /// The kind of block that the name of diffusers stands for, `direction` being `Down` or `Up`.
    fn from_name(name: &str, direction: &str, attention: ResampleKind) -> Option<Self> {
        // Very old files say so.
        let name = name.strip_prefix("UNetRes").unwrap_or(name);
        let kind = |attention, resample, skip| Some(Self { attention, resample, skip });
        let (before, after) = name.split_once(direction)?;
        match (before, after) {
            ("", "Block2D") => kind(false, ResampleKind::Conv, false),
            ("Attn", "Block2D") => kind(true, attention, false),
            ("Resnet", "sampleBlock2D") => kind(false, ResampleKind::Resnet, false),
            ("Skip", "Block2D") => kind(false, ResampleKind::Conv, true),
            ("AttnSkip", "Block2D") => kind(true, ResampleKind::Conv, true),
            _ => None,
        }
    }
}

/// diffusers takes null for what is left out.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Zero is null.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn zero_is_null<S: Serializer>(number: &usize, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Some(number).filter(|&&number| number > 0).serialize(serializer)
}

/// The configuration of a UNet, key for key that of diffusers' `UNet2DModel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNet2DConfig {
    /// Height and width of the samples: one number for squares, or `[height, width]`.
    pub sample_size: Option<SampleSize>,
    /// Channels of the samples.
    pub in_channels: usize,
    /// Channels of the output; the same for consistency models.
    pub out_channels: usize,
    /// Whether the input is first mapped by 2x - 1.
    pub center_input_sample: bool,
    /// How the network is told of the noise level.
    pub time_embedding_type: TimeEmbedding,
    /// Width of the embedding of the noise level; four times the first level's channels if absent.
    pub time_embedding_dim: Option<usize>,
    /// Shift in the frequencies of the positional embedding.
    pub freq_shift: f64,
    /// Whether cosines come first.
    pub flip_sin_to_cos: bool,
    /// One name for each level on the way down: `DownBlock2D`, `AttnDownBlock2D`, `ResnetDownsampleBlock2D`,
    /// `SkipDownBlock2D`, `AttnSkipDownBlock2D`.
    pub down_block_types: Vec<String>,
    /// `UNetMidBlock2D`, or nothing.
    pub mid_block_type: Option<String>,
    /// One name for each level on the way up: the twins of those on the way down.
    pub up_block_types: Vec<String>,
    /// Channels of each level, from full size down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// What residual blocks and attention of the middle divide their output by.
    pub mid_block_scale_factor: f64,
    /// Padding of the strided convolutions; 0 pads right and below only.
    pub downsample_padding: usize,
    /// How levels with attention halve the size.
    #[serde(deserialize_with = "null_is_default")]
    pub downsample_type: ResampleKind,
    /// How levels with attention double the size.
    #[serde(deserialize_with = "null_is_default")]
    pub upsample_type: ResampleKind,
    /// Probability that a value is dropped in a residual block during training.
    pub dropout: f64,
    /// Activation function: `silu` (or `swish`), `mish`, `gelu`, `relu`.
    pub act_fn: String,
    /// Channels of one attention head; all of the level's channels if absent.
    pub attention_head_dim: Option<usize>,
    /// Groups of the normalizations of levels without a skip path.
    /// Zero, or null, stands for a quarter of the channels, at most 32; then every level must have a skip path.
    #[serde(deserialize_with = "null_is_default", serialize_with = "zero_is_null")]
    pub norm_num_groups: usize,
    /// Groups of the normalization before the middle's attention.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in a normalization.
    pub norm_eps: f64,
    /// How the embedding of the noise level enters a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Whether the middle has attention.
    pub add_attention: bool,
    /// How labels are embedded; a table when absent.
    pub class_embed_type: Option<ClassEmbedding>,
    /// How many classes there are.
    pub num_class_embeds: Option<usize>,
    /// Rows of a learned time embedding.
    pub num_train_timesteps: Option<usize>,
}

impl Default for UNet2DConfig {
    /// The defaults of diffusers.
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(str::to_owned).to_vec();
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbedding::Positional,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: names(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2D".to_owned()),
            up_block_types: names(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: ResampleKind::Conv,
            upsample_type: ResampleKind::Conv,
            dropout: 0.0,
            act_fn: "silu".to_owned(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

impl UNet2DConfig {
    /// The same network for samples of `[C, H, W]` = `[channels, height, width]`.
    #[must_use]
    pub fn for_samples(mut self, channels: usize, height: usize, width: usize) -> Self {
        (self.in_channels, self.out_channels) = (channels, channels);
        self.sample_size = Some(SampleSize([height, width]));
        self
    }

    /// Whether diffusers can run such a network.
    pub(crate) fn is_of_diffusers(&self) -> bool {
        self.resnet_time_scale_shift != TimeScaleShift::DoubleNorm
    }

    /// Channels of one attention head in a level with `channels`.
    pub(crate) fn head_dim(&self, channels: usize) -> usize {
        self.attention_head_dim.unwrap_or(channels)
    }

    /// Width of the embedding of the noise level.
    pub(crate) fn embedding_dim(&self) -> usize {
        self.time_embedding_dim.filter(|&dim| dim > 0).unwrap_or(4 * self.block_out_channels[0])
    }

    pub(crate) fn sample_size(&self) -> Result<[usize; 2]> {
        let SampleSize(size) = self.sample_size.ok_or_else(|| Error::Config {
            field: "sample_size",
            value: "null".to_owned(),
            reason: "the size of the samples must be known; write one number or [height, width]".to_owned(),
        })?;
        Ok(size)
    }

    /// The activation function; the configuration has been checked.
    pub(crate) fn act(&self) -> Act {
        Act::from_name(&self.act_fn).unwrap_or(Act::Silu)
    }

    /// Groups of the normalizations outside of the levels.
    pub(crate) fn num_groups_or_quarter(&self, channels: usize) -> usize {
        if self.norm_num_groups > 0 { self.norm_num_groups } else { super::level::quarter(channels) }
    }

    pub(crate) fn down_blocks(&self) -> Result<Vec<BlockKind>> {
        let kind = |name: &String| {
            BlockKind::from_name(name, "Down", self.downsample_type).ok_or_else(|| Error::Unsupported {
                field: "down_block_types",
                value: name.clone(),
                supported: "DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D, SkipDownBlock2D, AttnSkipDownBlock2D",
            })
        };
        self.down_block_types.iter().map(kind).collect()
    }

    pub(crate) fn up_blocks(&self) -> Result<Vec<BlockKind>> {
        let kind = |name: &String| {
            BlockKind::from_name(name, "Up", self.upsample_type).ok_or_else(|| Error::Unsupported {
                field: "up_block_types",
                value: name.clone(),
                supported: "UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D, SkipUpBlock2D, AttnSkipUpBlock2D",
            })
        };
        self.up_block_types.iter().map(kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_one_number_or_two() -> serde_json::Result<()> {
        let square: SampleSize = serde_json::from_str("28")?;
        let both: SampleSize = serde_json::from_str("[28, 32]")?;
        assert_eq!((square, both), (SampleSize([28, 28]), SampleSize([28, 32])));
        assert_eq!(
            (serde_json::to_string(&square)?, serde_json::to_string(&both)?),
            ("28".to_owned(), "[28,32]".to_owned())
        );
        assert!(serde_json::from_str::<SampleSize>("[1]").is_err());
        Ok(())
    }
}
