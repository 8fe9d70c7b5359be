//! Where the work is done: `--device` and `--threads`.

use anyhow::{Context as _, Result};
use candle_core::Device;

use crate::mistake::mistake;

/// A device, as it is named on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU, by its number.
    Cuda(usize),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.split_once(':').unwrap_or((name, "0")) {
            ("cpu", "0") if name == "cpu" => Ok(Self::Cpu),
            ("cuda", ordinal) => {
                ordinal.parse().map(Self::Cuda).map_err(|_| format!("`{ordinal}` is not the number of a GPU"))
            }
            _ => Err("possible are cpu, cuda, cuda:N".to_owned()),
        }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl Choice {
    /// Opens the device.
    pub(crate) fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => {
                ct_kernels::check_kernels().map_err(|error| mistake(error.to_string()))?;
                Ok(Device::Cpu)
            }
            Self::Cuda(_) if !candle_core::utils::cuda_is_available() => {
                Err(mistake("--device cuda: this ct was built without CUDA; use --device cpu"))
            }
            Self::Cuda(ordinal) => {
                Device::new_cuda(ordinal).with_context(|| format!("cannot open --device cuda:{ordinal}"))
            }
        }
    }
}

/// Starts the threads that all work is spread over; the main thread is one of them.
pub(crate) fn start_threads(threads: Option<usize>) -> Result<usize> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).use_current_thread();
    builder.build_global().context("cannot start the threads")?;
    Ok(rayon::current_num_threads())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        assert_eq!("cpu".parse(), Ok(Choice::Cpu));
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(3)));
        for wrong in ["", "gpu", "cpu:0", "cpu:1", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
