//! Attention in f32, on vectors.
//!
//! One head of one sample is one task. Queries, keys, values and gradients are read and written where they lie;
//! only the transposes of K and V are copied, with their rows rounded up to whole vectors.

#![expect(unsafe_code, reason = "reads and writes strided matrices through pointers")]

use candle_core::Tensor;

use super::Sizes;
use crate::Result;
use crate::cpu;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::{Isa, choice};
use crate::cpu::simd::math::exp;
use crate::cpu::simd::{BLOCK, Job, Simd};
use crate::cpu::strided::{Rows, Strided, product};

/// The instruction set to use, if the heads are whole vectors of one.
pub(super) fn isa(sizes: Sizes) -> Option<Isa> {
    let best = choice().isa;
    if sizes.dim().is_multiple_of(BLOCK) {
        Some(best)
    } else if sizes.dim().is_multiple_of(BLOCK / 2) {
        // Vectors of eight divide these heads, and a CPU with wider ones has them too.
        Some(if best == Isa::Avx512 { Isa::Avx2 } else { best })
    } else {
        None
    }
}

/// Output, and [B, heads, N]: the logarithm of each softmax's normalizer.
pub(super) fn forward(isa: Isa, sizes: Sizes, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let contiguous = inputs.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<f32>).collect::<Result<Vec<_>>>()?;
    let [q, k, v] = [0, 1, 2].map(|idx| &*elements[idx]);
    let Sizes { batch, queries, heads, .. } = sizes;
    let mut normalizers = vec![0.0; batch * heads * queries];
    let all_normalizers = Shared::new(&mut normalizers);
    let fill = |out: &mut [f32]| {
        let out = Shared::new(out);
        parallel::for_each(batch * heads, |index| {
            let head = Head { sizes, sample: index / heads, first: index % heads * sizes.dim() };
            // SAFETY: each task writes its own channels of its own sample; all tensors have the sizes that were checked.
            unsafe {
                isa.invoke(Forward {
                    head,
                    q: head.rows(q, queries),
                    k: head.rows(k, sizes.keys),
                    v: head.rows(v, sizes.keys),
                    out: head.rows_mut(out, queries),
                    normalizers: all_normalizers.slice(index * queries, queries),
                });
            }
        });
    };
    // SAFETY: the heads of all samples together are all of the output.
    let out = unsafe { cpu::overwritten(q.len(), fill) };
    let normalizers = cpu::tensor(normalizers, &[batch, heads, queries])?;
    Ok((cpu::tensor(out, inputs[0].dims())?, vec![normalizers]))
}

/// The gradients by q, k and v.
///
/// dV = P^T dO; dP = dO V^T; dS = s P (dP - rowsum(P dP)); dQ = dS K; dK = dS^T Q.
pub(super) fn backward(
    isa: Isa,
    sizes: Sizes,
    inputs: [&Tensor; 3],
    normalizers: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let all = [inputs[0], inputs[1], inputs[2], grad];
    let contiguous = all.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<f32>).collect::<Result<Vec<_>>>()?;
    let [q, k, v, grad] = [0, 1, 2, 3].map(|idx| &*elements[idx]);
    let normalizers = cpu::read::<f32>(normalizers)?;
    let normalizers: &[f32] = &normalizers;
    let Sizes { batch, queries, keys, heads, .. } = sizes;
    let fill = |outputs: [Option<&mut [f32]>; 3]| {
        let [by_q, by_k, by_v] = outputs.map(|output| Shared::new(output.unwrap_or_default()));
        parallel::for_each(batch * heads, |index| {
            let head = Head { sizes, sample: index / heads, first: index % heads * sizes.dim() };
            // SAFETY: as in `forward`.
            unsafe {
                isa.invoke(Backward {
                    head,
                    q: head.rows(q, queries),
                    k: head.rows(k, keys),
                    v: head.rows(v, keys),
                    grad: head.rows(grad, queries),
                    normalizers: &normalizers[index * queries..][..queries],
                    by_q: head.rows_mut(by_q, queries),
                    by_k: head.rows_mut(by_k, keys),
                    by_v: head.rows_mut(by_v, keys),
                });
            }
        });
    };
    // SAFETY: the heads of all samples together are all of each gradient.
    let grads = unsafe { cpu::overwritten_if_needed(inputs.map(Tensor::dims), [true; 3], fill)? };
    Ok(Vec::from(grads))
}

