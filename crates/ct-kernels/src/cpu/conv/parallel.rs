//! Division of work among threads.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Runs `task(i)` for every `i < count`, each once, on whatever threads there are.
pub(super) fn for_each(count: usize, task: impl Fn(usize) + Sync + Send) {
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// The `index`-th of `parts` nearly equal parts of `0..total`: its start and its length.
pub(super) fn part(total: usize, parts: usize, index: usize) -> (usize, usize) {
    let start = |i: usize| i * total / parts;
    (start(index), start(index + 1) - start(index))
}

/// The stretch of `slice` that corresponds to items `first..first + count` of `total`, cut off at its end.
pub(super) fn stretch(slice: &[f32], total: usize, first: usize, count: usize) -> &[f32] {
    let at = |item: usize| item.min(total) * slice.len() / total.max(1);
    &slice[at(first)..at(first + count)]
}

/// A pointer that several threads may use, each on elements of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared(*mut f32);

impl Shared {
    pub(super) fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The pointer; who uses it answers for disjointness.
    pub(super) fn get(self) -> *mut f32 {
        self.0
    }
}

#[expect(unsafe_code, reason = "raw pointers are not Send or Sync by themselves")]
mod marker {
    // SAFETY: a pointer may move to another thread; each use of it is justified where it happens.
    unsafe impl Send for super::Shared {}
    // SAFETY: as above.
    unsafe impl Sync for super::Shared {}
}
