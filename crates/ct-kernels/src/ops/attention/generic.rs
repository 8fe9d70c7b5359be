//! Attention in plain loops, for both element types: the reference of [`fast`](super::fast).

use candle_core::Tensor;

use super::Sizes;
use crate::Result;
use crate::cpu::matrix::{Matrix, dot, largest, product, sum, transpose};
use crate::cpu::{self, Real};

impl Sizes {
    /// Columns of head `h` of sample `b`, of a tensor with `rows` per sample, made dense.
    #[inline(always)]
    fn head<T: Real>(&self, x: &[T], rows: usize, b: usize, h: usize) -> Vec<T> {
        let dim = self.dim();
        let x = &x[b * rows * self.channels..][..rows * self.channels];
        let mut out = Vec::with_capacity(rows * dim);
        for row in x.chunks_exact(self.channels) {
            out.extend_from_slice(&row[h * dim..][..dim]);
        }
        out
    }

    /// Writes a dense head back into one sample.
    #[inline(always)]
    fn put_head<T: Real>(&self, sample: &mut [T], head: &[T], h: usize) {
        let dim = self.dim();
        for (row, head) in sample.chunks_exact_mut(self.channels).zip(head.chunks_exact(dim)) {
            row[h * dim..][..dim].copy_from_slice(head);
        }
    }
}

/// Output, and [B, heads, N]: the logarithm of each softmax's normalizer.
pub(super) fn forward<T: Real>(sizes: Sizes, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let contiguous = inputs.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let (q, k) = (cpu::read::<T>(&contiguous[0])?, cpu::read::<T>(&contiguous[1])?);
    let v = cpu::read::<T>(&contiguous[2])?;
    let (q, k, v): (&[T], &[T], &[T]) = (&q, &k, &v);
    let Sizes { batch, queries, keys, channels, heads } = sizes;
    let dim = sizes.dim();
    let mut normalizers = vec![T::ZERO; batch * heads * queries];
    let side = heads * queries;
    let len = queries * channels;
    let out = cpu::build_with(
        q.len(),
        len,
        &mut normalizers,
        side,
        #[inline(always)]
        |b, out, normalizers| {
            for (h, normalizers) in normalizers.chunks_exact_mut(queries).enumerate() {
                let qh = sizes.head(q, queries, b, h);
                let kt = transpose(&sizes.head(k, keys, b, h), dim);
                let mut p = product(Matrix::new(&qh, dim), &kt, [queries, dim, keys]);
                for (row, normalizer) in p.chunks_exact_mut(keys).zip(normalizers) {
                    *normalizer = softmax(row, sizes.scale());
                }
                sizes.put_head(
                    out,
                    &product(Matrix::new(&p, keys), &sizes.head(v, keys, b, h), [queries, keys, dim]),
                    h,
                );
            }
        },
    );
    let normalizers = cpu::tensor(normalizers, &[batch, heads, queries])?;
    Ok((cpu::tensor(out, inputs[0].dims())?, vec![normalizers]))
}

/// The gradients by q, k and v.
///
/// dV = P^T dO; dP = dO V^T; dS = P (dP - rowsum(P dP)); dQ = s dS K; dK = s dS^T Q.
pub(super) fn backward<T: Real>(
    sizes: Sizes,
    inputs: &[&Tensor; 3],
    normalizers: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let (qc, kc, vc) = (inputs[0].contiguous()?, inputs[1].contiguous()?, inputs[2].contiguous()?);
    let gc = grad.contiguous()?;
    let (q, k, v) = (cpu::read::<T>(&qc)?, cpu::read::<T>(&kc)?, cpu::read::<T>(&vc)?);
    let (grad, normalizers) = (cpu::read::<T>(&gc)?, cpu::read::<T>(normalizers)?);
    let [q, k, v, grad, normalizers]: [&[T]; 5] = [&q, &k, &v, &grad, &normalizers];
    let Sizes { queries, keys, channels, heads, .. } = sizes;
    let dim = sizes.dim();

    // Per sample, the gradient by k and then that by v.
    let mut by_kv = vec![T::ZERO; 2 * k.len()];
    let (len, side) = (queries * channels, 2 * keys * channels);
    let by_q = cpu::build_with(
        q.len(),
        len,
        &mut by_kv,
        side,
        #[inline(always)]
        |b, by_q, by_kv| {
            let (by_k, by_v) = by_kv.split_at_mut(keys * channels);
            for h in 0..heads {
                let qh = sizes.head(q, queries, b, h);
                let kh = sizes.head(k, keys, b, h);
                let go = sizes.head(grad, queries, b, h);
                let normalizers = &normalizers[(b * heads + h) * queries..][..queries];
                let p = probabilities(sizes, &qh, &kh, normalizers);

                let vt = transpose(&sizes.head(v, keys, b, h), dim);
                let mut ds = product(Matrix::new(&go, dim), &vt, [queries, dim, keys]);
                sizes.put_head(
                    by_v,
                    &product(Matrix::new(&p, keys).transposed(), &go, [keys, queries, dim]),
                    h,
                );
                for (ds, p) in ds.chunks_exact_mut(keys).zip(p.chunks_exact(keys)) {
                    softmax_slope(ds, p, sizes.scale());
                }
                sizes.put_head(by_q, &product(Matrix::new(&ds, keys), &kh, [queries, keys, dim]), h);
                sizes.put_head(
                    by_k,
                    &product(Matrix::new(&ds, keys).transposed(), &qh, [keys, queries, dim]),
                    h,
                );
            }
        },
    );
    let by_kv = cpu::tensor(by_kv, &[sizes.batch, 2, keys, channels])?;
    let part = |idx| by_kv.narrow(1, idx, 1)?.squeeze(1)?.contiguous();
    Ok(vec![Some(cpu::tensor(by_q, inputs[0].dims())?), Some(part(0)?), Some(part(1)?)])
}

