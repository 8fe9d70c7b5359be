//! Attention, with the scores of so many queries at a time that they stay small: the probabilities of all of them are
//! never in memory at once, in the forward pass or in the backward one, which computes them again.

use candle_core::{D, Tensor};

use super::{matmul, wide};
use crate::Result;

/// Scores that are in memory at a time, over the whole batch: 256 MiB in f32.
const MAX_SCORES: usize = 1 << 26;

/// The sizes of one attention.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) heads: usize,
    /// Channels of one head.
    pub(crate) dim: usize,
    /// Scores that are in memory at a time, at most, or those of one query of each head.
    max_scores: usize,
}

impl Sizes {
    pub(crate) fn new([batch, queries, keys]: [usize; 3], heads: usize, dim: usize) -> Self {
        Self { batch, queries, keys, heads, dim, max_scores: MAX_SCORES }
    }

    fn scale(self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }

    /// `[B heads, rows, dim]`, in the type that is computed in.
    fn heads(self, x: &Tensor) -> Result<Tensor> {
        let rows = x.dim(1)?;
        let heads = wide(x)?.reshape((self.batch, rows, self.heads, self.dim))?.transpose(1, 2)?;
        Ok(heads.contiguous()?.reshape((self.batch * self.heads, rows, self.dim))?)
    }

    /// The inverse of [`heads`](Self::heads), rounded to the type of `like`.
    fn joined(self, x: &Tensor, like: &Tensor) -> Result<Tensor> {
        let rows = x.dim(1)?;
        let x = x.reshape((self.batch, self.heads, rows, self.dim))?.transpose(1, 2)?.contiguous()?;
        Ok(x.reshape((self.batch, rows, self.heads * self.dim))?.to_dtype(like.dtype())?)
    }

    /// First query and number of queries of each part.
    fn parts(self) -> impl Iterator<Item = (usize, usize)> {
        let per_query = (self.batch * self.heads * self.keys).max(1);
        let most = (self.max_scores / per_query).clamp(1, self.queries.max(1));
        (0..self.queries).step_by(most).map(move |first| (first, most.min(self.queries - first)))
    }

    /// The results of `f` for each part of the queries, one below the other.
    fn by_queries<const N: usize>(
        self,
        mut f: impl FnMut(usize, usize) -> Result<[Tensor; N]>,
    ) -> Result<[Tensor; N]> {
        let parts = self.parts().map(|(first, count)| f(first, count)).collect::<Result<Vec<_>>>()?;
        if let [only] = &parts[..] {
            return Ok(only.clone());
        }
        let mut joined = Vec::with_capacity(N);
        for idx in 0..N {
            joined.push(Tensor::cat(&parts.iter().map(|part| &part[idx]).collect::<Vec<_>>(), 1)?);
        }
        joined.try_into().map_err(|_| candle_core::Error::msg("as many as there are").into())
    }
}

/// Output, and `[B heads, N, 1]`: the logarithm of each softmax's normalizer.
pub(crate) fn forward(sizes: Sizes, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let (q, k, v) = (sizes.heads(inputs[0])?, sizes.heads(inputs[1])?, sizes.heads(inputs[2])?);
    let [output, normalizers] = sizes.by_queries(|first, count| {
        let scores = scores(sizes, &q.narrow(1, first, count)?, &k)?;
        let top = scores.max_keepdim(D::Minus1)?;
        let powers = scores.broadcast_sub(&top)?.exp()?;
        let totals = powers.sum_keepdim(D::Minus1)?;
        let output = matmul(&powers.broadcast_div(&totals)?, &v)?;
        Ok([output, (top + totals.log()?)?])
    })?;
    Ok((sizes.joined(&output, inputs[0])?, vec![normalizers]))
}