/// One head of one sample.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sizes: Sizes,
    pub(super) sample: usize,
    /// Its first channel.
    pub(super) first: usize,
}

impl Head {
    /// Floats from row to row of the matrices of scores.
    pub(super) fn stride(self) -> usize {
        self.sizes.keys.next_multiple_of(BLOCK)
    }

    /// Its rows in a tensor with `count` rows a sample.
    pub(super) fn rows(self, x: &[f32], count: usize) -> Rows<*const f32> {
        let x = &x[self.sample * count * self.sizes.channels + self.first..];
        Rows { ptr: x.as_ptr(), stride: self.sizes.channels }
    }

    /// As [`Head::rows`].
    ///
    /// # Safety
    /// The tensor is that large.
    pub(super) unsafe fn rows_mut(self, x: Shared, count: usize) -> Rows<*mut f32> {
        let len = if count == 0 { 0 } else { (count - 1) * self.sizes.channels + self.sizes.dim() };
        // SAFETY: passed on from the caller.
        let ptr = unsafe { x.part(self.sample * count * self.sizes.channels + self.first, len) };
        Rows { ptr, stride: self.sizes.channels }
    }

    /// The transpose of K or V, `[dim][stride]`, with zeros behind each row.
    #[inline(always)]
    pub(super) unsafe fn transpose(self, x: Rows<*const f32>, to: &mut [f32]) {
        let (keys, stride) = (self.sizes.keys, self.stride());
        for (d, row) in to.chunks_exact_mut(stride).take(self.sizes.dim()).enumerate() {
            for (key, to) in row[..keys].iter_mut().enumerate() {
                // SAFETY: x has `keys` rows of this head.
                *to = unsafe { *x.ptr.add(key * x.stride + d) };
            }
            row[keys..].fill(0.0);
        }
    }

    /// a b^T with b transposed before: `[queries][stride]`.
    #[inline(always)]
    pub(super) unsafe fn scores<S: Simd>(self, a: Rows<*const f32>, transposed: &[f32], to: &mut [f32]) {
        let Sizes { queries, .. } = self.sizes;
        let stride = self.stride();
        debug_assert!(to.len() >= queries * stride && transposed.len() >= self.sizes.dim() * stride);
        let a = Strided { ptr: a.ptr, row: a.stride, column: 1 };
        let b = Rows { ptr: transposed.as_ptr(), stride };
        // SAFETY: the lengths were checked; the stride is whole vectors.
        unsafe {
            product::<S>(a, b, Rows { ptr: to.as_mut_ptr(), stride }, [queries, self.sizes.dim(), stride]);
        }
    }
}

struct Forward<'a> {
    head: Head,
    q: Rows<*const f32>,
    k: Rows<*const f32>,
    v: Rows<*const f32>,
    out: Rows<*mut f32>,
    normalizers: &'a mut [f32],
}

impl Job for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { head, .. } = self;
        let (Sizes { queries, keys, .. }, dim, stride) = (head.sizes, head.sizes.dim(), head.stride());
        let mut scratch = Scratch::take((dim + queries) * stride);
        let (kt, p) = scratch.slice_mut().split_at_mut(dim * stride);
        let scale = head.sizes.scale::<f32>();
        // SAFETY: the job's contract.
        unsafe {
            head.transpose(self.k, kt);
            head.scores::<S>(self.q, kt, p);
            for (row, normalizer) in p.chunks_exact_mut(stride).zip(self.normalizers) {
                *normalizer = softmax::<S>(row, keys, scale);
            }
            let p = Strided { ptr: p.as_ptr(), row: stride, column: 1 };
            product::<S>(p, self.v, self.out, [queries, keys, dim]);
        }
    }
}

/// softmax(scale row) of the first `count` elements, in place; returns the logarithm of the normalizer.
///
/// # Safety
/// Called from a job for `S`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "computed in f64, kept in f32")]
unsafe fn softmax<S: Simd>(row: &mut [f32], count: usize, scale: f32) -> f32 {
    row[count..].fill(f32::NEG_INFINITY);
    let (mut lanes, len) = ([0.0f32; BLOCK], row.len());
    // SAFETY: a row is whole vectors, and a vector fits a block.
    unsafe {
        let p = row.as_mut_ptr();
        let mut top = S::load(p);
        for at in (S::LANES..len).step_by(S::LANES) {
            top = S::max(S::load(p.add(at)), top);
        }
        S::store(lanes.as_mut_ptr(), top);
        let top = scale * lanes[..S::LANES].iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let (scale, minus_top) = (S::splat(scale), S::splat(-top));
        let mut sum = S::splat(0.0);
        for at in (0..len).step_by(S::LANES) {
            let e = exp::<S>(S::fma(S::load(p.add(at)), scale, minus_top));
            S::store(p.add(at), e);
            sum = S::add(sum, e);
        }
        S::store(lanes.as_mut_ptr(), sum);
        let total: f64 = lanes[..S::LANES].iter().map(|&x| f64::from(x)).sum();
        let inverse = S::splat((1.0 / total) as f32);
        for at in (0..len).step_by(S::LANES) {
            S::store(p.add(at), S::mul(S::load(p.add(at)), inverse));
        }
        top + total.ln() as f32
    }
}

