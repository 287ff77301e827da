//! From a name on the command line to a Burn backend type and its device, once, at the top of the
//! program.
//!
//! | name | what it is | cargo feature |
//! |---|---|---|
//! | `cuda`, `cuda:1` | NVIDIA GPU; needs the driver, NVRTC and the CUDA headers | `cuda` |
//! | `wgpu`, `wgpu:1` | GPU through Vulkan (Metal on macOS) | `wgpu` |
//! | `flex` | CPU, the faster one | `flex` |
//! | `ndarray` | CPU, the exact-test one | `ndarray` |
//! | `cpu` | `flex` if compiled in, else `ndarray` | either |
//!
//! A name without a number means device 0. Software Vulkan (lavapipe) is used when it is named,
//! never by default. Everything else in the workspace is generic over a [`Trainable`] backend: to
//! add a backend, add a file with a [`Provider`], a cargo feature, and its lines in [`BACKENDS`]
//! and `with_provider!`.
//!
//! Burn panics, on a thread of its own, when the first tensor meets a missing driver. Each provider
//! therefore probes before Burn is touched, and a missing driver is an ordinary [`BackendError`].

#![warn(missing_docs)]
#![deny(unsafe_code)]
#![allow(rustdoc::private_intra_doc_links)]
// A build without any backend is legal (it only gives errors), and then much of this file has no
// caller.
#![cfg_attr(
    not(any(
        feature = "cuda",
        feature = "wgpu",
        feature = "flex",
        feature = "ndarray"
    )),
    allow(dead_code, unused_variables)
)]

#[cfg(feature = "cuda")]
mod cuda;
mod error;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::fmt;

use afd_models::kernels::Trainable;
use burn::tensor::backend::BackendTypes;

pub use error::{Absence, BackendError, NotLoaded};

/// Every backend this crate knows, compiled in or not, best first.
const BACKENDS: [&str; 4] = ["cuda", "wgpu", "flex", "ndarray"];

/// The backends that `cpu` may stand for, best first.
const CPU_BACKENDS: [&str; 2] = ["flex", "ndarray"];

/// Work that runs on whichever backend was chosen.
pub trait Job {
    /// What the work gives back.
    type Output;

    /// Does the work on `device`, which is present; `place` says in words what was chosen.
    fn run<B: Trainable>(self, place: Place, device: B::Device) -> Self::Output;
}

/// What was chosen, for records (`environment.json`) and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The backend's name, which is also its cargo feature, such as `cuda`.
    pub backend: &'static str,
    /// The device, as one would ask for it and in words, such as `cuda:1 (NVIDIA H100 80GB HBM3, 79
    /// GiB)`.
    pub device: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}

/// One line of [`list`]: a device that can be used, or a compiled-in backend that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What to pass to `--backend`, such as `cuda:1`.
    pub name: String,
    /// The backend's name, such as `cuda`.
    pub backend: &'static str,
    /// The device, or the kind of device if there is none, in words.
    pub description: String,
    /// Whether it may be chosen when nothing is asked for; false for software Vulkan.
    pub by_default: bool,
    /// Bytes of its own memory, if it has some and says how much.
    pub memory: Option<u64>,
    /// Why it cannot be used here, and what to do; `None` if it can.
    pub absent: Option<Absence>,
}

/// What a backend's file provides.
trait Provider {
    /// Its name, which is also its cargo feature.
    const NAME: &'static str;
    /// The kind of device, in words, for when there is none.
    const KIND: &'static str;
    /// The Burn backend.
    type Backend: Trainable;

    /// The devices, at least one, in the order of their numbers; or what is missing and what to do.
    /// Must not panic, and must not make Burn open a device.
    fn devices() -> Result<Vec<Device<<Self::Backend as BackendTypes>::Device>>, Absence>;
}

/// A device that is present.
#[derive(Clone, Debug)]
struct Device<D> {
    /// What to pass to `--backend`.
    name: String,
    /// The device in words.
    description: String,
    /// False for a device that must be asked for by name.
    by_default: bool,
    /// Bytes of its own memory, if it has some and says how much.
    memory: Option<u64>,
    /// Burn's own handle.
    handle: D,
}

/// Evaluates `$body` with the type `$provider` of the backend called `$name`, or `$otherwise` if it
/// is not compiled in.
macro_rules! with_provider {
    ($name:expr, $provider:ident => $body:expr, else $otherwise:expr) => {
        match $name {
            #[cfg(feature = "cuda")]
            "cuda" => {
                type $provider = cuda::Provided;
                $body
            }
            #[cfg(feature = "wgpu")]
            "wgpu" => {
                type $provider = wgpu::Provided;
                $body
            }
            #[cfg(feature = "flex")]
            "flex" => {
                type $provider = flex::Provided;
                $body
            }
            #[cfg(feature = "ndarray")]
            "ndarray" => {
                type $provider = ndarray::Provided;
                $body
            }
            _ => $otherwise,
        }
    };
}

