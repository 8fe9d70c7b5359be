//! A tensor, with its place on a tape and its tangent where it has them.

use candle_core::Tensor;

use crate::tape::NodeRef;
use crate::{Error, Result, Tape};

/// What operations work on: a tensor that may be recorded on a [`Tape`] (reverse mode) and may
/// carry a tangent (forward mode).
///
/// The mode is decided by the inputs: an operation is recorded if one of its inputs is on a tape,
/// and its output has a tangent if one of its inputs has one.
/// Both can hold at once; the tangent itself is never recorded.
/// A value made from a tensor is a constant.
#[derive(Clone, Debug)]
pub struct Value {
    primal: Tensor,
    node: Option<NodeRef>,
    tangent: Option<Tensor>,
}

impl Value {
    pub(crate) fn new(primal: Tensor, node: Option<NodeRef>, tangent: Option<Tensor>) -> Self {
        Self { primal, node, tangent }
    }

    /// A dual number: a tensor and its derivative along some direction.
    ///
    /// # Errors
    /// When shapes or element types differ.
    pub fn dual(primal: Tensor, tangent: Tensor) -> Result<Self> {
        Self::from(primal).with_tangent(&Self::from(tangent).primal)
    }

    /// The same value, its tangent replaced.
    ///
    /// # Errors
    /// When the tangent's shape or element type differs from the value's.
    pub fn with_tangent(self, tangent: &Tensor) -> Result<Self> {
        if tangent.shape() != self.primal.shape() {
            let expected = format!("{:?}, as the value", self.primal.dims());
            return Err(Error::shape("dual", "tangent", expected, tangent.dims()));
        }
        if tangent.dtype() != self.primal.dtype() {
            let got = tangent.dtype();
            return Err(Error::DType { op: "dual", expected: "that of the value", got });
        }
        Ok(Self { tangent: Some(tangent.detach()), ..self })
    }

    /// The tensor itself.
    pub fn tensor(&self) -> &Tensor {
        &self.primal
    }

    /// The tensor itself, taken out.
    pub fn into_tensor(self) -> Tensor {
        self.primal
    }

    /// The tangent, if the value carries one.
    pub fn tangent(&self) -> Option<&Tensor> {
        self.tangent.as_ref()
    }

    /// The shape of the tensor.
    pub fn dims(&self) -> &[usize] {
        self.primal.dims()
    }

    /// Whether the value is on a tape.
    pub fn is_recorded(&self) -> bool {
        self.node.is_some()
    }

    /// The same tensor as a constant: no gradient flows through it, and it has no tangent.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::new(self.primal.clone(), None, None)
    }

    pub(crate) fn node(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    /// The one tape that the recorded values among `values` are on.
    pub(crate) fn common_tape(op: &'static str, values: &[&Self]) -> Result<Option<Tape>> {
        let mut nodes = values.iter().filter_map(|value| value.node());
        let Some(first) = nodes.next() else { return Ok(None) };
        if nodes.all(|node| node.tape.is_same(&first.tape)) {
            Ok(Some(first.tape.clone()))
        } else {
            Err(Error::MixedTapes { op })
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::new(tensor.detach(), None, None)
    }
}

impl From<&Tensor> for Value {
    fn from(tensor: &Tensor) -> Self {
        Self::new(tensor.detach(), None, None)
    }
}
