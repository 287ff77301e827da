use burn::tensor::Tensor;

use super::*;

/// The gradient of the sum of squares at (1, 2, 3), and where it was computed.
struct Gradient;

impl Job for Gradient {
    type Output = (Place, Vec<f32>);

    fn run<B: Trainable>(self, place: Place, device: B::Device) -> Self::Output {
        let x = Tensor::<B, 1>::from_floats([1.0, 2.0, 3.0], &device).require_grad();
        let gradients = (x.clone() * x.clone()).sum().backward();
        let gradient = x.grad(&gradients).expect("x requires a gradient");
        (place, gradient.into_data().iter::<f32>().collect())
    }
}

fn error(request: &str) -> BackendError {
    dispatch(Some(request), Gradient).expect_err("this request must fail")
}

fn found(backend: &'static str, by_default: bool, absent: Option<Absence>) -> Found {
    let (name, description) = (backend.to_owned(), "a device".to_owned());
    Found {
        name,
        backend,
        description,
        by_default,
        memory: None,
        absent,
    }
}

#[test]
fn names_are_a_backend_and_perhaps_a_device_number() {
    assert_eq!(parse("cuda"), Ok(("cuda", 0)));
    assert_eq!(parse("cuda:1"), Ok(("cuda", 1)));
    assert_eq!(parse("wgpu:12"), Ok(("wgpu", 12)));
    assert_eq!(parse("ndarray"), Ok(("ndarray", 0)));
    for name in [
        "",
        "gpu",
        "CUDA",
        "cuda:",
        ":1",
        "cuda:x",
        "cuda:+1",
        "cuda:-1",
        "cuda:1:2",
        " cuda",
        "cuda:99999999999999999999",
    ] {
        assert!(
            matches!(parse(name), Err(BackendError::Malformed { asked, .. }) if asked == name),
            "{name:?} was taken"
        );
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_names_there_are() {
    let message = error("gpu").to_string();
    assert!(
        message.contains("\"gpu\"") && message.contains("cuda, wgpu, flex, ndarray, cpu"),
        "{message}"
    );
}

#[test]
fn the_inventory_tells_present_from_absent_from_not_compiled_in() {
    let text = describe(
        &[
            found("cuda", false, Some(Absence::NvidiaGpu)),
            found("flex", true, None),
        ],
        &["wgpu", "ndarray"],
    );
    let expected = "Compiled in and present: flex (a device). Compiled in, but not present: \
        cuda. Not compiled in: wgpu, ndarray.";
    assert_eq!(text, expected);
    assert_eq!(
        describe(&[], &[]),
        "Compiled in and present: none. Compiled in, but not present: none. Not compiled in: \
            none."
    );
}

#[test]
fn every_backend_is_either_listed_or_not_compiled_in() {
    let (listed, missing) = (list(), not_compiled_in());
    for backend in BACKENDS {
        assert_ne!(
            listed.iter().any(|found| found.backend == backend),
            missing.contains(&backend),
            "{backend}"
        );
    }
}

#[test]
fn the_best_is_cuda_then_a_real_gpu_then_flex_then_ndarray() {
    let everything = |backend| Some(vec![found(backend, true, None)]);
    assert_eq!(best(everything), Some(("cuda", 0)));

    let no_driver = |backend| {
        if backend == "cuda" {
            Some(vec![found("cuda", false, Some(Absence::NvidiaGpu))])
        } else {
            everything(backend)
        }
    };
    assert_eq!(best(no_driver), Some(("wgpu", 0)));

    let second_is_real = |backend| match backend {
        "wgpu" => Some(vec![found("wgpu", false, None), found("wgpu", true, None)]),
        other => no_driver(other),
    };
    assert_eq!(best(second_is_real), Some(("wgpu", 1)));

    let only_software_vulkan = |backend| match backend {
        "wgpu" => Some(vec![found("wgpu", false, None)]),
        other => no_driver(other),
    };
    assert_eq!(best(only_software_vulkan), Some(("flex", 0)));

    assert_eq!(
        best(|backend| if backend == "ndarray" {
            everything(backend)
        } else {
            None
        }),
        Some(("ndarray", 0))
    );
    assert_eq!(best(|_| None), None);
}

#[cfg(all(feature = "flex", not(any(feature = "cuda", feature = "wgpu"))))]
#[test]
fn without_a_request_and_without_gpu_backends_the_work_runs_on_flex() {
    let (place, gradient) = dispatch(None, Gradient).unwrap();
    assert_eq!((place.backend, gradient), ("flex", vec![2.0, 4.0, 6.0]));
}

#[cfg(all(feature = "flex", feature = "ndarray"))]
#[test]
fn the_named_cpu_backend_does_the_work() {
    for (request, backend) in [
        ("flex", "flex"),
        ("flex:0", "flex"),
        ("ndarray", "ndarray"),
        ("cpu", "flex"),
    ] {
        let (place, gradient) = dispatch(Some(request), Gradient).unwrap();
        assert_eq!(
            (place.backend, gradient),
            (backend, vec![2.0, 4.0, 6.0]),
            "{request}"
        );
        assert!(place.to_string().starts_with(backend), "{place}");
    }
}

#[cfg(feature = "flex")]
#[test]
fn a_device_number_beyond_the_last_says_how_many_there_are() {
    let error = error("flex:3");
    assert!(
        matches!(
            error,
            BackendError::NoSuchDevice {
                backend: "flex",
                count: 1,
                ..
            }
        ),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("\"flex:3\"")
            && message.contains("has 1 here")
            && message.contains("present: flex"),
        "{message}"
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_backend_that_is_not_compiled_in_names_the_feature_to_rebuild_with() {
    let error = error("cuda:1");
    assert!(
        matches!(
            error,
            BackendError::NotCompiledIn {
                feature: "cuda",
                ..
            }
        ),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("\"cuda:1\"") && message.contains("`--features cuda`"),
        "{message}"
    );
    assert!(message.contains("Not compiled in: cuda"), "{message}");
}

#[test]
fn a_listed_device_can_be_asked_for_and_an_absent_backend_is_an_error() {
    // Runs on whatever machine this is; a GPU is only asked, not used, since compiling its
    // kernels can take minutes.
    for found in list() {
        match found.absent {
            None => assert_eq!(
                parse(&found.name).map(|(backend, _)| backend),
                Ok(found.backend)
            ),
            Some(reason) => {
                let error = error(&found.name);
                let BackendError::NotPresent { reason: told, .. } = &error else {
                    panic!("{error:?}");
                };
                assert_eq!(*told, reason);
            }
        }
    }
}
