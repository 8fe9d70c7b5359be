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

/// A slice that several threads may write, each its own elements.
#[derive(Debug)]
pub(crate) struct Shared<T = f32> {
    ptr: *mut T,
    len: usize,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

#[expect(unsafe_code, reason = "hands out parts of a slice without its borrow")]
impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The pointer to the first element; who uses it answers for disjointness.
    pub(crate) fn get(self) -> *mut T {
        self.ptr
    }

    /// The pointer to element `start`, from which on `len` elements will be used.
    ///
    /// # Safety
    /// `start + len` does not pass the slice's end.
    pub(crate) unsafe fn part(self, start: usize, len: usize) -> *mut T {
        debug_assert!(start + len <= self.len, "{start} + {len} passes the end at {}", self.len);
        // SAFETY: inside the slice, as the caller promised.
        unsafe { self.ptr.add(start) }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// As [`Shared::part`]; the slice outlives `'a`, and nothing else uses these elements meanwhile.
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.part(start, len), len) }
    }
}

#[expect(unsafe_code, reason = "raw pointers are not Send or Sync by themselves")]
mod marker {
    // SAFETY: a pointer may move to another thread; each use of it is justified where it happens.
    unsafe impl<T: Send> Send for super::Shared<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for super::Shared<T> {}
}
