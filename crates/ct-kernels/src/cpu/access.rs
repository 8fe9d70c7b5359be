//! From tensors to slices and back.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, StorageRef, Tensor};

use super::Real;
use crate::{Error, Result};

/// The elements of a contiguous tensor, locked for reading.
pub(crate) struct Elements<'a, T> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    element: PhantomData<T>,
}

impl<T: Real> Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            // `read` has checked element type and range.
            Storage::Cpu(storage) => storage
                .as_slice::<T>()
                .ok()
                .and_then(|slice| slice.get(self.range.clone()))
                .unwrap_or_default(),
            _ => &[],
        }
    }
}

/// Elements of a contiguous CPU tensor.
pub(crate) fn read<T: Real>(tensor: &Tensor) -> Result<Elements<'_, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::NotContiguous { op: "read", argument: "a tensor" });
    };
    match &*storage {
        Storage::Cpu(cpu) => {
            cpu.as_slice::<T>()?;
        }
        _ => return Err(Error::Device { op: "read", device: "accelerator" }),
    }
    Ok(Elements { storage, range: start..end, element: PhantomData })
}

/// A CPU tensor from its elements.
pub(crate) fn tensor<T: Real>(elements: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(elements, dims, &Device::Cpu)?)
}

/// Gives `f` the elements of a contiguous CPU tensor to change in place.
///
/// The tensor is locked while `f` runs, so `f` must not touch it by another way.
pub(crate) fn write<T: Real, R>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> Result<R>,
) -> Result<R> {
    if !tensor.device().is_cpu() {
        return Err(Error::Device { op, device: "accelerator" });
    }
    if tensor.dtype() != T::DTYPE {
        return Err(Error::DType { op, expected: T::DTYPE.as_str(), got: tensor.dtype() });
    }
    if !tensor.is_contiguous() {
        return Err(Error::NotContiguous { op, argument });
    }
    let visit = Visit { op, f: Cell::new(Some(f)), result: Cell::new(None), element: PhantomData };
    tensor.inplace_op1(&visit).map_err(|error| Error::from(error).during(op))?;
    visit.result.into_inner().unwrap_or(Err(Error::NotContiguous { op, argument }))
}

/// An in-place operation that calls a closure once and keeps what it returns.
struct Visit<T, F, R> {
    op: &'static str,
    f: Cell<Option<F>>,
    result: Cell<Option<Result<R>>>,
    element: PhantomData<T>,
}

impl<T: Real, F: FnOnce(&mut [T]) -> Result<R>, R> InplaceOp1 for Visit<T, F, R> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let elements = layout
            .contiguous_offsets()
            .and_then(|(start, end)| T::elements_mut(storage)?.get_mut(start..end));
        if let (Some(elements), Some(f)) = (elements, self.f.take()) {
            self.result.set(Some(f(elements)));
        }
        Ok(())
    }
}
