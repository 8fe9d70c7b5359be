//! The residual layers of one level, with or without attention.

use std::f64::consts::SQRT_2;

use ct_kernels::Value;

use super::attention::Attention;
use super::config::{BlockKind, UNet2DConfig};
use super::resnet::{Resnet, ResnetSpec};
use crate::part::{Layer, Part, Pass};
use crate::{Builder, Error, Result};

/// Groups of the normalization before attention in levels with a skip path, whatever the configuration says.
const SKIP_ATTENTION_GROUPS: usize = 32;

/// A residual block, with its attention where the level has any.
#[derive(Debug)]
pub(crate) struct ResidualLayer {
    pub(crate) resnet: Resnet,
    pub(crate) attention: Option<Attention>,
}

impl Layer for ResidualLayer {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let x = self.resnet.forward(pass, x)?;
        match &self.attention {
            Some(attention) => attention.forward(pass, &x),
            None => Ok(x),
        }
    }
}

/// The residual layers of one level.
#[derive(Debug)]
pub(crate) struct Level(pub(crate) Vec<Part<ResidualLayer>>);

impl Level {
    /// `specs` says what each residual block is; the blocks of a level on the way up with a skip path
    /// share one attention, which comes after the last of them.
    pub(crate) fn new(
        config: &UNet2DConfig,
        kind: BlockKind,
        specs: &[ResnetSpec],
        shares_attention: bool,
        b: &Builder,
    ) -> Result<Self> {
        let last = specs.len().saturating_sub(1);
        let layer = |(idx, spec): (usize, &ResnetSpec)| {
            check_groups(spec.num_groups[0], spec.c_in)?;
            check_groups(spec.num_groups[1], spec.c_out)?;
            let has_attention = kind.attention && (idx == last || !shares_attention);
            let attention_idx = if shares_attention { 0 } else { idx };
            let attention_groups = if kind.skip { SKIP_ATTENTION_GROUPS } else { config.norm_num_groups };
            if has_attention {
                check_groups(attention_groups, spec.c_out)?;
            }
            Ok(Part::new(b, || ResidualLayer {
                resnet: Resnet::new(config, spec, &b.pp("resnets").pp(idx)),
                attention: has_attention.then(|| {
                    let (groups, scale) = (Some(attention_groups), spec.output_scale_factor);
                    Attention::new(config, spec.c_out, groups, scale, &b.pp("attentions").pp(attention_idx))
                }),
            }))
        };
        Ok(Self(specs.iter().enumerate().map(layer).collect::<Result<_>>()?))
    }
}

/// A residual block of a level with a skip path: its groups follow from its channels, its output is divided by sqrt 2
/// (Song et al. 2021, "Score-based generative modeling through stochastic differential equations", appendix H).
pub(crate) fn skip_resnet(c_in: usize, c_out: usize) -> ResnetSpec {
    ResnetSpec {
        c_in,
        c_out,
        num_groups: [quarter(c_in), quarter(c_out)],
        output_scale_factor: SQRT_2,
        resample: None,
        has_shortcut: c_in != c_out,
    }
}

/// Groups of a quarter of the channels each, at most 32.
pub(crate) fn quarter(channels: usize) -> usize {
    (channels / 4).min(32)
}

/// The channels of a normalization must divide into its groups.
pub(crate) fn check_groups(num_groups: usize, channels: usize) -> Result<()> {
    if num_groups > 0 && channels.is_multiple_of(num_groups) {
        return Ok(());
    }
    Err(Error::Config {
        field: "block_out_channels",
        value: channels.to_string(),
        reason: format!(
            "the {channels} channels of a normalization do not divide into its {num_groups} groups"
        ),
    })
}
