//! How many of a benchmark's runs are made at once, and what each computes on.

use afd_backends::{Found, is_cpu};

/// One `--backend` per run at once: on the processor as many as there are `cores`, one thread each;
/// on GPUs as many as there are devices, each on its own, because one run fills a device.
///
/// `asked` is the `--backend` of the benchmark, where a number means that device alone; `jobs` is
/// how many runs at once were asked for, dealt out over the devices in turn; `found` are the
/// devices of this machine.
pub fn lanes(
    asked: Option<&str>,
    jobs: Option<usize>,
    cores: usize,
    found: &[Found],
) -> Vec<Option<String>> {
    let devices = devices(asked, found);
    let jobs = jobs.unwrap_or(if devices.is_empty() {
        cores
    } else {
        devices.len()
    });
    (0..jobs.max(1))
        .map(|job| match devices.len() {
            0 => asked.map(str::to_string),
            count => Some(devices[job % count].clone()),
        })
        .collect()
}

/// The GPUs that a request means, by name; none where it means the processor.
fn devices(asked: Option<&str>, found: &[Found]) -> Vec<String> {
    let usable = |found: &&Found| found.absent.is_none() && found.by_default;
    // What a run without `--backend` chooses.
    let best = || found.iter().find(usable).map(|found| found.backend);
    let Some(request) = asked.or_else(best) else {
        return Vec::new();
    };
    if is_cpu(request) {
        return Vec::new();
    }
    let of_backend = found.iter().filter(usable);
    let named: Vec<String> = of_backend
        .filter(|found| found.backend == request)
        .map(|found| found.name.clone())
        .collect();
    if named.is_empty() {
        // A device by its number, one in software, or one that is missing, as its run will say.
        vec![request.to_string()]
    } else {
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, by_default: bool) -> Found {
        Found {
            name: name.to_string(),
            backend: ["cuda", "wgpu", "flex"]
                .into_iter()
                .find(|backend| name.starts_with(backend))
                .unwrap(),
            description: String::new(),
            by_default,
            memory: None,
            absent: None,
        }
    }

    fn names(lanes: Vec<Option<String>>) -> Vec<String> {
        let name = |lane: Option<String>| lane.unwrap_or_else(|| "unasked".to_string());
        lanes.into_iter().map(name).collect()
    }

    #[test]
    fn gpus_take_one_run_each_and_the_processor_one_per_core() {
        let found = [
            device("cuda:0", true),
            device("cuda:1", true),
            device("flex", true),
        ];
        let lanes = |asked, jobs| names(lanes(asked, jobs, 4, &found));
        assert_eq!(lanes(Some("cuda"), None), ["cuda:0", "cuda:1"]);
        // What is best is what a run without --backend would take.
        assert_eq!(lanes(None, None), ["cuda:0", "cuda:1"]);
        assert_eq!(lanes(Some("cuda:1"), None), ["cuda:1"]);
        assert_eq!(lanes(Some("cuda"), Some(1)), ["cuda:0"]);
        assert_eq!(lanes(Some("cuda"), Some(3)), ["cuda:0", "cuda:1", "cuda:0"]);
        assert_eq!(lanes(Some("flex"), None), ["flex"; 4]);
        assert_eq!(lanes(Some("cpu"), Some(2)), ["cpu"; 2]);
        // Not there: one run says so.
        assert_eq!(lanes(Some("wgpu"), None), ["wgpu"]);
    }

    #[test]
    fn without_a_gpu_runs_share_the_cores() {
        let found = [device("wgpu", false), device("flex", true)];
        let lanes = |asked, jobs| names(lanes(asked, jobs, 3, &found));
        assert_eq!(lanes(None, None), ["unasked"; 3]);
        assert_eq!(lanes(None, Some(0)), ["unasked"]);
        // Vulkan in software is one device like any other.
        assert_eq!(lanes(Some("wgpu"), None), ["wgpu"]);
    }
}
