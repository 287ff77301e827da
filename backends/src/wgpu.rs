//! `wgpu`: GPUs through Vulkan (Metal on macOS).
//!
//! Devices are numbered discrete GPUs first, then integrated, then virtual ones, then software
//! Vulkan (lavapipe), which is slow and only used when named: `--backend wgpu` on a machine without
//! a GPU, else by the number `afd doctor` shows.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ::wgpu::{Backends, DeviceType, Instance, InstanceDescriptor, InstanceFlags};
use burn::backend::Autodiff;
use burn::backend::wgpu::graphics::{AutoGraphicsApi, GraphicsApi};
use burn::backend::wgpu::{Wgpu, WgpuDevice};

use crate::{Absence, Device, Provider};

pub(crate) struct Provided;

impl Provider for Provided {
    const NAME: &'static str = "wgpu";
    const KIND: &'static str = "GPU through Vulkan or Metal";
    type Backend = Autodiff<Wgpu>;

    fn devices() -> Result<Vec<Device<WgpuDevice>>, Absence> {
        // The one graphics interface that Burn will use: a GPU seen through another (OpenGL,
        // DirectX) would not be found by Burn.
        let api = AutoGraphicsApi::backend();
        let api_name = if api == ::wgpu::Backend::Metal {
            "Metal"
        } else {
            "Vulkan"
        };
        let instance = Instance::new(InstanceDescriptor {
            backends: Backends::from(api),
            flags: InstanceFlags::empty(),
            ..InstanceDescriptor::new_without_display_handle()
        });
        let adapters: Vec<_> = ready(instance.enumerate_adapters(Backends::from(api)))
            .into_iter()
            .flatten()
            .map(|adapter| adapter.get_info())
            .collect();

        let mut devices = Vec::new();
        for (kind, words) in KINDS {
            // Burn numbers the devices of each kind separately, in the order of enumeration.
            for (index, adapter) in adapters
                .iter()
                .filter(|adapter| adapter.device_type == kind)
                .enumerate()
            {
                let Some(handle) = handle(kind, index) else {
                    continue;
                };
                let driver = if adapter.driver.is_empty() {
                    String::new()
                } else {
                    format!(", driver {} {}", adapter.driver, adapter.driver_info)
                };
                devices.push(Device {
                    name: format!("{}:{}", Self::NAME, devices.len()),
                    description: format!(
                        "{}, {words}, {api_name}{}",
                        adapter.name,
                        driver.trim_end()
                    ),
                    by_default: kind != DeviceType::Cpu,
                    // wgpu does not tell.
                    memory: None,
                    handle,
                });
            }
        }
        if devices.is_empty() {
            return Err(Absence::GraphicsDriver { api: api_name });
        }
        Ok(devices)
    }
}

/// The kinds of adapter Burn can be pointed at, best first. Adapters of unknown kind have no handle
/// of their own in Burn.
const KINDS: [(DeviceType, &str); 4] = [
    (DeviceType::DiscreteGpu, "discrete GPU"),
    (DeviceType::IntegratedGpu, "integrated GPU"),
    (DeviceType::VirtualGpu, "virtual GPU"),
    (DeviceType::Cpu, "software on the CPU"),
];

/// Burn's handle for the adapter numbered `index` among those of its kind, if it has one.
fn handle(kind: DeviceType, index: usize) -> Option<WgpuDevice> {
    match kind {
        DeviceType::DiscreteGpu => Some(WgpuDevice::DiscreteGpu(index)),
        DeviceType::IntegratedGpu => Some(WgpuDevice::IntegratedGpu(index)),
        DeviceType::VirtualGpu => Some(WgpuDevice::VirtualGpu(index)),
        DeviceType::Cpu if index == 0 => Some(WgpuDevice::Cpu),
        DeviceType::Cpu | DeviceType::Other => None,
    }
}

/// The value of a future that does not wait. Only in a browser does listing adapters wait, and this
/// program is not for browsers.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_gpu_is_numbered_apart_and_only_the_first_software_device_can_be_used() {
        assert_eq!(
            handle(DeviceType::DiscreteGpu, 1),
            Some(WgpuDevice::DiscreteGpu(1))
        );
        assert_eq!(
            handle(DeviceType::IntegratedGpu, 0),
            Some(WgpuDevice::IntegratedGpu(0))
        );
        assert_eq!(handle(DeviceType::Cpu, 0), Some(WgpuDevice::Cpu));
        assert_eq!(handle(DeviceType::Cpu, 1), None);
        assert_eq!(handle(DeviceType::Other, 0), None);
    }

    #[test]
    fn probing_does_not_panic_and_software_vulkan_is_never_chosen_by_default() {
        match Provided::devices() {
            Err(absence) => assert!(absence.to_string().contains("install"), "{absence}"),
            Ok(devices) => {
                for device in devices {
                    assert_eq!(
                        device.by_default,
                        device.handle != WgpuDevice::Cpu,
                        "{device:?}"
                    );
                }
            }
        }
    }
}
