//! Files as bridges, crashes and strangers leave them.

use std::io::Cursor;

use super::*;

const OLD: &str = r#"{"reason":"payload_not_json","mqtt_topic":"a","mqtt_qos":1,"payload_bytes":1,"received_at":"2023-11-14T22:13:20.000001Z","payload":"x"}"#;
/// For tests, the longest line.
const MAX: usize = 300;

/// What is found: the id, or nothing if it cannot be read.
fn found(bytes: &[u8]) -> Vec<Option<String>> {
    let mut all = Vec::new();
    let mut each = |found: Found| {
        all.push(found.letter.ok().map(|letter| letter.fields.id.into_owned()));
        ControlFlow::Continue(())
    };
    let mut lines = BufReader::with_capacity(64, Cursor::new(bytes));
    let read = lines_of(&mut lines, Path::new("dead.jsonl"), MAX, &mut each);
    assert!(read.expect("memory").is_continue());
    all
}

#[test]
fn a_line_that_is_being_written_is_passed_over_and_one_torn_by_a_crash_is_told() {
    let half = &OLD[..40];
    assert!(found(format!("{OLD}\n{half}").as_bytes())[..].iter().all(Option::is_some));
    assert_eq!(found(format!("{OLD}\n{half}").as_bytes()).len(), 1);
    let torn = found(format!("{half}\n{OLD}\n\n").as_bytes());
    assert_eq!(torn.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert!(found(b"").is_empty());
}

#[test]
fn two_alike_of_version_1_are_told_apart_by_their_place_and_keep_their_ids() {
    let two = found(format!("{OLD}\n{OLD}\n").as_bytes());
    assert_ne!(two[0], two[1]);
    assert_eq!(two, found(format!("{OLD}\n{OLD}\n").as_bytes()));
}

#[test]
fn a_line_without_end_takes_no_more_memory_than_the_longest_and_the_next_one_is_read() {
    for length in [MAX - 1, MAX, MAX + 1, 100 * MAX] {
        let long = "x".repeat(length);
        let lines = found(format!("{long}\n{OLD}\n").as_bytes());
        assert_eq!(
            lines.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true],
            "{length}"
        );
        assert!(found(long.as_bytes()).is_empty(), "it does not end");
    }
}

#[test]
fn ten_thousand_spoiled_files_are_read_to_their_end() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    let whole = format!("{OLD}\n{OLD}\n{OLD}\n").into_bytes();
    for _ in 0..10_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + below(4) {
            let at = below(bytes.len());
            match below(3) {
                0 => bytes[at] = b"\n\0{}\"\xff\\,"[below(8)],
                1 => drop(bytes.drain(at..(at + below(50)).min(bytes.len()))),
                _ => drop(bytes.splice(at..at, vec![b"x\n["[below(3)]; below(400)])),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert!(found(&bytes).len() < lines);
    }
}
