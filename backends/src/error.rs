//! Why a backend could not be started.

use std::path::PathBuf;

use crate::BACKENDS;

/// What a backend lacks on this machine, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// There is no NVIDIA driver.
    #[error("no NVIDIA driver ({0}): install the driver of the GPU")]
    NvidiaDriver(NotLoaded),
    /// The NVIDIA driver is too old.
    #[error("the NVIDIA driver lacks {name} ({reason}): update the driver")]
    NvidiaFunction {
        /// The missing function.
        name: String,
        /// The system's own explanation.
        reason: String,
    },
    /// The NVIDIA driver fails.
    #[error(
        "the NVIDIA driver answers {call} with error {status}, {words}: check nvidia-smi, then the \
            driver's installation"
    )]
    NvidiaFailure {
        /// The function that was called.
        call: String,
        /// The driver's status.
        status: i32,
        /// The status in the driver's words.
        words: String,
    },
    /// The NVIDIA driver has no GPU.
    #[error(
        "the NVIDIA driver shows no GPU: check nvidia-smi, CUDA_VISIBLE_DEVICES and, in a \
            container, that GPUs are passed in"
    )]
    NvidiaGpu,
    /// CUDA's kernel compiler is missing.
    #[error(
        "an NVIDIA GPU, but no NVRTC to compile kernels ({0}): install the CUDA toolkit, or put \
            its libraries on the library path"
    )]
    Nvrtc(NotLoaded),
    /// The CUDA toolkit lacks its headers.
    #[error(
        "an NVIDIA GPU, but no CUDA headers ({} is missing): {HEADERS}",
        header.display()
    )]
    CudaHeaders {
        /// The header that was looked for.
        header: PathBuf,
    },
    /// There is no CUDA toolkit.
    #[error(
        "an NVIDIA GPU, but no CUDA toolkit (neither CUDA_PATH, /usr/local/cuda, /opt/cuda nor \
            /usr/bin/nvcc): {HEADERS}"
    )]
    CudaToolkit,
    /// There is no GPU with a driver, nor software Vulkan.
    #[error(
        "no {api} driver offers a device: install the GPU's {api} driver (or, for software Vulkan, \
            Mesa's lavapipe, in Debian's package mesa-vulkan-drivers)"
    )]
    GraphicsDriver {
        /// Vulkan or Metal.
        api: &'static str,
    },
}

/// How to get CUDA's headers.
const HEADERS: &str = "install the CUDA toolkit's headers, or set CUDA_PATH to the folder whose \
    `include` holds cuda_runtime.h";

/// Why none of several libraries could be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tried {}; {reason}", tried.join(", "))]
pub struct NotLoaded {
    /// The names that were tried.
    pub tried: Vec<String>,
    /// The system's own explanation for the last one.
    pub reason: String,
}

/// Why no backend could be started. Every message says what was asked for, what there is, and what
/// to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The name is not of the form `backend` or `backend:number`.
    #[error(
        "{asked:?} is not the name of a backend: expected one of {}, cpu, if need be with a device \
            number, as in cuda:1. {inventory}",
        BACKENDS.join(", ")
    )]
    Malformed {
        /// The name as it was given.
        asked: String,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend exists, but not in this program.
    #[error(
        "backend {asked:?} was asked for, but this program was built without it: rebuild with \
            `--features {feature}`, or ask for a backend that is present. {inventory}"
    )]
    NotCompiledIn {
        /// The name as it was given.
        asked: String,
        /// The cargo feature that compiles it in.
        feature: &'static str,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend is compiled in, but its driver or its hardware is missing.
    #[error(
        "backend {asked:?} was asked for, but cannot be used here: {reason}; or ask for a backend \
            that is present. {inventory}"
    )]
    NotPresent {
        /// The name as it was given.
        asked: String,
        /// What is missing, and how to get it.
        reason: Absence,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend is present, but has fewer devices.
    #[error(
        "device {asked:?} was asked for, but {backend} has {count} here, numbered from 0: ask for \
            a smaller number. {inventory}"
    )]
    NoSuchDevice {
        /// The name as it was given.
        asked: String,
        /// The backend's name.
        backend: &'static str,
        /// How many devices it has.
        count: usize,
        /// What is compiled in and present.
        inventory: String,
    },
    /// Nothing was asked for, and nothing can be used.
    #[error(
        "no backend can be used here: rebuild with `--features flex`, which runs on every CPU. \
            {inventory}"
    )]
    Nothing {
        /// What is compiled in and present.
        inventory: String,
    },
}
