//! `ndarray`: the CPU backend for exact tests; 3-D convolutions are hundreds of times slower on it
//! than on `flex`.

use burn::backend::{Autodiff, NdArray, ndarray::NdArrayDevice};

use crate::{Absence, Device, Provider};

pub(crate) struct Provided;

impl Provider for Provided {
    const NAME: &'static str = "ndarray";
    const KIND: &'static str = "CPU";
    type Backend = Autodiff<NdArray<f32>>;

    fn devices() -> Result<Vec<Device<NdArrayDevice>>, Absence> {
        let (name, description) = (Self::NAME.to_owned(), Self::KIND.to_owned());
        Ok(vec![Device {
            name,
            description,
            by_default: true,
            memory: None,
            handle: NdArrayDevice::Cpu,
        }])
    }
}
