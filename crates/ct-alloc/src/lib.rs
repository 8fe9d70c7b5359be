//! The allocator of the programs: mimalloc, told to keep its pages.
//!
//! A training step frees every activation and asks for the same sizes again in the next step.
//! By default mimalloc gives pages back to the system a second after they were freed, so that a step of a second
//! pays for new ones, zeroed by the kernel, with each large tensor: a fifth of its time on the machines that were
//! measured (docs/benchmarks.md).
//! A library must not choose this for its program; so `ct` and the benches do, with
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;
//!
//! fn main() {
//!     ct_alloc::keep_pages();
//! }
//! ```

pub use mimalloc::MiMalloc as Allocator;

/// Number of the option in mimalloc 2 and 3, which the C header has and the Rust crate lacks.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Memory that was freed stays with the process, ready for the next tensor.
///
/// Call it first in `main`.
/// `MIMALLOC_PURGE_DELAY` in the environment, in milliseconds, goes before it.
pub fn keep_pages() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        #[expect(unsafe_code, reason = "the C interface of the allocator")]
        // SAFETY: the option exists, and takes -1 for never; the program has one thread yet.
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay() -> std::ffi::c_long {
        #[expect(unsafe_code, reason = "the C interface of the allocator")]
        // SAFETY: the option exists.
        unsafe {
            libmimalloc_sys::mi_option_get(PURGE_DELAY)
        }
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // Its default says that the number is right: no other option has it.
        assert_eq!(delay(), 1000);
        keep_pages();
        assert_eq!(delay(), -1);
    }
}
