//! `flex`: Burn's portable CPU backend, the default wherever there is no GPU.

use burn::backend::{Autodiff, Flex, flex::FlexDevice};

use crate::{Absence, Device, Provider};

pub(crate) struct Provided;

impl Provider for Provided {
    const NAME: &'static str = "flex";
    const KIND: &'static str = "CPU";
    type Backend = Autodiff<Flex>;

    fn devices() -> Result<Vec<Device<FlexDevice>>, Absence> {
        let (name, description) = (Self::NAME.to_owned(), Self::KIND.to_owned());
        Ok(vec![Device {
            name,
            description,
            by_default: true,
            memory: None,
            handle: FlexDevice,
        }])
    }
}
