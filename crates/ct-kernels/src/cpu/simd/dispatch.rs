//! Which instruction set runs, and which algorithm: decided once per process.
//!
//! `CT_KERNELS=portable|avx2|avx512` forces an instruction set; without it the widest one that the CPU has is taken.
//! `CT_KERNELS=composed` takes no kernel of ours at all: every operation runs as it would on a GPU.
//! `CT_KERNELS_STRICT=1` replaces Winograd by a direct product, whose rounding error is about three times smaller.

#![expect(unsafe_code, reason = "hands jobs to code compiled for a CPU feature, after checking for it")]

use std::sync::OnceLock;

use super::{Job, Portable, Simd};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F.
    Avx512,
}

impl Isa {
    /// All of them, the most wanted last.
    pub(crate) const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The name that `CT_KERNELS` knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this CPU has it.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The widest that this CPU has.
    fn best() -> Self {
        let mut best = Self::Portable;
        for isa in Self::ALL {
            if isa.is_available() {
                best = isa;
            }
        }
        best
    }

    /// Runs a job compiled for this instruction set.
    ///
    /// # Safety
    /// The job's requirements on its pointers hold, and [`Isa::is_available`].
    pub(crate) unsafe fn invoke<J: Job>(self, job: J) {
        debug_assert!(self.is_available());
        // SAFETY: the CPU has the instruction set and the job's requirements hold, as the caller promised.
        unsafe {
            match self {
                Self::Portable => Portable::invoke(job),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => super::x86::Avx2::invoke(job),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => super::x86::Avx512::invoke(job),
                #[cfg(not(target_arch = "x86_64"))]
                Self::Avx2 | Self::Avx512 => Portable::invoke(job),
            }
        }
    }

    /// Columns of a weight panel of the row product.
    pub(crate) fn panel(self) -> usize {
        let blocks = match self {
            Self::Portable => Portable::COLUMN_BLOCKS,
            Self::Avx2 => 1,
            Self::Avx512 => 2,
        };
        blocks * super::BLOCK
    }
}

/// Why the environment's choice of kernels was not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelChoiceError {
    /// `CT_KERNELS` holds a name that is none of portable, avx2, avx512, composed.
    Unknown(String),
    /// `CT_KERNELS` names an instruction set that this CPU lacks.
    Unavailable(Isa),
    /// `CT_KERNELS_STRICT` holds something other than 0 or 1.
    Strict(String),
}

impl std::fmt::Display for KernelChoiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(value) => {
                write!(
                    f,
                    "CT_KERNELS={value} is none of portable, avx2, avx512, composed; unset it or choose one of them"
                )
            }
            Self::Unavailable(isa) => write!(
                f,
                "CT_KERNELS={} asks for instructions that this CPU lacks; the best it has is {}",
                isa.name(),
                Isa::best().name()
            ),
            Self::Strict(value) => write!(f, "CT_KERNELS_STRICT={value} is neither 0 nor 1"),
        }
    }
}

impl std::error::Error for KernelChoiceError {}

/// The kernels in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// Instruction set.
    pub(crate) isa: Isa,
    /// Direct products in place of Winograd.
    pub(crate) strict: bool,
    /// No kernels of ours, but compositions of candle's operations.
    pub(crate) composed: bool,
}

/// What follows from the two environment variables, with the complaint if they ask for the impossible.
fn choose(kernels: Option<&str>, strict: Option<&str>) -> (Choice, Result<(), KernelChoiceError>) {
    let composed = kernels == Some("composed");
    let (isa, isa_result) = match kernels.filter(|name| !name.is_empty() && !composed) {
        None => (Isa::best(), Ok(())),
        Some(name) => match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
            None => (Isa::best(), Err(KernelChoiceError::Unknown(name.to_owned()))),
            Some(isa) if isa.is_available() => (isa, Ok(())),
            Some(isa) => (Isa::best(), Err(KernelChoiceError::Unavailable(isa))),
        },
    };
    let (strict, strict_result) = match strict {
        None | Some("" | "0") => (false, Ok(())),
        Some("1") => (true, Ok(())),
        Some(other) => (false, Err(KernelChoiceError::Strict(other.to_owned()))),
    };
    (Choice { isa, strict, composed }, isa_result.and(strict_result))
}

fn chosen() -> &'static (Choice, Result<(), KernelChoiceError>) {
    static CHOSEN: OnceLock<(Choice, Result<(), KernelChoiceError>)> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let kernels = std::env::var_os("CT_KERNELS").map(|v| v.to_string_lossy().into_owned());
        let strict = std::env::var_os("CT_KERNELS_STRICT").map(|v| v.to_string_lossy().into_owned());
        choose(kernels.as_deref(), strict.as_deref())
    })
}

/// The kernels that this process uses.
pub(crate) fn choice() -> Choice {
    chosen().0
}

/// Whether the environment's choice of kernels was followed.
///
/// A choice that cannot be followed does not stop the work: the best available kernels run, and this says what was wrong.
///
/// # Errors
/// `CT_KERNELS` names something unknown or something this CPU lacks, or `CT_KERNELS_STRICT` is neither 0 nor 1.
pub(crate) fn check_choice() -> Result<(), KernelChoiceError> {
    chosen().1.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_followed_where_possible() {
        let (choice, result) = choose(Some("portable"), Some("1"));
        assert_eq!((choice.isa, choice.strict, result), (Isa::Portable, true, Ok(())));
        let (choice, result) = choose(None, None);
        assert_eq!((choice.isa, choice.strict, result), (Isa::best(), false, Ok(())));
        assert!(!choice.composed);
        let (choice, result) = choose(Some("composed"), None);
        assert_eq!((choice.isa, choice.composed, result), (Isa::best(), true, Ok(())));
    }

    #[test]
    fn an_impossible_choice_is_reported_and_replaced() {
        let (choice, result) = choose(Some("sse9"), None);
        assert_eq!(choice.isa, Isa::best());
        assert_eq!(result, Err(KernelChoiceError::Unknown("sse9".to_owned())));
        let (_, result) = choose(None, Some("yes"));
        assert_eq!(result, Err(KernelChoiceError::Strict("yes".to_owned())));
    }
}
