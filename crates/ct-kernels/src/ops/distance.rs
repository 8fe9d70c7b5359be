//! Distances between a prediction and a target, as losses.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{Place, check_dims, place};
use crate::cpu::simd::vectorized;
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "distance";

/// How far apart two samples are; n runs over the elements of a sample, d = prediction - target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// The sum of `d_n^2`.
    L2,
    /// The sum of `|d_n|`.
    L1,
    /// `sqrt(sum of d_n^2 + c^2) - c`, over the whole sample
    /// (Song and Dhariwal, "Improved Techniques for Training Consistency Models", section 3.3).
    /// Where the root is zero its gradient is taken to be zero, so that c = 0 is safe.
    PseudoHuber {
        /// Where the distance turns from quadratic to linear; not negative.
        c: f64,
    },
}

/// The mean over the batch of a weighted distance, a scalar, computed in f64.
///
/// # Shapes
/// `prediction`, `target`: [B, ..]; `weights`: B numbers; result: [].
///
/// # Errors
/// When shapes do not fit, or c is negative.
pub fn distance(prediction: &Value, target: &Tensor, metric: Metric, weights: &[f64]) -> Result<Value> {
    if prediction.dims().first() != Some(&weights.len()) {
        let expected = format!("[{}, ..], as there are weights", weights.len());
        return Err(Error::shape(NAME, "prediction", expected, prediction.dims()));
    }
    let op = Distance { target: target.detach(), metric, weights: weights.to_vec() };
    apply(op, &[prediction])
}

/// The distance of each sample, unweighted.
///
/// # Shapes
/// `prediction`, `target`: [B, ..]; result: B numbers.
///
/// # Errors
/// When shapes do not fit, or c is negative.
pub fn distances(prediction: &Tensor, target: &Tensor, metric: Metric) -> Result<Vec<f64>> {
    match check(prediction, target, metric)? {
        Place::CpuF32 => distances_cpu::<f32>(prediction, target, metric),
        Place::CpuF64 => distances_cpu::<f64>(prediction, target, metric),
        Place::Composed => Ok(composed::distance::distances(prediction, target, metric)?.to_vec1()?),
    }
}

/// Where the distances are computed, if they can be.
fn check(prediction: &Tensor, target: &Tensor, metric: Metric) -> Result<Place> {
    check_dims(NAME, "target", target, prediction.dims())?;
    if let Metric::PseudoHuber { c } = metric
        && (c.is_nan() || c < 0.0)
    {
        return Err(Error::setting(NAME, format!("c must not be negative, got {c}")));
    }
    place(NAME, &[prediction, target])
}

fn distances_cpu<T: Real>(prediction: &Tensor, target: &Tensor, metric: Metric) -> Result<Vec<f64>> {
    let batch = prediction.dims().first().copied().unwrap_or(0);
    let (pc, tc) = (prediction.contiguous()?, target.contiguous()?);
    let (ps, ts) = (cpu::read::<T>(&pc)?, cpu::read::<T>(&tc)?);
    let sample = (ps.len() / batch.max(1)).max(1);
    Ok(ps
        .par_chunks(sample)
        .zip(ts.par_chunks(sample))
        .map(|(p, t)| {
            vectorized(
                #[inline(always)]
                || match metric {
                    Metric::L1 => sum_over(p, t, f64::abs),
                    Metric::L2 => sum_over(p, t, |d| d * d),
                    Metric::PseudoHuber { c } => {
                        // n / (sqrt(n + c^2) + c) is the same without cancellation.
                        let n = sum_over(p, t, |d| d * d);
                        let root = (n + c * c).sqrt();
                        if root > 0.0 { n / (root + c) } else { root }
                    }
                },
            )
        })
        .collect())
}

/// Sum of f(p - t), in eight partial sums so that it vectorizes.
#[inline(always)]
fn sum_over<T: Real>(p: &[T], t: &[T], f: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (ps, ts) = (p.chunks_exact(LANES), t.chunks_exact(LANES));
    let rest = ps.remainder().iter().zip(ts.remainder());
    let rest: f64 = rest.map(|(p, t)| f(p.to_f64() - t.to_f64())).sum();
    for (p, t) in ps.zip(ts) {
        for ((sum, p), t) in sums.iter_mut().zip(p).zip(t) {
            *sum += f(p.to_f64() - t.to_f64());
        }
    }
    sums.iter().sum::<f64>() + rest
}

