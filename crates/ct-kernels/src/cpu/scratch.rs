//! Working memory that is reused from call to call.
//!
//! Every thread keeps the buffers it has used, so that a training loop allocates during its first step only.
//! A buffer is taken from the thread's list, and returns to it when dropped; nested users simply take different buffers.
//!
//! In debug builds a buffer comes filled with NaN, so that a test sees what is read before it is written.
//! With `--cfg ct_sanitize` (`cargo xtask sanitize`) every buffer is new and as short as asked for, so that the address
//! sanitizer sees what is read or written beyond its end.

#![expect(unsafe_code, reason = "views whole cache lines as floats")]

use std::cell::RefCell;

/// One cache line, which is what the buffers are aligned to.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Buffers a thread keeps at most; a convolution has fewer than that in use at once.
const KEPT: usize = 12;

thread_local! {
    static KEPT_BUFFERS: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of floats, aligned to a cache line, with arbitrary (but initialized) contents; NaN in debug builds.
#[derive(Debug)]
pub(crate) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// A buffer of at least `len` floats.
    pub(crate) fn take(len: usize) -> Self {
        let needed = len.div_ceil(16);
        let mut scratch = if cfg!(ct_sanitize) { Self::new(needed) } else { Self::reuse(needed) };
        if cfg!(debug_assertions) {
            scratch.slice_mut().fill(f32::NAN);
        }
        scratch
    }

    fn new(needed: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); needed] }
    }

    /// A buffer that this thread has used before, if one is long enough.
    fn reuse(needed: usize) -> Self {
        let kept = KEPT_BUFFERS
            .try_with(|kept| {
                let mut kept = kept.borrow_mut();
                // The smallest that suffices, else the largest, which then grows.
                let best = (0..kept.len()).min_by_key(|&i| {
                    let have = kept[i].len();
                    (have < needed, if have < needed { usize::MAX - have } else { have })
                });
                best.map(|i| kept.swap_remove(i))
            })
            .ok()
            .flatten();
        let lines = kept.unwrap_or_default();
        if lines.len() < needed {
            // Dropping first spares the copy of contents that nobody wants.
            drop(lines);
            return Self::new(needed);
        }
        Self { lines }
    }

    /// As [`Scratch::take`], filled with zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut scratch = Self::take(len);
        scratch.slice_mut()[..len].fill(0.0);
        scratch
    }

    pub(crate) fn slice(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` and holds 16 floats without padding, so `n` lines are `16 n` initialized floats.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 16) }
    }

    pub(crate) fn slice_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `slice`, and the exclusive borrow of `self` makes this view exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 16) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if cfg!(ct_sanitize) {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        // At thread exit the list may be gone already; the buffer is then simply freed.
        let _ = KEPT_BUFFERS.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT {
                kept.push(lines);
            }
        });
    }
}
