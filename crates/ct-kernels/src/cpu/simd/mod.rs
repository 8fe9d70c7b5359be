//! The vector operations that the kernels are written in, once, for every instruction set.
//!
//! A kernel is a [`Job`]: a struct of its arguments with a generic, always inlined body.
//! [`Simd::invoke`] compiles that body inside a function that has the instruction set enabled,
//! so that one source gives a version per instruction set.
//!
//! Data comes in blocks of [`BLOCK`] channels whatever the vector width is; a vector divides a block.

//!
//! Simple loops need no such care: [`vectorized`] lets the compiler find the vectors.

#![expect(unsafe_code, reason = "vector loads and stores take raw pointers")]
#![expect(
    clippy::inline_always,
    reason = "a kernel's body must be compiled inside the function that enables its instructions"
)]

pub(crate) mod dispatch;
pub(crate) mod math;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Channels in a block of the kernels' memory layouts: one 512-bit vector, one cache line.
pub(crate) const BLOCK: usize = 16;

/// A kernel body, generic over the instruction set.
pub(crate) trait Job {
    /// Runs the kernel.
    ///
    /// Implementations are `#[inline(always)]`, so that they are compiled with the features of their caller.
    ///
    /// # Safety
    /// The CPU supports `S`, and the job's own requirements on its pointers hold.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set: a vector type with its arithmetic, and the register blocking that suits it.
pub(crate) trait Simd: Copy + 'static {
    /// A vector of [`Simd::LANES`] floats.
    type V: Copy;
    /// Floats in a vector; divides [`BLOCK`].
    const LANES: usize;
    /// Rows of the accumulator tile of the row product ([`super::conv::gemm::row_product`]), at most 14.
    const ROWS: usize;
    /// Blocks of columns of both accumulator tiles, 1 or 2.
    const COLUMN_BLOCKS: usize;
    /// Most rows of the accumulator tile of the column product ([`super::conv::gemm::column_product`]), at most 8.
    const COLUMN_ROWS: usize;

    /// Runs a job compiled for this instruction set.
    ///
    /// # Safety
    /// The CPU supports the instruction set, and the job's requirements hold.
    unsafe fn invoke<J: Job>(job: J);

    /// # Safety
    /// The CPU supports the instruction set, and `p` is valid for reading `LANES` floats.
    unsafe fn load(p: *const f32) -> Self::V;
    /// # Safety
    /// The CPU supports the instruction set, and `p` is valid for writing `LANES` floats.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Asks for the cache line at `p`, any address, to be brought near.
    #[inline(always)]
    fn prefetch(p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults, and every x86-64 CPU has it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn splat(x: f32) -> Self::V;
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, with one rounding where the instruction set can.
    ///
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of both; `b` if one is NaN.
    ///
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of both; `b` if one is NaN.
    ///
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// 2^n, given 1.5 * 2^23 + n for a whole n from -126 to 127: the lowest bits of that number are n.
    ///
    /// # Safety
    /// The CPU supports the instruction set.
    unsafe fn pow2(rounded: Self::V) -> Self::V;

    /// As many floats as there are, up to a vector, and zeros behind them.
    ///
    /// # Safety
    /// The CPU supports the instruction set, and `p` is valid for reading `count` floats.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, count: usize) -> Self::V {
        let mut lanes = [0.0f32; BLOCK];
        // SAFETY: the caller vouches for the range; `lanes` holds a vector.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count.min(Self::LANES));
            Self::load(lanes.as_ptr())
        }
    }
    /// Stores the first `count` floats of a vector.
    ///
    /// # Safety
    /// The CPU supports the instruction set, and `p` is valid for writing `count` floats.
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: Self::V, count: usize) {
        let mut lanes = [0.0f32; BLOCK];
        // SAFETY: the caller vouches for the range; `lanes` holds a vector.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count.min(Self::LANES));
        }
    }
}

/// Plain Rust arrays, which the compiler turns into whatever vectors the target has by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

const PORTABLE_LANES: usize = 8;

impl Simd for Portable {
    type V = [f32; PORTABLE_LANES];
    const LANES: usize = PORTABLE_LANES;
    // A product tile must fit 16 vector registers of 128 bits on x86-64, and 32 on AArch64.
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 3 };
    const COLUMN_BLOCKS: usize = 1;
    const COLUMN_ROWS: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };

    #[inline(always)]
    unsafe fn invoke<J: Job>(job: J) {
        #[inline(never)]
        unsafe fn body<J: Job>(job: J) {
            // SAFETY: plain Rust runs everywhere; the caller answers for the job.
            unsafe { job.run::<Portable>() }
        }
        // SAFETY: passed on from the caller.
        unsafe { body(job) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller vouches for the range; `read_unaligned` asks for no alignment.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for the range; `write_unaligned` asks for no alignment.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; PORTABLE_LANES]
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Where the target lacks a fused instruction, `mul_add` would be a slow library call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn pow2(rounded: Self::V) -> Self::V {
        rounded.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23))
    }
}

/// Runs `f` compiled with the widest vectors that this processor has and the compiler was told of.
///
/// `f` should be `#[inline(always)]`. Results have the same bits on both paths: the compiler
/// neither reorders sums nor contracts a product and a sum by itself.
#[inline]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, checked just above.
        return unsafe { with_avx2(f) };
    }
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
