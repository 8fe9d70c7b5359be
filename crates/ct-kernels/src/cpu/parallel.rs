//! Division of work among threads.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Runs `task(i)` for every `i < count`, each once, on whatever threads there are.
pub(crate) fn for_each(count: usize, task: impl Fn(usize) + Sync + Send) {
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// The `index`-th of `parts` nearly equal parts of `0..total`: its start and its length.
pub(crate) fn part(total: usize, parts: usize, index: usize) -> (usize, usize) {
    let start = |i: usize| i * total / parts;
    (start(index), start(index + 1) - start(index))
}

/// The stretch of `slice` that corresponds to items `first..first + count` of `total`, cut off at its end.
pub(crate) fn stretch(slice: &[f32], total: usize, first: usize, count: usize) -> &[f32] {
    let at = |item: usize| item.min(total) * slice.len() / total.max(1);
    &slice[at(first)..at(first + count)]
}

/// A pointer that several threads may use, each on elements of its own.
#[derive(Debug)]
pub(crate) struct Shared<T = f32>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The pointer; who uses it answers for disjointness.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }

    /// Elements `start..start + len` of the slice.
    ///
    /// # Safety
    /// They lie in the slice, which is still borrowed for this, and nothing else accesses them meanwhile.
    #[expect(unsafe_code, reason = "the caller answers for range and disjointness")]
    pub(crate) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: passed on from the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

#[expect(unsafe_code, reason = "raw pointers are not Send or Sync by themselves")]
mod marker {
    // SAFETY: a pointer may move to another thread; each use of it is justified where it happens.
    unsafe impl<T: Send> Send for super::Shared<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for super::Shared<T> {}
}
