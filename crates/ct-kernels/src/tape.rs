//! Reverse mode: operations are written down as they run, and read back from the end.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use crate::checkpoint::Block;
use crate::op::{Context, Kept};
use crate::pending::Pending;
use crate::{Error, Op, Result, Value};

/// A record of operations, from which gradients are computed.
///
/// A clone is the same tape. One backward pass consumes it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use ct_kernels::{Tape, mul, sum_all};
///
/// let tape = Tape::new();
/// let x = tape.leaf(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?);
/// let y = tape.leaf(&Tensor::new(&[5.0f32, 7.0], &Device::Cpu)?);
/// let gradients = tape.backward(&sum_all(&mul(&x, &y)?)?)?;
/// assert_eq!(gradients.leaf(0).unwrap().to_vec1::<f32>()?, [5.0, 7.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    num_leaves: usize,
    consumed: bool,
}

enum Node {
    /// A value to differentiate by, with its number.
    Leaf(usize),
    Operation(Box<Record>),
    /// Operations that are run again to be differentiated.
    Block(Block),
}

/// All that the backward pass needs of one operation.
struct Record {
    op: Box<dyn Op>,
    inputs: Vec<Kept>,
    /// Node of each input; `None` for constants.
    sources: Vec<Option<usize>>,
    output: Kept,
    saved: Vec<Tensor>,
}

/// A place on a tape.
#[derive(Clone)]
pub(crate) struct NodeRef {
    pub(crate) tape: Tape,
    pub(crate) id: usize,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value to differentiate by.
    ///
    /// Leaves are numbered 0, 1, 2, ... in the order of their creation.
    pub fn leaf(&self, tensor: &Tensor) -> Value {
        let mut state = self.state();
        let number = state.num_leaves;
        state.num_leaves += 1;
        let id = state.push(Node::Leaf(number));
        Value::new(tensor.detach(), Some(NodeRef { tape: self.clone(), id }), None)
    }

    /// Number of values recorded so far, leaves included.
    pub fn len(&self) -> usize {
        self.state().nodes.len()
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The gradient of `loss`, a scalar, by every leaf.
    ///
    /// Operations are dropped one by one from the end, with the tensors they kept.
    /// The tape cannot be used afterwards.
    ///
    /// # Errors
    /// When `loss` is not a scalar recorded on this tape, the tape was consumed before,
    /// or an operation fails.
    pub fn backward(&self, loss: &Value) -> Result<Gradients> {
        self.node_of(loss)?;
        if loss.tensor().elem_count() != 1 {
            return Err(Error::shape("backward", "loss", "a scalar", loss.dims()));
        }
        let sums = self.backward_onto(loss, loss.tensor().ones_like()?, Vec::new())?;
        Ok(Gradients(sums.into_iter().map(Pending::into_tensor).collect()))
    }

    /// Bytes of the tensors that are kept for the backward pass, weights that an operation needs included.
    ///
    /// Memory that several tensors share counts once.
    /// What an operation holds of its own, such as the target of a distance, does not count.
    pub fn kept_bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let state = self.state();
        let kept = state.nodes.iter().flat_map(Node::kept);
        let new =
            kept.filter(|tensor| seen.insert(std::ptr::from_ref(&*tensor.storage_and_layout().0).addr()));
        new.map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum()
    }

    /// Adds the gradients by the leaves to `sums`, which belong to the first nodes of the tape, all of them leaves.
    /// `grad` is the gradient by `output`.
    pub(crate) fn backward_onto(
        &self,
        output: &Value,
        grad: Tensor,
        sums: Vec<Pending>,
    ) -> Result<Vec<Pending>> {
        let id = self.node_of(output)?;
        let (mut nodes, num_leaves) = self.consume()?;
        nodes.truncate(sums.len().max(id + 1));
        let mut pending = sums;
        pending.resize_with(nodes.len(), Pending::default);
        pending[id] = std::mem::take(&mut pending[id]).plus(grad)?;
        let mut leaves = Vec::new();
        leaves.resize_with(num_leaves, Pending::default);

        while let (Some(node), Some(sum)) = (nodes.pop(), pending.pop()) {
            match (node, sum) {
                (Node::Leaf(number), sum) => leaves[number] = sum,
                (_, Pending::Zero) => {}
                (Node::Operation(record), Pending::Shared(grad) | Pending::Owned(grad)) => {
                    record.backward(&grad, &mut pending)?;
                }
                (Node::Block(block), Pending::Shared(grad) | Pending::Owned(grad)) => {
                    block.backward(&grad, &mut pending)?;
                }
            }
        }
        Ok(leaves)
    }

