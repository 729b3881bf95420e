//! What the file of dead letters promises.

use std::os::unix::fs::symlink;

use super::*;
use crate::config::Config;

#[test]
fn the_file_takes_what_fits_and_what_was_there_before_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    std::fs::write(&path, "0123456789\n").expect("written");
    let file = DeadLetterFile::new(path.clone(), 20);
    let lines = [b"abcd\n".to_vec(), b"efgh\n".to_vec()];
    assert_eq!(file.append(&lines).expect("room for one"), 1);
    let error = file.append(&lines[1..]).expect_err("no room").to_string();
    assert!(error.contains("20 bytes"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "0123456789\nabcd\n");
    std::fs::remove_file(&path).expect("moved away");
    assert_eq!(file.append(&lines).expect("room again"), 2);
}

#[test]
fn a_line_torn_by_a_crash_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    std::fs::write(&path, "{\"a\":1}\n{\"b\":").expect("written");
    let file = DeadLetterFile::new(path.clone(), 1000);
    file.append(&[b"{}\n".to_vec()]).expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "{\"a\":1}\n{\"b\":\n{}\n");
}

#[test]
fn a_file_that_cannot_be_written_says_which_and_why() {
    let file = DeadLetterFile::new("/dev/null/dead.jsonl".into(), 1000);
    let error = file.append(&[b"{}\n".to_vec()]).expect_err("no directory").to_string();
    assert!(error.starts_with("/dev/null/dead.jsonl: "), "{error}");
}

fn config(path: &Path) -> DeadLetterConfig {
    DeadLetterConfig { file: path.into(), file_max_bytes: 4096, ..Config::for_test().dead_letter }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_file_that_cannot_be_opened_is_found_before_the_first_dead_letter_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    assert!(matches!(DeadLetterFile::check(&config(&path)), Ok(None)));
    assert!(!path.exists(), "a question makes no file");
    symlink(dir.path().join("elsewhere"), dir.path().join("link")).expect("a link");
    for (path, why) in [
        (dir.path().join("missing/dead.jsonl"), "No such file or directory"),
        (dir.path().to_owned(), "Is a directory"),
        ("/dev/null".into(), "regular file"),
        ("/dev/null/dead.jsonl".into(), "Not a directory"),
        (dir.path().join("link"), "symbolic link"),
    ] {
        let error = DeadLetterFile::check(&config(&path)).expect_err("no file").to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(DeadLetterFile::new(path, 4096).append(&[b"{}\n".to_vec()]).is_err());
    }
    assert!(!dir.path().join("elsewhere").exists(), "nothing went through the link");
    let kafka = DeadLetterConfig { kafka_topic: Some("d".to_owned()), ..config(dir.path()) };
    assert!(matches!(DeadLetterFile::check(&kafka), Ok(None)), "the file is not used");
}

#[test]
fn only_its_owner_reads_a_new_file_and_an_older_one_is_closed_to_all_but_its_group() {
    let dir = tempfile::tempdir().expect("a directory");
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    std::fs::write(&old, "{}\n").expect("written");
    std::fs::set_permissions(&old, Permissions::from_mode(0o646)).expect("ours");
    let said = DeadLetterFile::check(&config(&old)).expect("it can be written");
    assert!(said.expect("a word").contains("accessible to all users"));
    for path in [&new, &old] {
        DeadLetterFile::new(path.clone(), 4096).append(&[b"{}\n".to_vec()]).expect("written");
    }
    assert_eq!((mode(&new), mode(&old)), (0o600, 0o640));
}

#[test]
fn a_file_at_its_bound_is_told_before_the_first_dead_letter() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    std::fs::write(&path, vec![b'\n'; 4096]).expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
    let said = DeadLetterFile::check(&config(&path)).expect("it can be opened").expect("a word");
    assert!(said.contains("at its bound of 4096 bytes"), "{said}");
}
