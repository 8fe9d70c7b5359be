//! Names, shapes and first values of a network's parameters, and the parameters themselves.
//!
//! The first value of a parameter depends on the seed and its name alone, and everything that walks over
//! the parameters does so in the order of their names: neither changes when a network is built in another order.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Index, Range};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use ct_kernels::{self as ops, Tape, Value};
use ct_random::{Purpose, Stream, hash_name};

use crate::{Precision, Result};

/// Place of one parameter in its [`ParamLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamId(usize);

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero: the last layer of a residual branch.
    Zeros,
    /// All one: the gain of a normalization.
    Ones,
    /// Uniform in +-1/sqrt(`fan_in`), as PyTorch begins linear layers and convolutions.
    Uniform {
        /// Values that flow into one output.
        fan_in: usize,
    },
    /// Normal with this standard deviation.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

/// Name, shape and beginning of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Name in the weights file.
    pub name: String,
    /// Shape in the weights file.
    pub shape: Vec<usize>,
    /// First value.
    pub init: Init,
}

/// All parameters of a network, by name and shape.
#[derive(Debug, Default)]
pub struct ParamLayout {
    specs: Vec<ParamSpec>,
    by_name: BTreeMap<String, usize>,
}

impl ParamLayout {
    /// The parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &ParamSpec)> {
        self.by_name.values().map(|&idx| (ParamId(idx), &self.specs[idx]))
    }

    /// How many parameters (tensors) there are.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether the network has no parameters.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// How many numbers the parameters hold together.
    pub fn num_elements(&self) -> usize {
        self.specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
    }

    /// The parameters, in the order of their names, as views of one piece of memory in which they lie in that order.
    ///
    /// # Shapes
    /// `whole`: `[num_elements]`.
    ///
    /// # Errors
    /// A piece of another length.
    pub fn views(&self, whole: &Tensor) -> Result<Vec<Tensor>> {
        let mut first = 0;
        let mut view = |spec: &ParamSpec| {
            let len = spec.shape.iter().product();
            let view = whole.narrow(0, first, len)?.reshape(spec.shape.as_slice())?;
            first += len;
            Ok(view)
        };
        self.iter().map(|(_, spec)| view(spec)).collect()
    }

    /// The place of the parameter with this name.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).map(|&idx| ParamId(idx))
    }
}

/// Collects the parameters of a network while it is built; `pp` goes one name deeper.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    prefix: String,
    specs: Arc<Mutex<Vec<ParamSpec>>>,
}

