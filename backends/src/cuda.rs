//! `cuda`: NVIDIA GPUs.
//!
//! Burn (cubecl-cuda 0.10) needs three things at run time and panics on its own thread without any
//! of them: the driver library with a GPU behind it, NVRTC to compile kernels, and the CUDA headers
//! those kernels include. All three are looked for here first.

// The only unsafe code of the crate: opening the NVIDIA libraries and asking the driver what there
// is.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::backend::cuda::{Cuda, CudaDevice};
use libloading::{Library, Symbol};

use crate::{Absence, Device, NotLoaded, Provider};

/// The names under which Burn would look for the driver, as far as the driver's installers use
/// them.
const DRIVER: &[&str] = if cfg!(windows) {
    &["nvcuda.dll"]
} else {
    &["libcuda.so", "libcuda.so.1"]
};

/// The names under which Burn would look for NVRTC, CUDA's kernel compiler.
const COMPILER: &[&str] = if cfg!(windows) {
    &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
} else {
    &[
        "libnvrtc.so",
        "libnvrtc.so.13",
        "libnvrtc.so.12",
        "libnvrtc.so.11",
    ]
};

pub(crate) struct Provided;

impl Provider for Provided {
    const NAME: &'static str = "cuda";
    const KIND: &'static str = "NVIDIA GPU through CUDA";
    type Backend = Autodiff<Cuda<f32, i32>>;

    fn devices() -> Result<Vec<Device<CudaDevice>>, Absence> {
        let driver = open(DRIVER).map_err(Absence::NvidiaDriver)?;
        let gpus = gpus(&driver);
        // Never unloaded: the driver has started threads of its own by now.
        std::mem::forget(driver);
        let gpus = gpus?;
        open(COMPILER).map_err(Absence::Nvrtc)?;
        find_headers()?;
        let device = |(index, (description, memory))| Device {
            name: format!("{}:{index}", Self::NAME),
            description,
            by_default: true,
            memory: Some(memory),
            handle: CudaDevice::new(index),
        };
        Ok(gpus.into_iter().enumerate().map(device).collect())
    }
}

/// The first of the libraries that can be loaded, or why the last could not.
fn open(names: &[&str]) -> Result<Library, NotLoaded> {
    let mut reason = String::new();
    for name in names {
        // SAFETY: loading runs the library's initialisers. These are NVIDIA's own libraries, by the
        // names and from the places from which Burn itself loads them a moment later.
        match unsafe { Library::new(*name) } {
            Ok(library) => return Ok(library),
            // The system's own explanation is the error's source.
            Err(error) => {
                reason = error
                    .source()
                    .map_or_else(|| error.to_string(), ToString::to_string)
            }
        }
    }
    Err(NotLoaded {
        tried: names.iter().map(ToString::to_string).collect(),
        reason,
    })
}

/// Name and memory of every GPU the driver shows (it obeys `CUDA_VISIBLE_DEVICES`), at least one.
fn gpus(driver: &Library) -> Result<Vec<(String, u64)>, Absence> {
    // SAFETY: the five signatures are those of cuda.h (CUDAAPI is `extern "system"`; CUresult and
    // CUdevice are C ints).
    let (init, count, get, name, memory) = unsafe {
        (
            symbol::<unsafe extern "system" fn(c_uint) -> c_int>(driver, "cuInit")?,
            symbol::<unsafe extern "system" fn(*mut c_int) -> c_int>(driver, "cuDeviceGetCount")?,
            symbol::<unsafe extern "system" fn(*mut c_int, c_int) -> c_int>(driver, "cuDeviceGet")?,
            symbol::<unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int>(
                driver,
                "cuDeviceGetName",
            )?,
            symbol::<unsafe extern "system" fn(*mut usize, c_int) -> c_int>(
                driver,
                "cuDeviceTotalMem_v2",
            )?,
        )
    };
    // SAFETY: cuInit takes only flags, which must be 0, and may be called more than once.
    check(driver, "cuInit", unsafe { init(0) })?;
    let mut found: c_int = 0;
    // SAFETY: the pointer is to a live local of the type the function writes.
    check(driver, "cuDeviceGetCount", unsafe { count(&mut found) })?;
    if found < 1 {
        return Err(Absence::NvidiaGpu);
    }
    let describe = |ordinal: c_int| {
        let (mut handle, mut bytes, mut text) = (0, 0_usize, [0_u8; 128]);
        // SAFETY: as above; `text` is as long as the length given, and the driver ends the name
        // with a zero byte.
        check(driver, "cuDeviceGet", unsafe { get(&mut handle, ordinal) })?;
        check(driver, "cuDeviceGetName", unsafe {
            name(text.as_mut_ptr().cast(), text.len() as c_int, handle)
        })?;
        check(driver, "cuDeviceTotalMem", unsafe {
            memory(&mut bytes, handle)
        })?;
        let text = CStr::from_bytes_until_nul(&text)
            .map_or_else(|_| "NVIDIA GPU".into(), CStr::to_string_lossy);
        Ok((
            format!("{text}, {:.0} GiB", bytes as f64 / (1_u64 << 30) as f64),
            bytes as u64,
        ))
    };
    (0..found).map(describe).collect()
}

