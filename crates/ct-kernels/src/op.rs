//! What an operation is: a forward pass and its two derivatives.

use candle_core::{Shape, Tensor};

use crate::{Error, Result, Value};

/// A differentiable operation: several tensors in, one out.
///
/// Tensors are handed over detached; candle's own autograd plays no part.
/// An operation of your own is used through [`apply`], exactly as those of this crate are.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use ct_kernels::{Context, Op, Result, Tape, apply};
///
/// struct Square;
///
/// impl Op for Square {
///     fn name(&self) -> &'static str {
///         "square"
///     }
///     fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
///         Ok((inputs[0].sqr()?, Vec::new()))
///     }
///     fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
///         Ok(vec![Some(((ctx.input(0)? * 2.0)? * grad)?)])
///     }
///     fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
///         let Some(tangent) = tangents[0] else { return Ok(ctx.output()?.zeros_like()?) };
///         Ok(((ctx.input(0)? * 2.0)? * tangent)?)
///     }
/// }
///
/// let tape = Tape::new();
/// let x = tape.leaf(&Tensor::new(3.0, &Device::Cpu)?);
/// let gradients = tape.backward(&apply(Square, &[&x])?)?;
/// assert_eq!(gradients.leaf(0).unwrap().to_scalar::<f64>()?, 6.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Op: Send + Sync + 'static {
    /// Name for error messages.
    fn name(&self) -> &'static str;

    /// Computes the output, and what the derivatives will need beside inputs and output.
    ///
    /// # Errors
    /// When shapes, element types or devices do not fit.
    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)>;

    /// The vector-Jacobian product: the gradient of the loss by each input, given that by the output.
    ///
    /// The result has one entry per input, in order; an entry may be `None` where
    /// [`Context::needs`] is false or where the gradient is zero everywhere.
    ///
    /// # Errors
    /// When a kernel fails.
    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>>;

    /// The Jacobian-vector product: the tangent of the output, given those of the inputs.
    ///
    /// At least one tangent is `Some`; `None` stands for zero.
    ///
    /// # Errors
    /// When a kernel fails.
    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor>;

    /// Which tensors the tape keeps alive for [`Op::backward`], beside those that forward saved.
    ///
    /// Everything by default; an operation that needs less says so and saves memory.
    fn keeps(&self) -> Keeps {
        Keeps { inputs: usize::MAX, output: true }
    }

    /// Whether [`Op::backward`] returns the gradient by its first input with [`Context::sum_so_far`]
    /// added to it, which spares the tape a pass over memory.
    fn adds_to_sum(&self) -> bool {
        false
    }
}

/// What the tape keeps alive between the forward and the backward pass of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// How many of the inputs, from the first.
    pub inputs: usize,
    /// The output.
    pub output: bool,
}

impl Keeps {
    /// Only the inputs.
    pub const INPUTS: Self = Self::first(usize::MAX);
    /// Neither inputs nor output.
    pub const NOTHING: Self = Self::first(0);

    /// Only the first `count` inputs.
    pub const fn first(count: usize) -> Self {
        Self { inputs: count, output: false }
    }
}

/// A tensor of a recorded operation, or only its shape if the tensor was not kept.
#[derive(Debug)]
pub(crate) struct Kept {
    shape: Shape,
    tensor: Option<Tensor>,
}

impl Kept {
    pub(crate) fn new(tensor: &Tensor, keep: bool) -> Self {
        Self { shape: tensor.shape().clone(), tensor: keep.then(|| tensor.clone()) }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn tensor(&self) -> Option<&Tensor> {
        self.tensor.as_ref()
    }
}

/// What the derivatives of an operation see of its forward pass.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) op: &'static str,
    pub(crate) inputs: &'a [Kept],
    pub(crate) output: &'a Kept,
    pub(crate) saved: &'a [Tensor],
    pub(crate) needs: &'a [bool],
    pub(crate) sum_so_far: Option<&'a Tensor>,
}

impl<'a> Context<'a> {
    /// Input number `idx`.
    ///
    /// # Errors
    /// When there is no such input, or [`Op::keeps`] did not ask for it.
    pub fn input(&self, idx: usize) -> Result<&'a Tensor> {
        self.inputs
            .get(idx)
            .and_then(|kept| kept.tensor.as_ref())
            .ok_or(Error::NotKept { op: self.op, what: "an input" })
    }

    /// Shape of input number `idx`; empty if there is no such input.
    pub fn input_dims(&self, idx: usize) -> &'a [usize] {
        self.inputs.get(idx).map_or(&[], |kept| kept.shape.dims())
    }

    /// Number of inputs.
    pub fn num_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The output.
    ///
    /// # Errors
    /// When [`Op::keeps`] did not ask for it.
    pub fn output(&self) -> Result<&'a Tensor> {
        self.output.tensor.as_ref().ok_or(Error::NotKept { op: self.op, what: "the output" })
    }

    /// Shape of the output.
    pub fn output_dims(&self) -> &'a [usize] {
        self.output.shape.dims()
    }

    /// Tensor number `idx` of those that forward saved.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn saved(&self, idx: usize) -> Result<&'a Tensor> {
        self.saved.get(idx).ok_or(Error::NotKept { op: self.op, what: "a saved tensor" })
    }

    /// What other operations contributed to the gradient by the first input, if anything.
    ///
    /// Only an operation that [adds to it](Op::adds_to_sum) sees it.
    pub fn sum_so_far(&self) -> Option<&'a Tensor> {
        self.sum_so_far
    }

    /// Whether the gradient by input number `idx` is wanted.
    pub fn needs(&self, idx: usize) -> bool {
        self.needs.get(idx).copied().unwrap_or(false)
    }
}

/// Applies an operation to values: computes the output, its tangent if an input carries one,
/// and records the operation if an input is on a tape.
///
/// # Errors
/// When the operation fails, the inputs are on different tapes, or their tape is already consumed.
pub fn apply(op: impl Op, inputs: &[&Value]) -> Result<Value> {
    let name = op.name();
    let tape = Value::common_tape(name, inputs)?;
    let tensors: Vec<&Tensor> = inputs.iter().map(|value| value.tensor()).collect();
    let (output, saved) = op.forward(&tensors).map_err(|error| error.during(name))?;

    let tangents: Vec<Option<&Tensor>> = inputs.iter().map(|value| value.tangent()).collect();
    let tangent = if tangents.iter().any(Option::is_some) {
        let kept: Vec<Kept> = tensors.iter().map(|tensor| Kept::new(tensor, true)).collect();
        let ctx = Context {
            op: name,
            inputs: &kept,
            output: &Kept::new(&output, true),
            saved: &saved,
            needs: &[],
            sum_so_far: None,
        };
        let tangent = op.jvp(&ctx, &tangents).map_err(|error| error.during(name))?;
        if tangent.shape() != output.shape() {
            let reason = format!("its jvp has shape {:?}, its output {:?}", tangent.dims(), output.dims());
            return Err(Error::Contract { op: name, reason });
        }
        Some(tangent)
    } else {
        None
    };

    let node = match tape {
        Some(tape) => Some(tape.record(op, inputs, &output, saved)?),
        None => None,
    };
    Ok(Value::new(output, node, tangent))
}
