//! The forward-mode derivative of attention in f32, on vectors.
//!
//! With dots for tangents: S. = s (Q. K^T + Q K.^T); P. = P (S. - rowsum(P S.)); O. = P. V + P V..
//! One head of one sample is one task, as in [`fast`](super::fast).

#![expect(unsafe_code, reason = "reads and writes strided matrices through pointers")]

use candle_core::Tensor;

use super::Sizes;
use super::fast::{Head, probabilities, softmax_slope};
use crate::Result;
use crate::cpu;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{Job, Simd};
use crate::cpu::strided::{Rows, Strided, product};

/// The tangent of the output.
pub(super) fn jvp(
    isa: Isa,
    sizes: Sizes,
    inputs: [&Tensor; 3],
    normalizers: &Tensor,
    tangents: &[Tensor],
) -> Result<Tensor> {
    let all = inputs.into_iter().chain(tangents);
    let contiguous = all.map(Tensor::contiguous).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<f32>).collect::<Result<Vec<_>>>()?;
    let [q, k, v, q_dot, k_dot, v_dot] = [0, 1, 2, 3, 4, 5].map(|idx| &*elements[idx]);
    let normalizers = cpu::read::<f32>(normalizers)?;
    let normalizers: &[f32] = &normalizers;
    let Sizes { batch, queries, keys, heads, .. } = sizes;
    let fill = |out: &mut [f32]| {
        let out = Shared::new(out);
        parallel::for_each(batch * heads, |index| {
            let head = Head { sizes, sample: index / heads, first: index % heads * sizes.dim() };
            // SAFETY: each task writes its own channels of its own sample; all tensors have the sizes that were checked.
            unsafe {
                isa.invoke(Jvp {
                    head,
                    q: [q, q_dot].map(|x| head.rows(x, queries)),
                    k: [k, k_dot].map(|x| head.rows(x, keys)),
                    v: [v, v_dot].map(|x| head.rows(x, keys)),
                    normalizers: &normalizers[index * queries..][..queries],
                    out: head.rows_mut(out, queries),
                });
            }
        });
    };
    // SAFETY: the heads of all samples together are all of the output.
    let out = unsafe { cpu::overwritten(q.len(), fill) };
    cpu::tensor(out, inputs[0].dims())
}

/// Each of q, k and v with its tangent.
struct Jvp<'a> {
    head: Head,
    q: [Rows<*const f32>; 2],
    k: [Rows<*const f32>; 2],
    v: [Rows<*const f32>; 2],
    normalizers: &'a [f32],
    out: Rows<*mut f32>,
}

impl Job for Jvp<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { head, .. } = self;
        let (Sizes { queries, keys, .. }, dim, stride) = (head.sizes, head.sizes.dim(), head.stride());
        let mut scratch = Scratch::take((dim + 3 * queries) * stride + queries * dim);
        let (transposed, rest) = scratch.slice_mut().split_at_mut(dim * stride);
        let (p, rest) = rest.split_at_mut(queries * stride);
        let (s_dot, rest) = rest.split_at_mut(queries * stride);
        let (right, out) = rest.split_at_mut(queries * stride);
        let scale = head.sizes.scale::<f32>();
        // SAFETY: the job's contract; the parts of the working memory are as long as what is written to them.
        unsafe {
            head.transpose(self.k[0], transposed);
            head.scores::<S>(self.q[0], transposed, p);
            head.scores::<S>(self.q[1], transposed, s_dot);
            head.transpose(self.k[1], transposed);
            head.scores::<S>(self.q[0], transposed, right);
            add_to::<S>(s_dot.as_mut_ptr(), right.as_ptr(), queries * stride);
            let rows = p.chunks_exact_mut(stride).zip(s_dot.chunks_exact_mut(stride));
            for ((p, s_dot), &normalizer) in rows.zip(self.normalizers) {
                probabilities::<S>(p, keys, scale, normalizer);
                softmax_slope::<S>(s_dot, p, scale);
            }
            let matrix = |x: &[f32]| Strided { ptr: x.as_ptr(), row: stride, column: 1 };
            let dense = Rows { ptr: out.as_mut_ptr(), stride: dim };
            product::<S>(matrix(s_dot), self.v[0], self.out, [queries, keys, dim]);
            product::<S>(matrix(p), self.v[1], dense, [queries, keys, dim]);
            for (idx, row) in out.chunks_exact(dim).take(queries).enumerate() {
                add_to::<S>(self.out.ptr.add(idx * self.out.stride), row.as_ptr(), dim);
            }
        }
    }
}

/// `to += from`, of `len` floats, which are whole vectors.
///
/// # Safety
/// Called from a job for `S`; both ranges are valid and apart.
#[inline(always)]
unsafe fn add_to<S: Simd>(to: *mut f32, from: *const f32, len: usize) {
    for at in (0..len).step_by(S::LANES) {
        // SAFETY: passed on from the caller.
        unsafe { S::store(to.add(at), S::add(S::load(to.add(at)), S::load(from.add(at)))) }
    }
}
