//! Where the work is done: `--device` and `--threads`, and what a GPU's errors mean.

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
            Self::Cuda(_) if !candle_core::utils::cuda_is_available() => Err(mistake(
                "--device cuda: this ct was built without CUDA; use --device cpu, or build it with --features cuda",
            )),
            // One stream for all threads, so that each sees what another has made.
            Self::Cuda(ordinal) => Device::new_cuda_with_stream(ordinal).map_err(|error| {
                let text = error.to_string();
                let reason = cannot_open(&text, ordinal);
                reason.map_or_else(
                    || anyhow::Error::new(error).context(format!("cannot open --device cuda:{ordinal}")),
                    |reason| mistake(format!("--device cuda:{ordinal}: {reason}")),
                )
            }),
        }
    }
}

/// Why a GPU cannot be opened and what to try, by the name that the driver gives its error; `None` for other errors.
///
/// <https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html>
fn cannot_open(text: &str, ordinal: usize) -> Option<String> {
    let says = |names: &[&str]| names.iter().any(|name| text.contains(name));
    if says(&["CUDA_ERROR_NO_DEVICE"]) {
        return Some(
            "there is no CUDA device: the driver sees no GPU (`nvidia-smi -L` lists them, and CUDA_VISIBLE_DEVICES hides some); use --device cpu"
                .to_owned(),
        );
    }
    if says(&["CUDA_ERROR_INVALID_DEVICE"]) {
        return Some(format!("there is no GPU number {ordinal}; `nvidia-smi -L` lists them, counted from 0"));
    }
    if says(&[
        "CUDA_ERROR_INSUFFICIENT_DRIVER",
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    ]) {
        return Some(
            "the driver is older than the CUDA that this ct was built with; update the driver, or build ct with the CUDA that `nvidia-smi` names"
                .to_owned(),
        );
    }
    if is_out_of_memory(text) {
        return Some(format!("GPU {ordinal} has no memory left; `nvidia-smi` shows who holds it"));
    }
    None
}

/// Whether an error says that a GPU ran out of memory.
fn is_out_of_memory(text: &str) -> bool {
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"]
        .iter()
        .any(|name| text.contains(name))
}

/// The error itself, or, where a GPU ran out of memory or cannot run the kernels, what to try: `work` says what was being done.
pub(crate) fn explained(error: anyhow::Error, work: impl FnOnce() -> String) -> anyhow::Error {
    let told = |told: fn(&str) -> bool| error.chain().any(|cause| told(&cause.to_string()));
    if told(is_out_of_memory) {
        return mistake(format!("the GPU is out of memory {}", work()));
    }
    let is_of_other_gpu = |text: &str| {
        ["CUDA_ERROR_NO_BINARY_FOR_GPU", "CUDA_ERROR_INVALID_PTX", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"]
            .iter()
            .any(|name| text.contains(name))
    };
    if told(is_of_other_gpu) {
        return mistake(
            "this ct was built for another kind of GPU, or a newer driver; build it with CUDA_COMPUTE_CAP set to this GPU's (90 for compute capability 9.0)",
        );
    }
    error
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

    /// As cudarc prints the errors of the driver.
    fn driver(name: &str, words: &str) -> String {
        format!("DriverError({name}, {words:?})")
    }

    #[test]
    fn what_the_driver_says_is_explained() {
        let reason = |name, words| cannot_open(&driver(name, words), 3).unwrap_or_default();
        let none = reason("CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected");
        assert!(none.contains("no CUDA device") && none.contains("--device cpu"), "{none}");
        let ordinal = reason("CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal");
        assert!(ordinal.contains("no GPU number 3"), "{ordinal}");
        for (name, words) in [
            (
                "CUDA_ERROR_INSUFFICIENT_DRIVER",
                "CUDA driver version is insufficient for CUDA runtime version",
            ),
            (
                "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
                "system has unsupported display driver / cuda driver combination",
            ),
            (
                "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
                "the provided PTX was compiled with an unsupported toolchain.",
            ),
        ] {
            assert!(reason(name, words).contains("driver is older"), "{name}");
        }
        assert!(reason("CUDA_ERROR_OUT_OF_MEMORY", "out of memory").contains("no memory left"));
        assert_eq!(cannot_open(&driver("CUDA_ERROR_UNKNOWN", "unknown error"), 0), None);
        // Where the driver does not answer at all.
        let silent = "DriverError(CUDA_ERROR_NO_DEVICE, \"<Failure when calling cuGetErrorString()>\")";
        assert!(cannot_open(silent, 0).is_some());
    }

    #[test]
    fn out_of_memory_is_a_mistake_that_says_what_to_lower() {
        let told = |text: String| {
            let error = anyhow::Error::new(candle_core::Error::Msg(text)).context("the run stopped");
            let error = explained(error, || "in a step of 128 images".to_owned());
            (error.to_string(), crate::mistake::exit_code(&error))
        };
        let (message, code) = told(driver("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"));
        assert_eq!((message.as_str(), code), ("the GPU is out of memory in a step of 128 images", 2));
        assert_eq!(told("CublasError(CUBLAS_STATUS_ALLOC_FAILED)".to_owned()).1, 2);
        let (message, code) = told(driver("CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available"));
        assert!(message.contains("CUDA_COMPUTE_CAP") && code == 2, "{message}");
        assert_eq!(told("something else".to_owned()), ("the run stopped".to_owned(), 1));
    }
}