struct Distance {
    target: Tensor,
    metric: Metric,
    weights: Vec<f64>,
}

impl Distance {
    /// d loss / d prediction, given the distances; times `grad`, a scalar, if there is one.
    fn slope(&self, prediction: &Tensor, distances: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
        let on_host = || match grad {
            Some(grad) => grad.to_dtype(DType::F64)?.to_scalar::<f64>(),
            None => Ok(1.0),
        };
        match place(NAME, &[prediction])? {
            Place::CpuF32 => self.slope_cpu::<f32>(prediction, distances, on_host()?),
            Place::CpuF64 => self.slope_cpu::<f64>(prediction, distances, on_host()?),
            Place::Composed => {
                let Self { target, metric, weights } = self;
                composed::distance::slope(prediction, target, *metric, weights, distances, grad)
            }
        }
    }

    fn slope_cpu<T: Real>(&self, prediction: &Tensor, distances: &Tensor, grad: f64) -> Result<Tensor> {
        let (pc, tc) = (prediction.contiguous()?, self.target.contiguous()?);
        let (ps, ts) = (cpu::read::<T>(&pc)?, cpu::read::<T>(&tc)?);
        let distances = cpu::read::<f64>(distances)?;
        let (ps, ts, distances): (&[T], &[T], &[f64]) = (&ps, &ts, &distances);
        let batch = self.weights.len();
        let sample = ps.len() / batch.max(1);
        let out = cpu::build(
            ps.len(),
            sample,
            #[inline(always)]
            |b, out| {
                let factor = grad * self.weights[b] / batch as f64;
                let (p, t) = (&ps[b * sample..][..sample], &ts[b * sample..][..sample]);
                let pairs = out.iter_mut().zip(p.iter().zip(t));
                match self.metric {
                    Metric::L1 => pairs.for_each(|(out, (&p, &t))| {
                        let d = (p - t).to_f64();
                        *out = T::from_f64(if d == 0.0 { d } else { factor * d.signum() });
                    }),
                    Metric::L2 => scaled_difference(pairs, 2.0 * factor),
                    Metric::PseudoHuber { c } => {
                        let root = distances[b] + c;
                        scaled_difference(pairs, if root == 0.0 { 0.0 } else { factor / root });
                    }
                }
            },
        );
        cpu::tensor(out, prediction.dims())
    }
}

#[inline(always)]
fn scaled_difference<'a, T: Real>(pairs: impl Iterator<Item = (&'a mut T, (&'a T, &'a T))>, factor: f64) {
    for (out, (&p, &t)) in pairs {
        *out = T::from_f64(factor * (p.to_f64() - t.to_f64()));
    }
}

impl Op for Distance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let dtype = inputs[0].dtype();
        if check(inputs[0], &self.target, self.metric)? == Place::Composed {
            let distances = composed::distance::distances(inputs[0], &self.target, self.metric)?;
            return Ok((composed::distance::mean(&distances, &self.weights, dtype)?, vec![distances]));
        }
        let distances = distances(inputs[0], &self.target, self.metric)?;
        let total: f64 = distances.iter().zip(&self.weights).map(|(d, weight)| d * weight).sum();
        let mean = total / distances.len() as f64;
        let loss = Tensor::new(mean, &Device::Cpu)?.to_dtype(dtype)?;
        Ok((loss, vec![Tensor::new(distances, &Device::Cpu)?]))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.slope(ctx.input(0)?, ctx.saved(0)?, Some(grad))?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let slope = self.slope(ctx.input(0)?, ctx.saved(0)?, None)?;
        let tangents = tangents.iter().map(|tangent| tangent.cloned()).collect();
        let tangent = super::sum_of(NAME, tangents)?;
        let along = super::mul(&Value::from(slope), &Value::from(tangent))?;
        Ok(super::sum_all(&along)?.into_tensor())
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}