/// A function of the library.
///
/// # Safety
/// `F` must be the function's true type.
unsafe fn symbol<'library, F>(
    library: &'library Library,
    name: &str,
) -> Result<Symbol<'library, F>, Absence> {
    // SAFETY: passed on to the caller.
    unsafe { library.get(name) }.map_err(|error| Absence::NvidiaFunction {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

/// The driver's own words for a status other than success.
fn check(driver: &Library, call: &str, status: c_int) -> Result<(), Absence> {
    if status == 0 {
        return Ok(());
    }
    let mut words: *const c_char = std::ptr::null();
    // SAFETY: the signature is that of cuda.h; the driver points `words` to a static string, or
    // leaves or makes it null.
    let words = unsafe {
        let error_string = symbol::<unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int>(
            driver,
            "cuGetErrorString",
        )?;
        error_string(status, &mut words);
        if words.is_null() {
            "unknown error".into()
        } else {
            CStr::from_ptr(words).to_string_lossy()
        }
    };
    Err(Absence::NvidiaFailure {
        call: call.to_owned(),
        status,
        words: words.into_owned(),
    })
}

/// Burn compiles every kernel against the headers in the `include` folder of the CUDA toolkit; this
/// repeats its search for it.
fn find_headers() -> Result<(), Absence> {
    let toolkit = match std::env::var("CUDA_PATH") {
        Ok(path) => Some(PathBuf::from(path)),
        Err(_) if cfg!(windows) => Some(PathBuf::from(
            "C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/",
        )),
        Err(_) => [
            ("/usr/local/cuda", "/usr/local/cuda"),
            ("/opt/cuda", "/opt/cuda"),
            ("/usr/bin/nvcc", "/usr"),
        ]
        .into_iter()
        .find_map(|(sign, toolkit)| {
            std::fs::exists(sign)
                .is_ok_and(|exists| exists)
                .then(|| PathBuf::from(toolkit))
        }),
    };
    headers_in(toolkit)
}

fn headers_in(toolkit: Option<PathBuf>) -> Result<(), Absence> {
    match toolkit.map(|toolkit| toolkit.join("include/cuda_runtime.h")) {
        Some(header) if header.is_file() => Ok(()),
        Some(header) => Err(Absence::CudaHeaders { header }),
        None => Err(Absence::CudaToolkit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_an_error_that_names_it() {
        let error = open(&["libafd_no_such_library.so", "libafd_nor_this_one.so"])
            .expect_err("there is no such library")
            .to_string();
        assert!(
            error.contains("libafd_no_such_library.so") && error.contains("libafd_nor_this_one.so"),
            "{error}"
        );
    }

    #[test]
    fn a_library_that_is_not_the_driver_is_an_error_and_not_a_crash() {
        // glibc stands in for a library that loads but lacks the functions.
        #[cfg(target_os = "linux")]
        {
            let error = gpus(&open(&["libc.so.6"]).expect("every glibc system has it"))
                .expect_err("libc is not the driver")
                .to_string();
            assert!(
                error.contains("cuInit") && error.contains("update the driver"),
                "{error}"
            );
        }
    }

    #[test]
    fn missing_headers_are_named_with_the_variable_to_set() {
        let error = headers_in(Some(PathBuf::from("/no/such/toolkit")))
            .expect_err("there is no such folder")
            .to_string();
        assert!(
            error.contains("/no/such/toolkit/include/cuda_runtime.h")
                && error.contains("CUDA_PATH"),
            "{error}"
        );
        assert!(headers_in(None).is_err_and(|error| error.to_string().contains("/usr/local/cuda")));
    }

    #[test]
    fn probing_never_panics_and_an_absent_gpu_comes_with_advice() {
        match Provided::devices() {
            Ok(devices) => assert_eq!(devices[0].handle, CudaDevice::new(0)),
            Err(absence) => {
                let reason = absence.to_string();
                assert!(
                    reason.contains("install") || reason.contains("check"),
                    "{reason}"
                );
            }
        }
    }
}