impl Builder {
    /// An empty layout to build on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same layout with `name` added to the prefix.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.full_name(&name), specs: Arc::clone(&self.specs) }
    }

    /// Adds a parameter below the prefix.
    pub fn param(&self, name: &str, shape: &[usize], init: Init) -> ParamId {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.push(ParamSpec { name: self.full_name(&name), shape: shape.to_vec(), init });
        ParamId(specs.len() - 1)
    }

    /// How many parameters there are so far: the place of the next one.
    pub(crate) fn num_params(&self) -> usize {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The finished layout.
    pub fn finish(self) -> Arc<ParamLayout> {
        let specs = std::mem::take(&mut *self.specs.lock().unwrap_or_else(PoisonError::into_inner));
        let by_name = specs.iter().enumerate().map(|(idx, spec)| (spec.name.clone(), idx)).collect();
        Arc::new(ParamLayout { specs, by_name })
    }

    /// Stable key of the prefix, for streams of random numbers that belong to one layer.
    pub fn key(&self) -> u64 {
        hash_name(&self.prefix)
    }

    fn full_name(&self, name: &dyn std::fmt::Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}

/// One set of numbers for a network: a student, a teacher, an average.
#[derive(Clone, Debug)]
pub struct Params {
    layout: Arc<ParamLayout>,
    tensors: Vec<Tensor>,
    /// The piece of memory in which all of them lie, if they lie in one.
    whole: Option<Tensor>,
}

impl Params {
    /// First values, each from `(seed, its name)`.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn init(layout: &Arc<ParamLayout>, seed: u64, device: &Device) -> Result<Self> {
        let values: Vec<f32> = layout.iter().flat_map(|(_, spec)| first_values(spec, seed)).collect();
        Self::in_one_piece(layout, Tensor::from_vec(values, layout.num_elements(), device)?)
    }

    /// Parameters that lie in `whole` in the order of their names, so that one operation can change all of them.
    fn in_one_piece(layout: &Arc<ParamLayout>, whole: Tensor) -> Result<Self> {
        let mut tensors = vec![whole.clone(); layout.len()];
        for ((id, _), view) in layout.iter().zip(layout.views(&whole)?) {
            tensors[id.0] = view;
        }
        Ok(Self { layout: Arc::clone(layout), tensors, whole: Some(whole) })
    }

    /// Takes the parameters out of `tensors` by name, as f32 on `device`.
    /// Names that older releases of diffusers wrote are understood.
    ///
    /// # Errors
    /// A list of every tensor that is missing, left over, of another shape or not of floating-point numbers, one line each.
    pub fn from_tensors(
        layout: &Arc<ParamLayout>,
        mut tensors: HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<std::result::Result<Self, Vec<String>>> {
        crate::weights::rename_openai(layout, &mut tensors)?;
        crate::weights::rename_old(layout, &mut tensors)?;
        let mut problems = Vec::new();
        let mut found = Vec::with_capacity(layout.len());
        for spec in &layout.specs {
            match tensors.remove(&spec.name) {
                None => problems.push(format!("{}: missing, expected shape {:?}", spec.name, spec.shape)),
                Some(tensor) if tensor.dims() != spec.shape => {
                    problems.push(format!(
                        "{}: expected shape {:?}, found {:?}",
                        spec.name,
                        spec.shape,
                        tensor.dims()
                    ));
                }
                Some(tensor)
                    if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16 | DType::F64) =>
                {
                    problems.push(format!(
                        "{}: expected numbers of type f32, f16 or bf16, found {}",
                        spec.name,
                        tensor.dtype().as_str()
                    ));
                }
                Some(tensor) => found.push(tensor.to_dtype(DType::F32)?.to_device(device)?.contiguous()?),
            }
        }
        let mut extra: Vec<String> = tensors
            .iter()
            .map(|(name, tensor)| format!("{name}: not part of the network, shape {:?}", tensor.dims()))
            .collect();
        problems.sort();
        extra.sort();
        problems.append(&mut extra);
        Ok(if problems.is_empty() {
            Ok(Self { layout: Arc::clone(layout), tensors: found, whole: None })
        } else {
            Err(problems)
        })
    }

    /// Names and shapes.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// The numbers of one parameter.
    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// Names and numbers, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.layout.by_name.iter().map(|(name, &idx)| (name.as_str(), &self.tensors[idx]))
    }

    /// The numbers alone, in the order of the names.
    pub fn tensors(&self) -> Vec<Tensor> {
        self.iter().map(|(_, tensor)| tensor.clone()).collect()
    }

    /// All numbers as one tensor, `[num_elements]`, in the order of the names, where they lie in one piece of memory:
    /// those of new parameters and of copies do, those of a file do not.
    pub fn whole(&self) -> Option<&Tensor> {
        self.whole.as_ref()
    }

    /// An independent copy, in one piece of memory of its own.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn deep_copy(&self) -> Result<Self> {
        let copy = self.zeros_like()?;
        for (copy, tensor) in copy.tensors.iter().zip(&self.tensors) {
            ops::copy_in_place(copy, tensor)?;
        }
        Ok(copy)
    }

    /// As many numbers, all zero, in one piece of memory.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn zeros_like(&self) -> Result<Self> {
        let dtype = self.tensors.first().map_or(DType::F32, Tensor::dtype);
        let zeros = Tensor::zeros(self.layout.num_elements(), dtype, self.device())?;
        Self::in_one_piece(&self.layout, zeros)
    }

    /// Where the numbers are.
    pub fn device(&self) -> &Device {
        self.tensors.first().map_or(&Device::Cpu, Tensor::device)
    }

    /// The parameters as constants: a forward pass with them is not recorded.
    pub fn constants(&self) -> Weights {
        Weights::of_part(0, self.tensors.iter().map(Value::from).collect())
    }

    /// The parameters as leaves of `tape`, in the order of the names:
    /// gradient `i` belongs to the `i`-th tensor of [`tensors`](Self::tensors).
    pub fn watched(&self, tape: &Tape) -> Weights {
        let mut values: Vec<Value> = self.tensors.iter().map(Value::from).collect();
        for &idx in self.layout.by_name.values() {
            values[idx] = tape.leaf(&self.tensors[idx]);
        }
        Weights::of_part(0, values)
    }
}