/// The tangent of the output: S. = s (Q. K^T + Q K.^T); P. = P (S. - rowsum(P S.)); O. = P. V + P V..
pub(super) fn jvp<T: Real>(
    sizes: Sizes,
    inputs: &[&Tensor; 3],
    normalizers: &Tensor,
    tangents: &[Tensor],
) -> Result<Tensor> {
    let all = inputs
        .iter()
        .copied()
        .chain(tangents)
        .map(Tensor::contiguous)
        .collect::<candle_core::Result<Vec<_>>>()?;
    let all = all.iter().map(cpu::read::<T>).collect::<Result<Vec<_>>>()?;
    let all: Vec<&[T]> = all.iter().map(|elements| &**elements).collect();
    let normalizers = cpu::read::<T>(normalizers)?;
    let normalizers: &[T] = &normalizers;
    let Sizes { queries, keys, channels, heads, .. } = sizes;
    let dim = sizes.dim();
    let out = cpu::build(
        all[0].len(),
        queries * channels,
        #[inline(always)]
        |b, out| {
            for h in 0..heads {
                let query = |idx: usize| sizes.head(all[idx], queries, b, h);
                let key = |idx: usize| sizes.head(all[idx], keys, b, h);
                let (qh, kh) = (query(0), key(1));
                let normalizers = &normalizers[(b * heads + h) * queries..][..queries];
                let p = probabilities(sizes, &qh, &kh, normalizers);
                let mut s = product(Matrix::new(&query(3), dim), &transpose(&kh, dim), [queries, dim, keys]);
                let right = product(Matrix::new(&qh, dim), &transpose(&key(4), dim), [queries, dim, keys]);
                for (s, right) in s.iter_mut().zip(right) {
                    *s += right;
                }
                for (s, p) in s.chunks_exact_mut(keys).zip(p.chunks_exact(keys)) {
                    softmax_slope(s, p, sizes.scale());
                }
                let mut o = product(Matrix::new(&s, keys), &key(2), [queries, keys, dim]);
                for (o, right) in
                    o.iter_mut().zip(product(Matrix::new(&p, keys), &key(5), [queries, keys, dim]))
                {
                    *o += right;
                }
                sizes.put_head(out, &o, h);
            }
        },
    );
    cpu::tensor(out, inputs[0].dims())
}

/// P of one head, from the saved normalizers.
#[inline(always)]
fn probabilities<T: Real>(sizes: Sizes, q: &[T], k: &[T], normalizers: &[T]) -> Vec<T> {
    let kt = transpose(k, sizes.dim());
    let mut p = product(Matrix::new(q, sizes.dim()), &kt, [sizes.queries, sizes.dim(), sizes.keys]);
    let scale = sizes.scale::<T>();
    for (row, &normalizer) in p.chunks_exact_mut(sizes.keys).zip(normalizers) {
        for p in row {
            *p = (*p * scale - normalizer).exp();
        }
    }
    p
}

/// softmax(scale row) in place; returns the logarithm of the normalizer.
#[inline(always)]
fn softmax<T: Real>(row: &mut [T], scale: T) -> T {
    for x in &mut *row {
        *x *= scale;
    }
    let top = largest(row);
    for x in &mut *row {
        *x = (*x - top).exp();
    }
    let total = sum(row).to_f64();
    let inverse = T::from_f64(1.0 / total);
    for x in &mut *row {
        *x *= inverse;
    }
    top + T::from_f64(total.ln())
}

/// row <- scale p (row - sum(p row)).
#[inline(always)]
fn softmax_slope<T: Real>(row: &mut [T], p: &[T], scale: T) {
    let sum = dot(row, p);
    for (x, &p) in row.iter_mut().zip(p) {
        *x = scale * p * (*x - sum);
    }
}
