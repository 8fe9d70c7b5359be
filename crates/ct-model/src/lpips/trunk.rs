//! The convolutional parts of `AlexNet` (Krizhevsky 2014, arXiv 1404.5997) and VGG16 (Simonyan & Zisserman 2014,
//! arXiv 1409.1556), up to the last layer that LPIPS looks at.

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trunk {
    AlexNet,
    Vgg16,
}

/// A convolution, which a rectifier follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvSpec {
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

/// Convolutions whose last output is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// Side of the window whose largest values, two pixels apart, go into the stage.
    pub(super) pool: Option<usize>,
    pub(super) convs: &'static [ConvSpec],
}

const fn same(side: usize) -> ConvSpec {
    ConvSpec { side, stride: 1, padding: side / 2 }
}

const ALEXNET: &[Stage] = &[
    Stage { pool: None, convs: &[ConvSpec { side: 11, stride: 4, padding: 2 }] },
    Stage { pool: Some(3), convs: &[same(5)] },
    Stage { pool: Some(3), convs: &[same(3)] },
    Stage { pool: None, convs: &[same(3)] },
    Stage { pool: None, convs: &[same(3)] },
];

const VGG16: &[Stage] = &[
    Stage { pool: None, convs: &[same(3); 2] },
    Stage { pool: Some(2), convs: &[same(3); 2] },
    Stage { pool: Some(2), convs: &[same(3); 3] },
    Stage { pool: Some(2), convs: &[same(3); 3] },
    Stage { pool: Some(2), convs: &[same(3); 3] },
];

impl Trunk {
    pub(super) const ALL: [Self; 2] = [Self::AlexNet, Self::Vgg16];

    pub(super) fn stages(self) -> &'static [Stage] {
        match self {
            Self::AlexNet => ALEXNET,
            Self::Vgg16 => VGG16,
        }
    }

    /// What the names of its weights begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::AlexNet => "AlexNet_0",
            Self::Vgg16 => "VGG16_0",
        }
    }

    /// Whether every layer has a pixel left of an image with this side.
    pub(super) fn takes(self, mut side: usize) -> bool {
        let mut shrink = |window: usize, stride: usize, padding: usize| {
            let fits = side + 2 * padding >= window;
            side = if fits { (side + 2 * padding - window) / stride + 1 } else { 0 };
            fits
        };
        self.stages().iter().all(|stage| {
            stage.pool.is_none_or(|window| shrink(window, 2, 0))
                && stage.convs.iter().all(|conv| shrink(conv.side, conv.stride, conv.padding))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_sides_are_those_of_the_documentation() {
        for (trunk, least) in [(Trunk::AlexNet, 31), (Trunk::Vgg16, 16)] {
            assert_eq!((0..100).find(|&side| trunk.takes(side)), Some(least));
            assert!((least..500).all(|side| trunk.takes(side)));
        }
    }
}
