//! What to load of a source.

use std::fmt;

use crate::{Error, Result};

/// The longest image side that can be asked for.
const MAX_SIDE: usize = 8192;

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// What a model learns from.
    #[default]
    Train,
    /// What is held out, to compare with.
    Test,
    /// Everything: train, then test.
    All,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// What to load of a [`Source`](crate::Source), and in what form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width of the images.
    /// Folders need it; other images keep their own size without it, and toys have none.
    pub size: Option<[usize; 2]>,
    /// 1 for grayscale, 3 for colour; without it, folders are in colour and other images stay as they are.
    pub channels: Option<usize>,
    /// Which part.
    pub split: Split,
    /// The seed of made-up data: only the toys use it.
    pub seed: u64,
}

impl LoadOptions {
    /// Errors for a size or a number of channels that no image has.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some([height, width]) = self.size
            && ![height, width].iter().all(|side| (1..=MAX_SIDE).contains(side))
        {
            return Err(Error::BadSize { height, width, max: MAX_SIDE });
        }
        match self.channels {
            None | Some(1 | 3) => Ok(()),
            Some(channels) => Err(Error::BadChannels { channels }),
        }
    }
}