/// Runs `job` on the device that `request` names, or on the best there is: `cuda`, else `wgpu` on a
/// real GPU, else `flex`, else `ndarray`.
///
/// # Errors
/// The name is malformed, its backend not compiled in or not present, or the device number too
/// large; `job` has then not been run.
pub fn dispatch<J: Job>(request: Option<&str>, job: J) -> Result<J::Output, BackendError> {
    let (asked, backend, number) = match request {
        Some(asked) => {
            let (backend, number) = parse(asked)?;
            (asked, backend, number)
        }
        None => {
            let (backend, number) = best(survey).ok_or_else(|| BackendError::Nothing {
                inventory: inventory(),
            })?;
            (backend, backend, number)
        }
    };
    with_provider!(
        backend,
        P => start::<P, J>(asked, number, job),
        else Err(BackendError::NotCompiledIn {
            asked: asked.to_owned(),
            feature: backend,
            inventory: inventory(),
        })
    )
}

/// Every device of every backend compiled in, best first, and one line with the reason for each
/// backend that has none.
pub fn list() -> Vec<Found> {
    BACKENDS.into_iter().filter_map(survey).flatten().collect()
}

/// The backends this program was built without; each name is also the cargo feature that brings it
/// in.
pub fn not_compiled_in() -> Vec<&'static str> {
    BACKENDS
        .into_iter()
        .filter(|backend| !is_compiled_in(backend))
        .collect()
}

/// Whether a request such as `flex`, `cpu` or `cuda:1` means the processor, whose cores several
/// programs can share; a name that is none of a backend's does not.
pub fn is_cpu(request: &str) -> bool {
    let name = request.split(':').next().unwrap_or(request);
    name == "cpu" || CPU_BACKENDS.contains(&name)
}

fn is_compiled_in(backend: &str) -> bool {
    with_provider!(backend, P => P::NAME == backend, else false)
}

/// `cuda:1` to (`cuda`, 1). Does not look whether there is such a backend here, but resolves `cpu`.
fn parse(asked: &str) -> Result<(&'static str, usize), BackendError> {
    let malformed = || BackendError::Malformed {
        asked: asked.to_owned(),
        inventory: inventory(),
    };
    let (name, number) = match asked.split_once(':') {
        None => (asked, 0),
        // `parse` alone would also take "+1".
        Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, digits.parse().map_err(|_| malformed())?)
        }
        Some(_) => return Err(malformed()),
    };
    if name == "cpu" {
        let backend = CPU_BACKENDS
            .into_iter()
            .find(|backend| is_compiled_in(backend))
            .unwrap_or(CPU_BACKENDS[0]);
        return Ok((backend, number));
    }
    let backend = BACKENDS
        .into_iter()
        .find(|backend| *backend == name)
        .ok_or_else(malformed)?;
    Ok((backend, number))
}

/// The first device that may be chosen without being named, as a backend and a device number.
fn best(survey: impl Fn(&'static str) -> Option<Vec<Found>>) -> Option<(&'static str, usize)> {
    BACKENDS.into_iter().find_map(|backend| {
        let number = survey(backend)?
            .iter()
            .position(|found| found.absent.is_none() && found.by_default)?;
        Some((backend, number))
    })
}

/// The lines of one backend in [`list`], at least one; `None` if it is not compiled in.
fn survey(backend: &'static str) -> Option<Vec<Found>> {
    with_provider!(backend, P => Some(survey_provider::<P>()), else None)
}

fn survey_provider<P: Provider>() -> Vec<Found> {
    match P::devices() {
        Ok(devices) => devices
            .into_iter()
            .map(
                |Device {
                     name,
                     description,
                     by_default,
                     memory,
                     ..
                 }| {
                    let (backend, absent) = (P::NAME, None);
                    Found {
                        name,
                        backend,
                        description,
                        by_default,
                        memory,
                        absent,
                    }
                },
            )
            .collect(),
        Err(reason) => vec![Found {
            name: P::NAME.to_owned(),
            backend: P::NAME,
            description: P::KIND.to_owned(),
            by_default: false,
            memory: None,
            absent: Some(reason),
        }],
    }
}

/// What is compiled in and present, in one sentence per kind, for the end of every error message.
fn inventory() -> String {
    describe(&list(), &not_compiled_in())
}

fn describe(found: &[Found], not_compiled_in: &[&str]) -> String {
    let or_none = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let present = found.iter().filter(|found| found.absent.is_none());
    let absent = found.iter().filter(|found| found.absent.is_some());
    format!(
        "Compiled in and present: {}. Compiled in, but not present: {}. Not compiled in: {}.",
        or_none(
            present
                .map(|found| format!("{} ({})", found.name, found.description))
                .collect()
        ),
        or_none(absent.map(|found| found.name.clone()).collect()),
        or_none(
            not_compiled_in
                .iter()
                .map(|&name| name.to_owned())
                .collect()
        ),
    )
}

fn start<P: Provider, J: Job>(
    asked: &str,
    number: usize,
    job: J,
) -> Result<J::Output, BackendError> {
    let devices = P::devices().map_err(|reason| BackendError::NotPresent {
        asked: asked.to_owned(),
        reason,
        inventory: inventory(),
    })?;
    let count = devices.len();
    let device = devices
        .into_iter()
        .nth(number)
        .ok_or_else(|| BackendError::NoSuchDevice {
            asked: asked.to_owned(),
            backend: P::NAME,
            count,
            inventory: inventory(),
        })?;
    let place = Place {
        backend: P::NAME,
        device: format!("{} ({})", device.name, device.description),
    };
    Ok(job.run::<P::Backend>(place, device.handle))
}

#[cfg(test)]
mod tests;
