//! What is remembered of a replay, also over a kill.

use super::*;

const IDS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

#[test]
fn what_is_in_kafka_is_known_to_the_next_run_and_a_torn_line_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl.replayed");
    assert!(!Progress::peek(&path).expect("none yet").has(IDS[0]));
    assert!(!path.exists(), "a dry run makes no file");
    let mut progress = Progress::open(&path).expect("a new one");
    progress.add(IDS[0]).expect("written");
    drop(progress);
    let mut torn = std::fs::read(&path).expect("read");
    torn.extend_from_slice(&IDS[1].as_bytes()[..9]);
    std::fs::write(&path, torn).expect("written");
    let mut progress = Progress::open(&path).expect("the same");
    assert!(progress.has(IDS[0]) && !progress.has(IDS[1]));
    progress.add(IDS[1]).expect("written");
    drop(progress);
    let progress = Progress::open(&path).expect("the same");
    assert!(progress.has(IDS[0]) && progress.has(IDS[1]));
}

#[test]
fn two_replays_at_once_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("progress");
    let _first = Progress::open(&path).expect("the first");
    let refused = Progress::open(&path).err().expect("the second");
    assert!(refused.ends_with("another replay is under way"), "{refused}");
}

#[test]
fn a_file_that_is_no_progress_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notes");
    for text in [
        "this is something quite different\n",
        "0123456789abcdef0123456789abcdef",
        "x".repeat(16).as_str(),
    ] {
        std::fs::write(&path, text).expect("written");
        assert!(Progress::open(&path).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
}

#[test]
fn an_id_that_no_bridge_wrote_is_remembered_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("progress");
    let mut progress = Progress::open(&path).expect("a new one");
    progress.add("../../etc/passwd\n").expect("written");
    assert!(progress.has("../../etc/passwd\n") && !progress.has("../../etc/shadow\n"));
}
