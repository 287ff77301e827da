use super::*;

#[test]
fn every_adapter_that_ships_is_whole_and_says_whose_terms_hold() {
    for (name, text) in BUILT_IN {
        let adapter = Adapter::parse(text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(adapter.name, name);
        assert!(!adapter.terms.is_empty() && !adapter.about.is_empty());
        assert_eq!(Adapter::find(name, Path::new(".")).unwrap(), adapter);
    }
}

#[test]
fn adapters_that_cannot_work_are_refused_with_the_field() {
    let (_, good) = BUILT_IN[5];
    for (from, to, part) in [
        (
            "path = \"/v1/videos/text2video\"",
            "path = \"https://elsewhere\"",
            "submit.path",
        ),
        (
            "path = \"/v1/videos/text2video\"",
            "path = \"//elsewhere/x\"",
            "submit.path",
        ),
        ("text2video/{id}", "text2video/{task}", "{task}"),
        (
            "external_task_id = \"{handle}\"",
            "x = \"{nobody}\"",
            "{nobody}",
        ),
        ("external_task_id = \"{handle}\"", "x = 1", "handle.kind"),
        (
            "id = \"/data/task_id\"",
            "id = \"data.task_id\"",
            "JSON pointer",
        ),
        (
            "parameters_at = \"\"",
            "parameters_at = \"/prompt\"",
            "parameters_at",
        ),
        ("duration = \"5\"", "prompt = \"x\"", "\"prompt\""),
        ("kind = \"find\"", "kind = \"search\"", "search"),
        ("[poll]", "[poll]\nspeed = 1", "speed"),
        ("duration = \"5\"", "n = -inf", "parameters.n is -inf"),
        (
            "[price]",
            "[limits]\nconcurrency = 100000\n[price]",
            "concurrency",
        ),
        (
            "[price]",
            "[limits]\nfirst_poll_secs = -1.0\n[price]",
            "first_poll_secs",
        ),
        ("lifetime_secs = 1800", "lifetime_secs = 0", "lifetime_secs"),
        (
            "messages =",
            "headers = { X-A = \"b\\nc\" }\nmessages =",
            "a header",
        ),
        ("about = \"", "about = \"\\u001b[31m", "about"),
    ] {
        assert!(good.contains(from), "{from}");
        let problem = Adapter::parse(&good.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(problem.contains(part), "{to}: {problem}");
    }
    let message = Adapter::find("klang", Path::new("."))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("\"klang\"") && message.contains("kling"),
        "{message}"
    );
    assert!(
        Adapter::find("no/such.toml", Path::new("/x"))
            .unwrap_err()
            .to_string()
            .contains("/x/no/such.toml")
    );
}
