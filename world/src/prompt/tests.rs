use super::*;

fn message(prompt: &str) -> String {
    ScenePrompt::parse(prompt).unwrap_err().to_string()
}

#[test]
fn every_kind_of_sentence_is_read_and_written_back() {
    for example in EXAMPLES {
        assert_eq!(ScenePrompt::parse(example).unwrap().to_string(), example);
    }
    let (small, large) = (
        BallLook {
            size: Size::Small,
            colour: Colour::Green,
        },
        BallLook {
            size: Size::Large,
            colour: Colour::Yellow,
        },
    );
    let expected = ScenePrompt {
        action: Action::Collide {
            first: small,
            second: large,
        },
        place: Place::Jupiter,
    };
    assert_eq!(ScenePrompt::parse(EXAMPLES[2]).unwrap(), expected);
    let thrown =
        ScenePrompt::parse("a small green ball is thrown to the right on the moon").unwrap();
    assert_eq!(
        thrown,
        ScenePrompt {
            action: Action::Thrown {
                ball: small,
                direction: Direction::Right
            },
            place: Place::Moon
        }
    );
}

#[test]
fn an_unknown_word_is_named_with_what_was_expected_and_an_example() {
    let said = message("a small purple ball is dropped on earth");
    assert!(said.contains(r#"word 3 is "purple""#), "{said}");
    assert!(
        said.contains(r#""red" or "green" or "blue" or "yellow""#) && said.contains(EXAMPLES[0]),
        "{said}"
    );
    assert!(
        message("a small red ball is dropped on mars")
            .contains(r#"word 8 is "mars", expected "the" or "earth" or "jupiter""#)
    );
}

#[test]
fn sentences_that_are_nearly_right_are_refused() {
    assert!(message("").contains("word 1 is empty"));
    assert!(message("a small red ball is dropped on").contains("the sentence ends after word 7"));
    assert!(message("a small  red ball is dropped on earth").contains("word 3 is empty"));
    assert!(message("a small red ball is dropped on earth.").contains("earth."));
    assert!(message("A small red ball is dropped on earth").contains(r#"word 1 is "A""#));
    assert!(
        message("a small red ball is dropped on earth today")
            .contains(r#"word 9 is "today", expected the end"#)
    );
    let twins = message("a small red ball and a large red ball are thrown at each other on earth");
    assert!(
        twins.contains(r#"word 8 is "red", expected "green" or "blue" or "yellow""#),
        "{twins}"
    );
}

#[test]
fn colours_are_known_by_their_word() {
    assert_eq!(colour_of("red"), Some([230, 60, 50]));
    assert_eq!(colour_of("yellow"), Some([240, 210, 60]));
    assert_eq!(colour_of("ball"), None);
}
