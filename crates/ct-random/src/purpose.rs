//! What a stream of random numbers is for.

/// What a [`Stream`](crate::Stream) is for; streams of different purposes are independent.
///
/// The discriminants are part of the format (see the [crate documentation](crate)): they are never renumbered or reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; `index` is [`hash_name`](crate::hash_name) of the tensor.
    Init = 0,
    /// Made-up data, such as points of the 2-D toys.
    Data = 1,
    /// The order of a data set; `step` is the epoch.
    Shuffle = 2,
    /// Horizontal flips.
    Flip = 3,
    /// The noise added to training samples.
    Noise = 4,
    /// Noise levels of training samples.
    Sigma = 5,
    /// Dropout masks, shared by the student and the target.
    Dropout = 6,
    /// Initial and re-injected noise of samplers; `index` is the sample.
    Sample = 7,
    /// Which class labels are dropped for guidance.
    LabelDropout = 8,
    /// Evaluation.
    Eval = 9,
    /// Noise of editing.
    Edit = 10,
    /// Augmentation of training samples; `index` is the number of the image.
    Augment = 11,
}
