//! Trains a small classifier, whose inner values are features for distances between sets of images.
//!
//! `cargo run --release -p ct-eval --example train_features -- NAME SPEC OUT.safetensors`
//!
//! `cargo xtask features` makes the two files in `crates/ct-eval/data` with it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use ct_data::{Batches, Dataset, LoadOptions, Source, Split};
use ct_eval::SmallCnn;
use ct_kernels::{AdamWStep, Metric, Tape, Value, adamw_step, distance};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SEED: u64 = 0;
const BATCH: usize = 64;
/// How often training sees each image of a set of less than [`LARGE`] images, and of a larger one.
const PASSES: [usize; 2] = [200, 3];
const LARGE: usize = 10_000;
const LR: f64 = 2e-3;
const CLASSES: usize = 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, spec, out] = args.as_slice() else {
        return Err("usage: train_features NAME SPEC OUT.safetensors".into());
    };
    let source: Source = spec.parse()?;
    let load = |split| source.load(&LoadOptions { split, ..LoadOptions::default() });
    let (train, test) = (Arc::new(load(Split::Train)?), load(Split::Test)?);
    let &[1, side, width] = train.sample_shape() else { return Err("expected gray images".into()) };
    if side != width || train.num_classes() != Some(CLASSES) {
        return Err("expected square images with labels of ten classes".into());
    }
    let network = SmallCnn::new(name.as_str(), side, SEED)?;
    fit(&network, &train)?;

    let network = network.rounded()?;
    let bytes = network.to_bytes()?;
    std::fs::write(PathBuf::from(out), &bytes)?;
    let (right, of) = (accuracy(&network, &test)?, test.len());
    writeln!(
        std::io::stdout(),
        "{name}: {right} of {of} test images are right, {} bytes in {out}",
        bytes.len()
    )?;
    Ok(())
}

/// Brings the scores near 1 for the right class and near 0 for the others, by squared distances.
fn fit(network: &SmallCnn, train: &Arc<Dataset>) -> Result<()> {
    let batches = Batches::new(Arc::clone(train), BATCH, SEED, false)?;
    let steps = PASSES[usize::from(train.len() >= LARGE)] * train.len() / BATCH;
    let zeros =
        || network.parameters().iter().map(Tensor::zeros_like).collect::<candle_core::Result<Vec<_>>>();
    let (m, v) = (zeros()?, zeros()?);
    for step in 0..steps {
        let batch = batches.batch((step * BATCH) as u64, &Device::Cpu)?;
        let tape = Tape::new();
        let leaves: Vec<Value> = network.parameters().iter().map(|tensor| tape.leaf(tensor)).collect();
        let (_, scores) = network.forward(&leaves, &Value::from(batch.x))?;
        let target = one_hot(&batch.labels.unwrap_or_default())?;
        let loss = distance(&scores, &target, Metric::L2, &[1.0; BATCH])?;
        let value = loss.tensor().to_scalar::<f32>()?;
        let gradients = tape.backward(&loss)?;
        let lr = LR * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        let config = AdamWStep { lr, step: step as u64 + 1, ..AdamWStep::default() };
        for (idx, parameter) in network.parameters().iter().enumerate() {
            let gradient = gradients.leaf(idx).ok_or("a weight without a gradient")?;
            adamw_step(parameter, &m[idx], &v[idx], &gradient.contiguous()?, &config)?;
        }
        if (step + 1) % 500 == 0 || step + 1 == steps {
            writeln!(std::io::stdout(), "step {} of {steps}: loss {value:.4}", step + 1)?;
        }
    }
    Ok(())
}

/// 1 for the class of each sample, 0 elsewhere.
fn one_hot(labels: &[u32]) -> Result<Tensor> {
    let mut values = vec![0f32; labels.len() * CLASSES];
    for (row, &label) in values.chunks_exact_mut(CLASSES).zip(labels) {
        row[label as usize] = 1.0;
    }
    Ok(Tensor::from_vec(values, (labels.len(), CLASSES), &Device::Cpu)?)
}

/// How many images get the highest score for their class.
fn accuracy(network: &SmallCnn, data: &Dataset) -> Result<usize> {
    let mut right = 0;
    for start in (0..data.len()).step_by(BATCH) {
        let indices: Vec<usize> = (start..data.len().min(start + BATCH)).collect();
        let best = network.scores(&data.tensor(&indices)?)?.argmax(1)?.to_vec1::<u32>()?;
        right += best.iter().zip(&indices).filter(|&(&best, &index)| data.label(index) == Some(best)).count();
    }
    Ok(right)
}
