//! `flex`: Burn's portable CPU backend, the default wherever there is no GPU.

use burn::backend::{Autodiff, Flex, flex::FlexDevice};

use crate::{Device, Provider};

pub(crate) struct Provided;

impl Provider for Provided {
    const NAME: &'static str = "flex";
    const KIND: &'static str = "CPU";
    type Backend = Autodiff<Flex>;

    fn devices() -> Result<Vec<Device<FlexDevice>>, String> {
        Ok(vec![Device { name: Self::NAME.to_owned(), description: Self::KIND.to_owned(), by_default: true, handle: FlexDevice }])
    }
}