struct Backward<'a> {
    head: Head,
    q: Rows<*const f32>,
    k: Rows<*const f32>,
    v: Rows<*const f32>,
    grad: Rows<*const f32>,
    normalizers: &'a [f32],
    by_q: Rows<*mut f32>,
    by_k: Rows<*mut f32>,
    by_v: Rows<*mut f32>,
}

impl Job for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { head, .. } = self;
        let (Sizes { queries, keys, .. }, dim, stride) = (head.sizes, head.sizes.dim(), head.stride());
        let mut scratch = Scratch::take((dim + 2 * queries) * stride);
        let (transposed, rest) = scratch.slice_mut().split_at_mut(dim * stride);
        let (p, ds) = rest.split_at_mut(queries * stride);
        let scale = head.sizes.scale::<f32>();
        // SAFETY: the job's contract.
        unsafe {
            head.transpose(self.k, transposed);
            head.scores::<S>(self.q, transposed, p);
            head.transpose(self.v, transposed);
            head.scores::<S>(self.grad, transposed, ds);
            let rows = p.chunks_exact_mut(stride).zip(ds.chunks_exact_mut(stride));
            for ((p, ds), &normalizer) in rows.zip(self.normalizers) {
                probabilities::<S>(p, keys, scale, normalizer);
                softmax_slope::<S>(ds, p, scale);
            }
            let p_t = Strided { ptr: p.as_ptr(), row: 1, column: stride };
            product::<S>(p_t, self.grad, self.by_v, [keys, queries, dim]);
            let ds_t = Strided { ptr: ds.as_ptr(), row: 1, column: stride };
            product::<S>(ds_t, self.q, self.by_k, [keys, queries, dim]);
            let ds = Strided { ptr: ds.as_ptr(), row: stride, column: 1 };
            product::<S>(ds, self.k, self.by_q, [queries, keys, dim]);
        }
    }
}

/// P of one row of scores, from the saved normalizer; zero behind the first `count`.
///
/// # Safety
/// Called from a job for `S`.
#[inline(always)]
pub(super) unsafe fn probabilities<S: Simd>(row: &mut [f32], count: usize, scale: f32, normalizer: f32) {
    // SAFETY: a row is whole vectors.
    unsafe {
        let p = row.as_mut_ptr();
        let (scale, minus) = (S::splat(scale), S::splat(-normalizer));
        for at in (0..row.len()).step_by(S::LANES) {
            S::store(p.add(at), exp::<S>(S::fma(S::load(p.add(at)), scale, minus)));
        }
    }
    row[count..].fill(0.0);
}

/// row <- scale p (row - sum(p row)).
///
/// # Safety
/// Called from a job for `S`; both have the same length.
#[inline(always)]
pub(super) unsafe fn softmax_slope<S: Simd>(row: &mut [f32], p: &[f32], scale: f32) {
    let mut lanes = [0.0f32; BLOCK];
    // SAFETY: the rows are whole vectors, and a vector fits a block.
    unsafe {
        let (x, p, len) = (row.as_mut_ptr(), p.as_ptr(), row.len());
        let mut sum = S::splat(0.0);
        for at in (0..len).step_by(S::LANES) {
            sum = S::fma(S::load(x.add(at)), S::load(p.add(at)), sum);
        }
        S::store(lanes.as_mut_ptr(), sum);
        let (sum, scale) = (S::splat(lanes[..S::LANES].iter().sum()), S::splat(scale));
        for at in (0..len).step_by(S::LANES) {
            let slope = S::sub(S::load(x.add(at)), sum);
            S::store(x.add(at), S::mul(S::mul(scale, S::load(p.add(at))), slope));
        }
    }
}
