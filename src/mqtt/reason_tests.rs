use super::*;

#[test]
fn a_code_is_said_with_its_name_and_an_unknown_one_by_its_range() {
    for (code, expected) in [
        (0x00, "Success (0x00)"),
        (0x11, "an unknown code (0x11)"),
        (0x80, "Unspecified error (0x80)"),
        (0x87, "Not authorized (0x87)"),
        (0xA4, "a failure with an unknown code (0xA4)"),
    ] {
        assert_eq!(text(code), expected);
    }
    assert_eq!(connack_text(5), "not authorized (return code 5 of MQTT 3.1.1)");
    assert_eq!(connack_text(0x89), "Server busy (0x89)");
}

#[test]
fn what_a_broker_says_with_a_code_is_bounded() {
    let long = "\u{e4}".repeat(10_000);
    let words = Words { reason: Some(&long), server: Some("other:1883") };
    let said = words.after(text(0x9C));
    assert!(said.starts_with("Use another server (0x9C): \u{e4}"), "{said}");
    assert!(said.ends_with("; the broker names another server: other:1883"), "{said}");
    assert!(said.len() < 2 * WORDS_MAX_BYTES);
}