/// The gradients by q, k and v.
///
/// dV = P^T dO; dP = dO V^T; dS = s P (dP - rowsum(P dP)); dQ = dS K; dK = dS^T Q.
pub(crate) fn backward(
    sizes: Sizes,
    inputs: &[&Tensor; 3],
    normalizers: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let [q, k, v] = [sizes.heads(inputs[0])?, sizes.heads(inputs[1])?, sizes.heads(inputs[2])?];
    let grad = sizes.heads(grad)?;
    let mut by_keys: Option<[Tensor; 2]> = None;
    let [by_q] = sizes.by_queries(|first, count| {
        let (q, grad) = (q.narrow(1, first, count)?, grad.narrow(1, first, count)?);
        let p = probabilities(sizes, &q, &k, &normalizers.narrow(1, first, count)?)?;
        let ds = slope(sizes, &p, &matmul(&grad, &v.t()?)?)?;
        let [by_k, by_v] = [matmul(&ds.t()?, &q)?, matmul(&p.t()?, &grad)?];
        by_keys = Some(match by_keys.take() {
            Some([k, v]) => [(k + by_k)?, (v + by_v)?],
            None => [by_k, by_v],
        });
        Ok([matmul(&ds, &k)?])
    })?;
    let [by_k, by_v] = match by_keys {
        Some(by_keys) => by_keys,
        None => [k.zeros_like()?, v.zeros_like()?],
    };
    let joined = |x: &Tensor| sizes.joined(x, inputs[0]).map(Some);
    Ok(vec![joined(&by_q)?, joined(&by_k)?, joined(&by_v)?])
}

/// The tangent of the output: S. = s (Q. K^T + Q K.^T); P. = P (S. - rowsum(P S.)); O. = P. V + P V..
pub(crate) fn jvp(
    sizes: Sizes,
    inputs: &[&Tensor; 3],
    normalizers: &Tensor,
    tangents: &[Tensor],
) -> Result<Tensor> {
    let [q, k, v] = [sizes.heads(inputs[0])?, sizes.heads(inputs[1])?, sizes.heads(inputs[2])?];
    let dot = tangents.iter().map(|x| sizes.heads(x)).collect::<Result<Vec<_>>>()?;
    let [output] = sizes.by_queries(|first, count| {
        let (q, q_dot) = (q.narrow(1, first, count)?, dot[0].narrow(1, first, count)?);
        let p = probabilities(sizes, &q, &k, &normalizers.narrow(1, first, count)?)?;
        let scores_dot = (matmul(&q_dot, &k.t()?)? + matmul(&q, &dot[1].t()?)?)?;
        let p_dot = slope(sizes, &p, &scores_dot)?;
        Ok([(matmul(&p_dot, &v)? + matmul(&p, &dot[2])?)?])
    })?;
    sizes.joined(&output, inputs[0])
}

fn scores(sizes: Sizes, q: &Tensor, k: &Tensor) -> Result<Tensor> {
    Ok((matmul(q, &k.t()?)? * sizes.scale())?)
}

/// P again, from the saved normalizers.
fn probabilities(sizes: Sizes, q: &Tensor, k: &Tensor, normalizers: &Tensor) -> Result<Tensor> {
    Ok(scores(sizes, q, k)?.broadcast_sub(normalizers)?.exp()?)
}

/// s p (v - rowsum(p v)).
fn slope(sizes: Sizes, p: &Tensor, v: &Tensor) -> Result<Tensor> {
    let along = (p * v)?.sum_keepdim(D::Minus1)?;
    Ok(((p * v.broadcast_sub(&along)?)? * sizes.scale())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn values(seed: f64, dims: [usize; 3]) -> Tensor {
        let count = dims.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|idx| (idx as f64 * 0.9 + seed).sin()).collect();
        Tensor::from_vec(values, dims.as_slice(), &Device::Cpu).unwrap()
    }

    /// A few queries at a time give what all give at once: output, gradients, tangent.
    #[test]
    fn parts_of_the_queries_change_nothing() {
        let inputs = [values(0.0, [2, 7, 6]), values(1.0, [2, 5, 6]), values(2.0, [2, 5, 6])];
        let tangents = [values(3.0, [2, 7, 6]), values(4.0, [2, 5, 6]), values(5.0, [2, 5, 6])];
        let all = |max_scores: usize| {
            let sizes = Sizes { max_scores, ..Sizes::new([2, 7, 5], 2, 3) };
            let inputs = inputs.each_ref();
            let (output, saved) = forward(sizes, &inputs).unwrap();
            let grads = backward(sizes, &inputs, &saved[0], &values(6.0, [2, 7, 6])).unwrap();
            let tangent = jvp(sizes, &inputs, &saved[0], &tangents).unwrap();
            let all: Vec<Tensor> = grads.into_iter().flatten().chain([output, tangent]).collect();
            all.iter().flat_map(|x| x.flatten_all().unwrap().to_vec1::<f64>().unwrap()).collect::<Vec<_>>()
        };
        let whole = all(MAX_SCORES);
        for limit in [1, 2 * 2 * 5 * 3] {
            let worst = whole.iter().zip(all(limit)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-13, "at most {limit} scores: {worst:e}");
        }
    }
}
