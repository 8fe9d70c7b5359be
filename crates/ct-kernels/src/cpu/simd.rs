//! Code compiled twice: for any processor of the architecture, and for wide vectors.

/// Runs `f` compiled with the widest vectors that this processor has and the compiler was told of.
///
/// `f` should be `#[inline(always)]`. Results have the same bits on both paths: the compiler
/// neither reorders sums nor contracts a product and a sum by itself.
#[inline]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "a function compiled for AVX2 is entered from baseline code")]
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
