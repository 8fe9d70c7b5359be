//! The configuration of a UNet, key for key that of diffusers' `UNet2DModel`.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Height and width of the samples; diffusers writes one number for squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleSize(pub [usize; 2]);

impl Serialize for SampleSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self([height, width]) = self;
        if height == width { height.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for SampleSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
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
}

/// One level of the UNet: whether it has attention, and how it changes the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockKind {
    pub(crate) attention: bool,
    pub(crate) resample: ResampleKind,
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
    /// One name for each level on the way down.
    pub down_block_types: Vec<String>,
    /// `UNetMidBlock2D`, or nothing.
    pub mid_block_type: Option<String>,
    /// One name for each level on the way up.
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
    pub downsample_type: ResampleKind,
    /// How levels with attention double the size.
    pub upsample_type: ResampleKind,
    /// Probability that a value is dropped in a residual block during training.
    pub dropout: f64,
    /// Activation function.
    pub act_fn: String,
    /// Channels of one attention head; all of the level's channels if absent.
    pub attention_head_dim: Option<usize>,
    /// Groups of the normalizations.
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
    pub class_embed_type: Option<String>,
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
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    pub(crate) fn sample_size(&self) -> Result<[usize; 2]> {
        let SampleSize(size) = self.sample_size.ok_or_else(|| Error::Config {
            field: "sample_size",
            value: "null".to_owned(),
            reason: "the size of the samples must be known; write one number or [height, width]".to_owned(),
        })?;
        Ok(size)
    }

    pub(crate) fn down_blocks(&self) -> Result<Vec<BlockKind>> {
        self.down_block_types.iter().map(|name| self.down_block(name)).collect()
    }

    pub(crate) fn up_blocks(&self) -> Result<Vec<BlockKind>> {
        self.up_block_types.iter().map(|name| self.up_block(name)).collect()
    }

    fn down_block(&self, name: &str) -> Result<BlockKind> {
        Ok(match name {
            "DownBlock2D" => BlockKind { attention: false, resample: ResampleKind::Conv },
            "ResnetDownsampleBlock2D" => BlockKind { attention: false, resample: ResampleKind::Resnet },
            "AttnDownBlock2D" => BlockKind { attention: true, resample: self.downsample_type },
            _ => {
                return Err(Error::Unsupported {
                    field: "down_block_types",
                    value: name.to_owned(),
                    supported: "DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D",
                });
            }
        })
    }

    fn up_block(&self, name: &str) -> Result<BlockKind> {
        Ok(match name {
            "UpBlock2D" => BlockKind { attention: false, resample: ResampleKind::Conv },
            "ResnetUpsampleBlock2D" => BlockKind { attention: false, resample: ResampleKind::Resnet },
            "AttnUpBlock2D" => BlockKind { attention: true, resample: self.upsample_type },
            _ => {
                return Err(Error::Unsupported {
                    field: "up_block_types",
                    value: name.to_owned(),
                    supported: "UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D",
                });
            }
        })
    }

    /// Checks that a network of this configuration can be.
    pub(crate) fn validate(&self) -> Result<()> {
        let config = |field, value: String, reason: &str| {
            Err(Error::Config { field, value, reason: reason.to_owned() })
        };
        let levels = self.block_out_channels.len();
        if levels == 0 || levels > 16 {
            return config(
                "block_out_channels",
                format!("{:?}", self.block_out_channels),
                "must name 1 to 16 levels",
            );
        }
        if self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let value = format!("{:?} and {:?}", self.down_block_types, self.up_block_types);
            return config(
                "down_block_types and up_block_types",
                value,
                "must be as long as block_out_channels",
            );
        }
        if self.in_channels == 0 || self.out_channels == 0 {
            let value = format!("{} and {}", self.in_channels, self.out_channels);
            return config("in_channels and out_channels", value, "must be at least 1");
        }
        self.validate_divisions()?;
        if self.block_out_channels[0] < 4 {
            return config(
                "block_out_channels",
                format!("{:?}", self.block_out_channels),
                "each must be at least 4",
            );
        }
        let unit = 1 << (levels - 1);
        let [height, width] = self.sample_size()?;
        if height == 0 || width == 0 || height % unit != 0 || width % unit != 0 {
            let reason =
                format!("must be a multiple of {unit}, since {levels} levels halve it {} times", levels - 1);
            return config("sample_size", format!("[{height}, {width}]"), &reason);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return config("dropout", self.dropout.to_string(), "must lie in [0, 1)");
        }
        if self.layers_per_block == 0 {
            return config("layers_per_block", "0".to_owned(), "must be at least 1");
        }
        if [self.norm_eps, self.mid_block_scale_factor].iter().any(|v| v.is_nan() || *v <= 0.0) {
            let value = format!("{} and {}", self.norm_eps, self.mid_block_scale_factor);
            return config("norm_eps and mid_block_scale_factor", value, "must be positive");
        }
        if self.num_class_embeds == Some(0) {
            return config("num_class_embeds", "0".to_owned(), "must be at least 1, or absent");
        }
        self.refuse_unsupported()
    }

    /// Groups and heads must divide the channels of the levels that have them.
    fn validate_divisions(&self) -> Result<()> {
        let divides =
            |divisor: usize, channels: usize| divisor > 0 && channels > 0 && channels.is_multiple_of(divisor);
        let refuse = |field, divisor: &dyn std::fmt::Debug, channels: usize| {
            let reason = format!("must divide {channels}, the channels of a level");
            Err(Error::Config { field, value: format!("{divisor:?}"), reason })
        };
        let last = self.block_out_channels.len() - 1;
        let kinds = self.down_blocks()?.into_iter().zip(self.up_blocks()?.into_iter().rev());
        for (level, (&channels, (down, up))) in self.block_out_channels.iter().zip(kinds).enumerate() {
            let has_mid_attention = level == last && self.mid_block_type.is_some() && self.add_attention;
            if !divides(self.norm_num_groups, channels) {
                return refuse("norm_num_groups", &self.norm_num_groups, channels);
            }
            if (down.attention || up.attention || has_mid_attention)
                && !divides(self.head_dim(channels), channels)
            {
                return refuse("attention_head_dim", &self.attention_head_dim, channels);
            }
            let mid_groups = self.attn_norm_num_groups.filter(|_| has_mid_attention);
            if mid_groups.is_some_and(|groups| !divides(groups, channels)) {
                return refuse("attn_norm_num_groups", &self.attn_norm_num_groups, channels);
            }
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let unsupported = |field, value: &str, supported| {
            Err(Error::Unsupported { field, value: value.to_owned(), supported })
        };
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return unsupported("act_fn", &self.act_fn, "silu");
        }
        if let Some(kind) = &self.class_embed_type {
            return unsupported("class_embed_type", kind, "null, with num_class_embeds");
        }
        match self.mid_block_type.as_deref() {
            None | Some("UNetMidBlock2D") => {}
            Some(name) => return unsupported("mid_block_type", name, "UNetMidBlock2D or null"),
        }
        self.down_blocks()?;
        self.up_blocks()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> UNet2DConfig {
        UNet2DConfig {
            down_block_types: vec!["DownBlock2D".to_owned(), "AttnDownBlock2D".to_owned()],
            up_block_types: vec!["AttnUpBlock2D".to_owned(), "UpBlock2D".to_owned()],
            block_out_channels: vec![32, 64],
            ..UNet2DConfig::default()
        }
        .for_samples(1, 8, 8)
    }

    #[test]
    fn bad_configurations_are_refused_by_name() {
        let message = |change: fn(&mut UNet2DConfig)| {
            let mut config = small();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(small().validate().is_ok());
        assert!(message(|c| c.down_block_types[0] = "Other".to_owned()).contains("DownBlock2D"));
        assert!(message(|c| c.block_out_channels = vec![32, 65]).contains("norm_num_groups"));
        assert!(message(|c| c.sample_size = Some(SampleSize([7, 8]))).contains("multiple of 2"));
        assert!(message(|c| c.attention_head_dim = Some(7)).contains("attention_head_dim"));
        assert!(message(|c| c.dropout = 1.0).contains("dropout"));
        assert!(message(|c| c.act_fn = "gelu".to_owned()).contains("silu"));
        assert!(message(|c| c.up_block_types = vec![]).contains("as long as"));
    }

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