    /// Where `value` is on this tape.
    fn node_of(&self, value: &Value) -> Result<usize> {
        let node = value.node().filter(|node| node.tape.is_same(self));
        node.map(|node| node.id).ok_or(Error::NotRecorded)
    }

    pub(crate) fn record(
        &self,
        op: impl Op,
        inputs: &[&Value],
        output: &Tensor,
        saved: Vec<Tensor>,
    ) -> Result<NodeRef> {
        let (name, keeps) = (op.name(), op.keeps());
        let record = Record {
            inputs: inputs
                .iter()
                .enumerate()
                .map(|(idx, value)| Kept::new(value.tensor(), idx < keeps.inputs))
                .collect(),
            sources: inputs.iter().map(|value| value.node().map(|node| node.id)).collect(),
            output: Kept::new(output, keeps.output),
            saved,
            op: Box::new(op),
        };
        self.push(name, Node::Operation(Box::new(record)))
    }

    pub(crate) fn record_block(&self, block: Block) -> Result<NodeRef> {
        self.push("checkpoint", Node::Block(block))
    }

    fn push(&self, op: &'static str, node: Node) -> Result<NodeRef> {
        let mut state = self.state();
        if state.consumed {
            return Err(Error::ConsumedTape { op });
        }
        Ok(NodeRef { tape: self.clone(), id: state.push(node) })
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn consume(&self) -> Result<(Vec<Node>, usize)> {
        let mut state = self.state();
        if state.consumed {
            return Err(Error::ConsumedTape { op: "backward" });
        }
        state.consumed = true;
        Ok((std::mem::take(&mut state.nodes), state.num_leaves))
    }

    /// The state is only ever pushed to or taken whole, so a poisoned lock still guards a valid one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

impl Node {
    /// Tensors that are kept alive.
    fn kept(&self) -> Vec<&Tensor> {
        match self {
            Self::Leaf(_) => Vec::new(),
            Self::Operation(record) => {
                let kept = record.inputs.iter().chain([&record.output]).filter_map(Kept::tensor);
                kept.chain(&record.saved).collect()
            }
            Self::Block(block) => block.kept().iter().collect(),
        }
    }
}

impl Record {
    /// Sends the gradient of the output on to the inputs.
    fn backward(&self, grad: &Tensor, pending: &mut [Pending]) -> Result<()> {
        let op = self.op.name();
        let needs: Vec<bool> = self.sources.iter().map(Option::is_some).collect();
        let first = self.sources.first().copied().flatten().filter(|_| self.op.adds_to_sum());
        let so_far = first.map(|source| std::mem::take(&mut pending[source]));
        let sum_so_far = so_far.as_ref().and_then(Pending::tensor);
        let ctx = Context {
            op,
            inputs: &self.inputs,
            output: &self.output,
            saved: &self.saved,
            needs: &needs,
            sum_so_far,
        };
        let grads = self.op.backward(&ctx, grad).map_err(|error| error.during(op))?;
        if grads.len() != self.inputs.len() {
            let reason = format!("{} gradients for {} inputs", grads.len(), self.inputs.len());
            return Err(Error::Contract { op, reason });
        }
        if sum_so_far.is_some() && grads.first().is_none_or(Option::is_none) {
            let reason = "it adds to the sum of its first input, but returned none".to_owned();
            return Err(Error::Contract { op, reason });
        }
        for ((grad, source), input) in grads.into_iter().zip(&self.sources).zip(&self.inputs) {
            let (Some(grad), Some(source)) = (grad, *source) else { continue };
            if grad.shape() != input.shape() {
                let reason = format!("gradient {:?} for input {:?}", grad.shape(), input.shape());
                return Err(Error::Contract { op, reason });
            }
            let slot = &mut pending[source];
            *slot = std::mem::take(slot).plus(grad)?;
        }
        Ok(())
    }
}

/// The gradients of a loss by the leaves of a tape.
#[derive(Clone, Debug)]
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// The gradient by leaf number `idx`; `None` if the loss does not depend on it.
    pub fn leaf(&self, idx: usize) -> Option<&Tensor> {
        self.0.get(idx).and_then(Option::as_ref)
    }

    /// Takes the gradient by leaf number `idx` out.
    pub fn take(&mut self, idx: usize) -> Option<Tensor> {
        self.0.get_mut(idx).and_then(Option::take)
    }

    /// All gradients, in the order of the leaves.
    pub fn into_vec(self) -> Vec<Option<Tensor>> {
        self.0
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeRef").field(&self.id).finish()
    }
}