/// What becomes of the activations inside a network between its forward and its backward pass.
///
/// Outputs and gradients have the same bits either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// They stay in memory.
    #[default]
    Kept,
    /// Only those between the residual layers do; the backward pass computes the rest again, layer by layer.
    Recomputed,
}

/// Parameters as a forward pass takes them: constants, or leaves of a tape.
#[derive(Debug)]
pub struct Weights {
    values: Vec<Value>,
    /// Place of the first of the values in the layout.
    first: usize,
    activations: Activations,
    precision: Precision,
}

impl Weights {
    /// The same parameters for a forward pass that keeps what `activations` says.
    /// It makes no difference to constants, with which nothing is kept.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// The same parameters for a forward pass whose layers compute in `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The parameters from place `first` on.
    pub(crate) fn of_part(first: usize, values: Vec<Value>) -> Self {
        Self { values, first, activations: Activations::default(), precision: Precision::default() }
    }

    /// The parameters at the places `range`.
    pub(crate) fn part(&self, range: Range<usize>) -> &[Value] {
        &self.values[range.start - self.first..range.end - self.first]
    }

    pub(crate) fn activations(&self) -> Activations {
        self.activations
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// A parameter in the type of what it is to be multiplied with.
    pub(crate) fn beside(&self, x: &Value, id: ParamId) -> Result<Value> {
        Ok(ops::cast(&self[id], x.tensor().dtype())?)
    }
}

impl Index<ParamId> for Weights {
    type Output = Value;

    fn index(&self, id: ParamId) -> &Value {
        &self.values[id.0 - self.first]
    }
}

fn first_values(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let size = spec.shape.iter().product();
    let key = hash_name(&spec.name);
    let mut stream = Stream::new(seed, Purpose::Init, key >> 32, key & 0xffff_ffff);
    let mut values = vec![0f32; size];
    match spec.init {
        Init::Zeros => {}
        Init::Ones => values.fill(1.0),
        Init::Normal { std } => {
            stream.fill_normal(&mut values);
            scale(&mut values, std, 0.0);
        }
        Init::Uniform { fan_in } => {
            stream.fill_uniform(&mut values);
            let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
            scale(&mut values, 2.0 * bound, -bound);
        }
    }
    values
}

#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
fn scale(values: &mut [f32], factor: f64, offset: f64) {
    for value in values {
        *value = f64::from(*value).mul_add(factor, offset) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(names: &[&str]) -> Arc<ParamLayout> {
        let builder = Builder::new();
        for name in names {
            builder.pp("block").param(name, &[2, 3], Init::Uniform { fan_in: 3 });
        }
        builder.finish()
    }

    #[test]
    fn order_and_values_depend_on_seed_and_name_alone() -> Result<()> {
        let first = Params::init(&layout(&["a", "b", "c"]), 3, &Device::Cpu)?;
        let second = Params::init(&layout(&["c", "a", "b"]), 3, &Device::Cpu)?;
        for ((name_1, tensor_1), (name_2, tensor_2)) in first.iter().zip(second.iter()) {
            assert_eq!(name_1, name_2);
            assert_eq!(tensor_1.to_vec2::<f32>()?, tensor_2.to_vec2::<f32>()?);
        }
        let other = Params::init(&layout(&["a", "b", "c"]), 4, &Device::Cpu)?;
        assert_ne!(first.tensors()[0].to_vec2::<f32>()?, other.tensors()[0].to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn every_problem_of_a_weights_file_is_listed() -> Result<()> {
        let layout = layout(&["a", "b"]);
        let tensor = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let tensors =
            HashMap::from([("block.a".to_owned(), tensor(&[3, 2])?), ("other".to_owned(), tensor(&[1])?)]);
        let problems = Params::from_tensors(&layout, tensors, &Device::Cpu)?.unwrap_err();
        assert_eq!(
            problems,
            [
                "block.a: expected shape [2, 3], found [3, 2]",
                "block.b: missing, expected shape [2, 3]",
                "other: not part of the network, shape [1]"
            ]
        );
        Ok(())
    }
}
