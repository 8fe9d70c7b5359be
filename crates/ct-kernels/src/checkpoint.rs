//! Recomputation: a block of operations that keeps its inputs alone until the backward pass
//! (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

use candle_core::Tensor;

use crate::pending::Pending;
use crate::{Error, Result, Tape, Value};

const NAME: &str = "checkpoint";

/// Runs `f` on `inputs`, and keeps nothing of its inside for the backward pass: only `inputs`.
///
/// The backward pass runs `f` again and goes backward through it at once, so that the activations of
/// one block are alive at a time.
/// Gradients have the bits that they have without the checkpoint, as long as `f` does the same each time.
///
/// Without a recorded input nothing would be kept anyway, and `f` simply runs; so it does when an input
/// carries a tangent, which moves forward only.
///
/// Every recorded value that `f` depends on must be among `inputs`: one that it captures would get no
/// gradient, and is an error.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use ct_kernels::{Tape, checkpoint, mul, silu, sum_all};
///
/// let tape = Tape::new();
/// let x = tape.leaf(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?);
/// let y = checkpoint(|v| mul(&silu(&v[0])?, &v[0]), &[&x])?;
/// assert_eq!(tape.len(), 2); // the leaf and the block
/// let gradients = tape.backward(&sum_all(&y)?)?;
/// assert!(gradients.leaf(0).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When `f` fails, the inputs are on different tapes, their tape is already consumed,
/// or `f` captures a recorded value.
pub fn checkpoint<F>(f: F, inputs: &[&Value]) -> Result<Value>
where
    F: Fn(&[Value]) -> Result<Value> + Send + Sync + 'static,
{
    let tape = match Value::common_tape(NAME, inputs)? {
        Some(tape) if inputs.iter().all(|value| value.tangent().is_none()) => tape,
        _ => return f(&inputs.iter().map(|&value| value.clone()).collect::<Vec<_>>()),
    };
    let constants: Vec<Value> = inputs.iter().map(|value| value.detach()).collect();
    let output = f(&constants)?;
    if output.is_recorded() {
        let reason = "its function uses a recorded value that is not among its inputs";
        return Err(Error::Contract { op: NAME, reason: reason.into() });
    }
    let block = Block {
        f: Box::new(f),
        inputs: inputs.iter().map(|value| value.tensor().clone()).collect(),
        sources: inputs.iter().map(|value| value.node().map(|node| node.id)).collect(),
    };
    let node = tape.record_block(block)?;
    Ok(Value::new(output.into_tensor(), Some(node), None))
}

type Function = dyn Fn(&[Value]) -> Result<Value> + Send + Sync;

/// What a tape holds of a checkpoint.
pub(crate) struct Block {
    f: Box<Function>,
    inputs: Vec<Tensor>,
    /// Node of each input; `None` for constants.
    sources: Vec<Option<usize>>,
}

impl Block {
    /// Tensors that are kept alive.
    pub(crate) fn kept(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Runs the block again, on a tape of its own, and sends the gradient of the output on to the inputs.
    ///
    /// The leaves of that tape take over the sums of the nodes that they stand for, and give them back:
    /// each contribution is added to the same sum as without a checkpoint, in the same order.
    pub(crate) fn backward(&self, grad: &Tensor, pending: &mut [Pending]) -> Result<()> {
        let tape = Tape::new();
        // Each node that the inputs stand for, and its leaf.
        let mut leaves: Vec<(usize, Value)> = Vec::new();
        let mut value_of = |tensor: &Tensor, source: Option<usize>| {
            let Some(source) = source else { return Value::from(tensor) };
            if let Some((_, leaf)) = leaves.iter().find(|(of, _)| *of == source) {
                return leaf.clone();
            }
            let leaf = tape.leaf(tensor);
            leaves.push((source, leaf.clone()));
            leaf
        };
        let inputs = self.inputs.iter().zip(&self.sources);
        let values: Vec<Value> = inputs.map(|(tensor, source)| value_of(tensor, *source)).collect();
        let output = (self.f)(&values)?;
        if output.tensor().shape() != grad.shape() {
            let reason = format!("its function gave {:?}, and now {:?}", grad.dims(), output.dims());
            return Err(Error::Contract { op: NAME, reason });
        }
        if !output.is_recorded() {
            return Ok(());
        }
        let sums = leaves.iter().map(|(source, _)| std::mem::take(&mut pending[*source])).collect();
        let sums = tape.backward_onto(&output, grad.clone(), sums)?;
        for ((source, _), sum) in leaves.into_iter().zip(sums) {
            pending[source] = sum;
        }
        Ok(())
    }
}
