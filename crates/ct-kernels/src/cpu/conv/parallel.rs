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

/// A slice that several threads may write, each its own elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    ptr: *mut f32,
    len: usize,
}

#[expect(unsafe_code, reason = "hands out parts of a slice without its borrow")]
impl Shared {
    pub(super) fn new(slice: &mut [f32]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The pointer to the first element; who uses it answers for disjointness.
    pub(super) fn get(self) -> *mut f32 {
        self.ptr
    }

    /// The pointer to element `start`, from which on `len` elements will be used.
    ///
    /// # Safety
    /// `start + len` does not pass the slice's end.
    pub(super) unsafe fn part(self, start: usize, len: usize) -> *mut f32 {
        debug_assert!(start + len <= self.len, "{start} + {len} passes the end at {}", self.len);
        // SAFETY: inside the slice, as the caller promised.
        unsafe { self.ptr.add(start) }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// As [`Shared::part`]; the slice outlives `'a`, and nothing else uses these elements meanwhile.
    pub(super) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.part(start, len), len) }
    }
}

#[expect(unsafe_code, reason = "raw pointers are not Send or Sync by themselves")]
mod marker {
    // SAFETY: a pointer may move to another thread; each use of it is justified where it happens.
    unsafe impl Send for super::Shared {}
    // SAFETY: as above.
    unsafe impl Sync for super::Shared {}
}
