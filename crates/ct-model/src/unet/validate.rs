//! Which configurations a network can be, and which this program can run.

use super::block::SKIP_CHANNELS;
use super::config::{BlockKind, ResampleKind, TimeEmbedding, UNet2DConfig};
use crate::act::Act;
use crate::{Error, Result};

fn refuse(field: &'static str, value: String, reason: &str) -> Result<()> {
    Err(Error::Config { field, value, reason: reason.to_owned() })
}

impl UNet2DConfig {
    /// Checks that a network of this configuration can be.
    pub(crate) fn validate(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        if levels == 0 || levels > 16 {
            return refuse(
                "block_out_channels",
                format!("{:?}", self.block_out_channels),
                "must name 1 to 16 levels",
            );
        }
        if self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            let value = format!("{:?} and {:?}", self.down_block_types, self.up_block_types);
            return refuse(
                "down_block_types and up_block_types",
                value,
                "must be as long as block_out_channels",
            );
        }
        if self.in_channels == 0 || self.out_channels == 0 {
            let value = format!("{} and {}", self.in_channels, self.out_channels);
            return refuse("in_channels and out_channels", value, "must be at least 1");
        }
        self.validate_divisions()?;
        if self.block_out_channels[0] < 4 {
            return refuse(
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
            return refuse("sample_size", format!("[{height}, {width}]"), &reason);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "must lie in [0, 1)");
        }
        if self.layers_per_block == 0 {
            return refuse("layers_per_block", "0".to_owned(), "must be at least 1");
        }
        if [self.norm_eps, self.mid_block_scale_factor].iter().any(|v| v.is_nan() || *v <= 0.0) {
            let value = format!("{} and {}", self.norm_eps, self.mid_block_scale_factor);
            return refuse("norm_eps and mid_block_scale_factor", value, "must be positive");
        }
        if self.num_class_embeds == Some(0) {
            return refuse("num_class_embeds", "0".to_owned(), "must be at least 1, or absent");
        }
        self.validate_time()?;
        self.validate_resampling()?;
        self.refuse_unsupported()
    }

    fn validate_time(&self) -> Result<()> {
        let half = self.block_out_channels[0] / 2;
        match self.time_embedding_type {
            TimeEmbedding::Positional if self.freq_shift >= half as f64 => refuse(
                "freq_shift",
                self.freq_shift.to_string(),
                &format!("must be below {half}, half the channels of the first level"),
            ),
            TimeEmbedding::Learned if self.num_train_timesteps.is_none_or(|num| num == 0) => refuse(
                "num_train_timesteps",
                format!("{:?}", self.num_train_timesteps),
                "a learned time embedding needs to know how many time steps there are",
            ),
            _ => Ok(()),
        }
    }

    /// What fits in each level must also fit together.
    fn validate_resampling(&self) -> Result<()> {
        let (down, up) = (self.down_blocks()?, self.up_blocks()?);
        let last = down.len() - 1;
        let is_conv = |kind: &BlockKind| !kind.skip && kind.resample == ResampleKind::Conv;
        if self.downsample_padding > 1 && down[..last].iter().any(is_conv) {
            let value = self.downsample_padding.to_string();
            return refuse("downsample_padding", value, "must be 0 or 1: more would not halve the size");
        }
        // The image of the skip path must have the size of the activations wherever it is used.
        let skips = |kinds: &[BlockKind]| kinds.iter().map(|kind| kind.skip).collect::<Vec<_>>();
        if !skips(&down[..last]).is_sorted_by(|a, b| a >= b) {
            let value = format!("{:?}", self.down_block_types);
            return refuse(
                "down_block_types",
                value,
                "skip blocks must come before those without a skip path, or last",
            );
        }
        let first_skip = up[..last].iter().position(|kind| kind.skip);
        if first_skip.is_some_and(|first| up[first..].iter().any(|kind| !kind.skip)) {
            let value = format!("{:?}", self.up_block_types);
            return refuse("up_block_types", value, "only skip blocks can follow a skip block");
        }
        if down[..last].iter().any(|kind| kind.skip) && self.in_channels != SKIP_CHANNELS {
            return refuse(
                "in_channels",
                self.in_channels.to_string(),
                "must be 3 for skip blocks on the way down",
            );
        }
        if first_skip.is_some() && self.out_channels != SKIP_CHANNELS {
            return refuse(
                "out_channels",
                self.out_channels.to_string(),
                "must be 3 for skip blocks on the way up",
            );
        }
        Ok(())
    }

    /// Groups must divide the channels of the levels that have them, and heads must fit into theirs.
    fn validate_divisions(&self) -> Result<()> {
        let divides =
            |divisor: usize, channels: usize| divisor > 0 && channels > 0 && channels.is_multiple_of(divisor);
        let last = self.block_out_channels.len() - 1;
        let kinds = self.down_blocks()?.into_iter().zip(self.up_blocks()?.into_iter().rev());
        for (level, (&channels, (down, up))) in self.block_out_channels.iter().zip(kinds).enumerate() {
            let has_mid = level == last && self.mid_block_type.is_some();
            let has_mid_attention = has_mid && self.add_attention;
            let reason = format!("must divide {channels}, the channels of a level");
            let in_level = !down.skip || !up.skip;
            if in_level && self.norm_num_groups == 0 {
                let reason = "can be null only where every level, on both ways, has a skip path";
                return refuse("norm_num_groups", "null".to_owned(), reason);
            }
            let has_groups = in_level || level == 0 || has_mid;
            if has_groups && !divides(self.num_groups_or_quarter(channels), channels) {
                return refuse("norm_num_groups", self.norm_num_groups.to_string(), &reason);
            }
            if (down.attention || up.attention || has_mid_attention)
                && !(1..=channels).contains(&self.head_dim(channels))
            {
                let reason = format!("must be 1 to {channels}, the channels of a level");
                return refuse("attention_head_dim", format!("{:?}", self.attention_head_dim), &reason);
            }
            let mid_groups = self.attn_norm_num_groups.filter(|_| has_mid_attention);
            if mid_groups.is_some_and(|groups| !divides(groups, channels)) {
                return refuse("attn_norm_num_groups", format!("{:?}", self.attn_norm_num_groups), &reason);
            }
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let unsupported = |field, value: &str, supported| {
            Err(Error::Unsupported { field, value: value.to_owned(), supported })
        };
        if Act::from_name(&self.act_fn).is_none() {
            return unsupported("act_fn", &self.act_fn, Act::SUPPORTED);
        }
        match self.mid_block_type.as_deref() {
            None | Some("UNetMidBlock2D") => Ok(()),
            Some(name) => unsupported("mid_block_type", name, "UNetMidBlock2D or null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClassEmbedding, SampleSize};
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
        assert!(message(|c| c.attention_head_dim = Some(65)).contains("attention_head_dim"));
        assert!(message(|c| c.dropout = 1.0).contains("dropout"));
        assert!(message(|c| c.act_fn = "tanh".to_owned()).contains("silu, swish, mish, gelu, relu"));
        assert!(message(|c| c.norm_num_groups = 0).contains("null"));
        assert!(message(|c| c.downsample_padding = 2).contains("downsample_padding"));
        assert!(message(|c| c.freq_shift = 16.0).contains("freq_shift"));
        assert!(message(|c| c.time_embedding_type = TimeEmbedding::Learned).contains("num_train_timesteps"));
        assert!(message(|c| c.mid_block_type = Some("Other".to_owned())).contains("UNetMidBlock2D"));
        assert!(message(|c| c.up_block_types = vec![]).contains("as long as"));
    }

    fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).to_vec()
    }

    #[test]
    fn skip_paths_that_do_not_meet_are_refused() {
        let build = |down: [&str; 2], up: [&str; 2], channels: usize| {
            let config = UNet2DConfig { down_block_types: names(down), up_block_types: names(up), ..small() };
            super::super::UNet2D::new(&config.for_samples(channels, 8, 8))
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        let (skip, plain) = ("SkipDownBlock2D", "DownBlock2D");
        let (skip_up, plain_up) = ("SkipUpBlock2D", "UpBlock2D");
        assert_eq!(build([skip, plain], [plain_up, skip_up], 3), Ok(()));
        assert_eq!(build([plain, skip], [plain_up, plain_up], 1), Ok(()));
        assert!(
            build([skip, skip], [skip_up, plain_up], 3).unwrap_err().contains("only skip blocks can follow")
        );
        assert!(build([skip, skip], [plain_up, plain_up], 1).unwrap_err().contains("in_channels = 1"));
        assert!(build([plain, plain], [skip_up, skip_up], 1).unwrap_err().contains("out_channels = 1"));
    }

    #[test]
    fn classes_need_no_table() {
        let config = UNet2DConfig {
            class_embed_type: Some(ClassEmbedding::Identity),
            sample_size: Some(SampleSize([8, 8])),
            ..small()
        };
        assert!(config.validate().is_ok());
    }
}
