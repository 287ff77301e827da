use super::*;

fn settings(text: &str) -> ApiSettings {
    toml::from_str(text).unwrap()
}

const KLING: &str = "adapter = \"kling\"\n\
    model = \"kling-v2\"\n\
    budget = 5\n\
    key = { env = \"K\" }\n";

fn service(text: &str) -> Result<Service, ApiError> {
    Service::new(&settings(text), Path::new("store"), Path::new("."))
}

#[test]
fn the_price_follows_the_parameters() {
    let price =
        |more: &str| service(&format!("{KLING}{more}")).map(|service| service.price.to_string());
    assert_eq!(price("price = { per_clip = 0.35 }").unwrap(), "0.35");
    assert_eq!(price("price = { per_second = 0.07 }").unwrap(), "0.35");
    assert_eq!(
        price("price = { per_second = 0.07, per_clip = 1 }\nparameters = { duration = \"10\" }")
            .unwrap(),
        "1.70"
    );
    assert_eq!(
        price(
            "price = { per_second = 0.1, seconds_at = \"/length\" }\nparameters = { length = \
                2.5 }"
        )
        .unwrap(),
        "0.25"
    );
    for (more, part) in [
        ("price = {}", "per_clip"),
        (
            "price = { per_second = 1, seconds_at = \"/length\" }",
            "/length",
        ),
        (
            "price = { per_second = 1 }\nparameters = { duration = \"long\" }",
            "long",
        ),
    ] {
        assert!(
            price(more).unwrap_err().to_string().contains(part),
            "{more}"
        );
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let good = format!("{KLING}price = {{ per_clip = 1 }}\n");
    for (from, to, part) in [
        (
            "adapter = \"kling\"",
            "adapter = \"v1-videos\"",
            "base_url is missing",
        ),
        ("model = \"kling-v2\"\n", "", "model is missing"),
        ("key = { env = \"K\" }\n", "", "key is missing"),
        (
            "budget = 5",
            "budget = 5\nbase_url = \"http://example.com\"",
            "expected https",
        ),
        (
            "budget = 5",
            "budget = 5\nbase_url = \"https://user:pass@example.com\"",
            "expected https",
        ),
        ("budget = 5", "budget = 5\nattempts = 0", "attempts"),
        (
            "budget = 5",
            "budget = 5\nrefused_share = 2.0",
            "refused_share",
        ),
        (
            "budget = 5",
            "budget = 5\npace = { growth = 0.1 }",
            "growth",
        ),
        (
            "budget = 5",
            "budget = 5\nparameters = { n = nan }",
            "parameters.n is NaN",
        ),
        (
            "budget = 5",
            "budget = 5\nparameters = { a = { b = [inf] } }",
            "parameters.a.b.0 is inf",
        ),
        (
            "budget = 5",
            "budget = 5\nparameters = { when = 2026-01-02 }",
            "expected a string",
        ),
        (
            "budget = 5",
            "budget = 5\nconcurrency = 1000000000000",
            "at most 256",
        ),
        (
            "budget = 5",
            "budget = 5\nbase_url = \"https://a.b/\\u001b[31m\"",
            "expected https",
        ),
        (
            "budget = 5",
            "budget = 5\nparameters = { prompt = \"x\" }",
            "\"prompt\"",
        ),
    ] {
        assert!(good.contains(from));
        let message = service(&good.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(message.contains(part), "{to}: {message}");
        assert!(
            !message.contains(['\u{1b}']) && !message.contains("user:pass"),
            "{message}"
        );
    }
    let endless = service(&good.replacen("budget = 5", "budget = 5\nrefused_share = 1e300", 1));
    assert!(endless.unwrap_err().to_string().len() < 200);
    assert!(
        service(&good.replacen(
            "budget = 5",
            "budget = 5\nbase_url = \"http://127.0.0.1:9/gateway/\"",
            1
        ))
        .is_ok()
    );
}

#[test]
fn handles_tell_samples_attempts_and_requests_apart_and_seeds_samples() {
    let service = service(&format!("{KLING}price = {{ per_clip = 1 }}\n")).unwrap();
    let sample = |prompt: &str, number| (prompt.to_string(), number);
    let handles: std::collections::BTreeSet<String> = [
        (sample("a", 0), 0),
        (sample("a", 1), 0),
        (sample("b", 0), 0),
        (sample("a", 0), 1),
    ]
    .iter()
    .map(|(sample, attempt)| service.handle(sample, *attempt))
    .collect();
    assert_eq!(handles.len(), 4);
    assert_eq!(
        service.handle(&sample("a", 0), 0),
        service.clone().handle(&sample("a", 0), 0)
    );
    assert_ne!(
        Service::seed(&sample("a", 0)),
        Service::seed(&sample("a", 1))
    );
    let (url, body) = service.submission(&sample("a {handle}", 0), "h");
    assert_eq!(url, "https://api.klingai.com/v1/videos/text2video");
    assert_eq!(
        body,
        json!({
            "model_name": "kling-v2",
            "prompt": "a {handle}",
            "external_task_id": "h",
            "duration": "5",
        })
    );
}
