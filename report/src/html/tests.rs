use super::*;
use crate::example::small;

fn small_page(benchmark: &Benchmark) -> String {
    let previews = [(
        "afd-chunk-200-0.gif".to_string(),
        Ok("data:image/gif;base64,AAAA".to_string()),
    )];
    page(benchmark, &Summary::of(benchmark), &previews.into()).unwrap()
}

fn parse(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_page_is_well_formed_with_unique_ids_that_every_link_finds() {
    let page = small_page(&small());
    let document = parse(&page);
    let ids: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.attribute("id"))
        .collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    let links: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.attribute("href"))
        .collect();
    assert!(links.len() > 50, "{}", links.len());
    for link in links {
        assert!(
            link.strip_prefix('#').is_some_and(|id| ids.contains(&id)),
            "{link}"
        );
    }
}

#[test]
fn nothing_is_fetched_and_no_script_runs_but_ours() {
    let page = small_page(&small());
    let document = parse(&page);
    for node in document.descendants().filter(|node| node.is_element()) {
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(
                !name.starts_with("on") && name != "srcset" && name != "style",
                "{name}"
            );
            assert!(name != "src" || value.starts_with("data:image/"), "{value}");
            assert!(!value.contains("javascript:"), "{value}");
        }
        assert!(
            ![
                "link", "iframe", "object", "embed", "base", "form", "image", "use"
            ]
            .contains(&node.tag_name().name())
        );
    }
    assert_eq!(
        document
            .descendants()
            .filter(|node| node.has_tag_name("script"))
            .count(),
        1
    );
    for forbidden in ["url(", "@import", "https://", "http://"] {
        assert!(
            !page
                .replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
                .contains(forbidden),
            "{forbidden}"
        );
    }
}

#[test]
fn the_script_holds_nothing_that_ends_it_and_the_policy_names_it() {
    assert!(!SCRIPT.contains('<') && !SCRIPT.contains('&'));
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    assert!(small_page(&small()).contains(&format!("script-src 'sha256-{hash}'\"")));
}

#[test]
fn hostile_text_is_shown_and_never_markup() {
    let hostile = "<script>alert('1')</script> & \"two\" \u{0}";
    let mut benchmark = small();
    (benchmark.title, benchmark.command, benchmark.budget) =
        (hostile.into(), hostile.into(), hostile.into());
    (benchmark.machine, benchmark.created, benchmark.commit) =
        (hostile.into(), hostile.into(), Some(hostile.into()));
    benchmark.summary = vec![hostile.into()];
    benchmark.regime_title = hostile.into();
    for method in &mut benchmark.methods {
        method.title = format!("{} {hostile}", method.name);
        method.about = hostile.into();
        method.refused = method.refused.as_ref().map(|_| hostile.into());
        method.group = method.group.as_ref().map(|_| hostile.into());
    }
    benchmark
        .families
        .iter_mut()
        .chain(&mut benchmark.regimes)
        .for_each(|named| named.title = hostile.into());
    for metric in &mut benchmark.metrics {
        (metric.title, metric.unit, metric.about) =
            (hostile.into(), hostile.into(), hostile.into());
    }
    for curve in &mut benchmark.curves {
        (curve.title, curve.x_title, curve.y_title, curve.about) = (
            hostile.into(),
            hostile.into(),
            hostile.into(),
            hostile.into(),
        );
    }
    for run in &mut benchmark.runs {
        (run.directory, run.command, run.commit) =
            (hostile.into(), hostile.into(), Some(hostile.into()));
        run.previews
            .iter_mut()
            .for_each(|preview| preview.label = hostile.into());
        if let State::Failed(reason) = &mut run.state {
            *reason = hostile.into();
        }
    }
    benchmark.check().unwrap();
    let page = small_page(&benchmark);
    let document = parse(&page);
    let scripts: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("script"))
        .collect();
    assert!(scripts.len() == 1 && !scripts[0].text().unwrap().contains("alert"));
    assert!(!page.contains("<script>alert") && !page.contains('\u{0}'));
}

#[test]
fn runs_that_failed_or_are_missing_are_shown_with_their_reasons() {
    let page = small_page(&small());
    for shown in [
        "failed: loss is NaN in round 40",
        "missing: stopped before",
        "no run",
        "<small>1 of 3</small>",
        "a black box has no score",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    let document = parse(&page);
    let runs = document
        .descendants()
        .find(|node| node.attribute("id") == Some("runs"))
        .unwrap();
    let rows = runs
        .descendants()
        .filter(|node| {
            node.attribute("id")
                .is_some_and(|id| id.starts_with("run-"))
        })
        .count();
    assert_eq!(rows, small().runs.len());
}

#[test]
fn a_benchmark_without_any_run_shows_what_is_to_come() {
    let benchmark = Benchmark {
        runs: vec![],
        ..small()
    };
    benchmark.check().unwrap();
    let page = small_page(&benchmark);
    parse(&page);
    let missing = &page[page.find("<section id=\"missing\"").unwrap()..];
    // Teacher, base, SFT, GAN and AFD in four places; the ablation was planned nowhere.
    assert_eq!(
        (
            missing.matches("<td>no run</td>").count(),
            page.matches("class=\"figures\"").count()
        ),
        (5 * 4, 0)
    );
}

#[test]
fn every_cell_leads_to_its_runs_and_names_them() {
    let page = small_page(&small());
    let document = parse(&page);
    let link = document
        .descendants()
        .find(|node| node.has_tag_name("a") && node.text() == Some("3.03 ± 0.87"))
        .expect("AFD's cell of the main table");
    let title = link.attribute("title").unwrap();
    assert!(
        title.contains("seed 1: 2.70") && title.contains("runs/afd-chunk-200-1"),
        "{title}"
    );
    let target = &link.attribute("href").unwrap()[1..];
    let rows = document
        .descendants()
        .find(|node| node.attribute("id") == Some(target))
        .unwrap();
    let text: String = rows.descendants().filter_map(|node| node.text()).collect();
    assert!(
        text.contains("runs/afd-chunk-200-2") && text.contains("afd distill afd-chunk-200-2.toml"),
        "{text}"
    );
    assert!(!text.contains("runs/sft"), "{text}");
}
