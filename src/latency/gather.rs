//! Reads logs with two cores: one thread reads and unpacks, the others take the lines apart and count.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use memchr::memchr;

use super::record::read;
use super::source::{Block, Trouble, read_all};
use super::tally::{Choice, Tally};

/// So many threads count.
const COUNTERS: usize = 2;
/// So many blocks may wait for them.
const BLOCKS_WAITING: usize = 2;

/// Counts the chosen records of all files, and names the files that cannot be read to their end.
pub(super) fn gather<'a>(paths: &[PathBuf], choice: &'a Choice) -> (Tally<'a>, Vec<Trouble>) {
    let (out, blocks) = sync_channel(BLOCKS_WAITING);
    let (back, used) = channel();
    let blocks = Arc::new(Mutex::new(blocks));
    let mut tally = Tally::new(choice);
    let troubles = thread::scope(|scope| {
        let counters = [(); COUNTERS].map(|()| {
            let (blocks, back, mut tally) = (Arc::clone(&blocks), back.clone(), tally.beside());
            scope.spawn(move || {
                count_all(&blocks, &back, &mut tally);
                tally
            })
        });
        // Else reading would wait for ever for counters that have panicked.
        drop(blocks);
        let found = read_all(paths, &used, &out);
        drop(out);
        for counter in counters {
            tally.merge(counter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        tally.lines.merge(found.lines);
        found.troubles
    });
    (tally, troubles)
}

fn count_all(blocks: &Mutex<Receiver<Block>>, back: &Sender<Vec<u8>>, tally: &mut Tally<'_>) {
    loop {
        // The other thread waits for the lock then; which of both waits for the block does not matter.
        let next = blocks.lock().ok().and_then(|blocks| blocks.recv().ok());
        let Some(block) = next else { return };
        count(&block, tally);
        let _ = back.send(block.bytes);
    }
}

fn count(block: &Block, tally: &mut Tally<'_>) {
    let mut rest = &block.bytes[..];
    let mut number = block.first;
    while !rest.is_empty() {
        match memchr(b'\n', rest) {
            Some(end) => {
                tally.add(block.file, number, read(&rest[..end]));
                rest = &rest[end + 1..];
            }
            None => {
                match read(rest) {
                    // The bridge writes it just now.
                    Err(_) => tally.lines.unfinished += 1,
                    line => tally.add(block.file, number, line),
                }
                return;
            }
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;
    use tempfile::NamedTempFile;

    use super::super::hop::Hop;
    use super::super::source::BLOCK_BYTES;
    use super::super::spread::Spread;
    use super::super::spread::tests::exact;
    use super::*;

    fn file(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("it can be written");
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).expect("into memory")
    }

    fn line(nth: u64, queue_us: u64, kafka_us: u64) -> String {
        let route = ["a", "b"][nth as usize % 2];
        let at = jiff::Timestamp::from_millisecond(1_767_323_045_000 + nth as i64).expect("legal");
        let total_us = queue_us + kafka_us;
        format!(
            "{{\"ts\":\"{at:.6}\",\"level\":\"info\",\"msg\":\"timing\",\"mqtt_topic\":\"t/{nth}\",\"route\":\"{route}\",\
             \"received_at\":\"{at:.6}\",\"queue_us\":{queue_us},\"kafka_us\":{kafka_us},\"total_us\":{total_us},\
             \"routed_us\":1,\"ack_us\":{}}}\n",
            nth % 1000
        )
    }

    /// Latencies as they come: most are short, some long. A line in three is no timing record.
    fn log(records: u64) -> (String, Vec<[u64; 4]>) {
        let mut random = fastrand::Rng::with_seed(records);
        let mut text = String::new();
        let mut latencies = Vec::new();
        for nth in 0..records {
            let queue = random.u64(10..2_000);
            let kafka = (1_000.0 / (1.0 - random.f64() * 0.9999)) as u64;
            text.push_str(&line(nth, queue, kafka));
            if nth % 3 == 0 {
                text.push_str(
                    "{\"ts\":\"x\",\"level\":\"info\",\"msg\":\"summary\",\"received\":1}\n",
                );
            }
            latencies.push([queue, kafka, queue + kafka, nth % 1000]);
        }
        (text, latencies)
    }

    fn all(files: &[&NamedTempFile]) -> Vec<PathBuf> {
        files.iter().map(|file| file.path().to_owned()).collect()
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list_to_the_stated_precision_plain_and_compressed() {
        // Several blocks.
        let (text, latencies) = log(20_000);
        assert!(text.len() > 3 * BLOCK_BYTES);
        let text = text.as_bytes();
        let (half, rest) = text.split_at(text.len() / 2);
        let choice = Choice { slowest: 3, ..Choice::default() };
        // Two members of gzip, and two frames of zstd, behind one another, make one file.
        for bytes in [
            text.to_vec(),
            gzip(text),
            zstandard(text),
            [gzip(half), gzip(rest)].concat(),
            [zstandard(half), zstandard(rest)].concat(),
        ] {
            let file = file(&bytes);
            let (tally, troubles) = gather(&all(&[&file]), &choice);
            assert_eq!(troubles, []);
            assert_eq!((tally.lines.chosen, tally.lines.damaged), (20_000, 0));
            assert_eq!(tally.lines.other, 6_667);
            let hops = [Hop::Produced, Hop::Delivered, Hop::Total, Hop::Acknowledged];
            let check = |index: usize,
                         found: Option<&Spread<u64>>,
                         of: &dyn Fn(usize) -> bool,
                         precision: u64| {
                let mut sorted: Vec<_> = latencies
                    .iter()
                    .enumerate()
                    .filter(|(nth, _)| of(*nth))
                    .map(|(_, values)| values[index])
                    .collect();
                let found = found.and_then(|it| it.percentiles()).expect("some");
                assert_eq!(found.count as usize, sorted.len());
                for ((name, us), per_mille) in
                    found.columns().into_iter().zip([500, 900, 990, 999, 1000])
                {
                    let exact = exact(&mut sorted, per_mille);
                    assert!(us.abs_diff(exact) <= exact / precision, "{name}: {us}, {exact}");
                }
            };
            for (index, hop) in hops.into_iter().enumerate() {
                check(index, tally.hops[hop as usize].as_ref(), &|_| true, 1000);
                for series in &tally.series {
                    let nth = usize::from(series.route == "b");
                    check(index, series.hops[hop as usize].as_ref(), &|at| at % 2 == nth, 100);
                }
            }
            let slowest = tally.slowest.iter().map(|slow| slow.total_us);
            let mut totals: Vec<_> = latencies.iter().map(|it| it[2]).collect();
            totals.sort_unstable_by(|one, other| other.cmp(one));
            assert!(slowest.eq(totals.into_iter().take(3)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line_and_the_rest_counts() {
        let (text, _) = log(9_000);
        let mut cut = gzip(text.as_bytes());
        cut.truncate(cut.len() / 2);
        let choice = Choice::default();
        let (cut, xz, whole) = (file(&cut), file(b"\xfd7zXZ\0..."), file(line(1, 2, 3).as_bytes()));
        let missing = PathBuf::from("/nowhere/at/all");
        let paths = [all(&[&cut, &xz]), vec![missing], all(&[&whole])].concat();
        let (tally, troubles) = gather(&paths, &choice);
        let told: Vec<_> = troubles.iter().map(|trouble| &*trouble.text).collect();
        let [cut_told, xz_told, missing_told] = told[..] else { panic!("{told:?}") };
        assert!(cut_told.contains("cannot be read behind line "), "{cut_told}");
        assert!(xz_told.ends_with("compressed by gzip or zstd, found xz"), "{xz_told}");
        assert!(missing_told.starts_with("/nowhere/at/all: "), "{missing_told}");
        assert!(tally.lines.chosen > 3_000, "{:?}", tally.lines);
        assert_eq!((tally.lines.damaged, tally.lines.unfinished), (0, 0));
    }

    #[test]
    fn damaged_lines_are_counted_and_the_first_is_named_by_its_number() {
        let mut text = log(12_000).0;
        let lines = text.lines().count() as u64;
        text.push_str("no record\r\n\n");
        text.push_str(&line(7, 1, 2));
        text.push_str(&"x".repeat(3 * BLOCK_BYTES));
        text.push('\n');
        text.push_str(&line(8, 1, 2));
        text.push_str("{\"msg\":\"timing\",\"que");
        let choice = Choice::default();
        let (first, second) = (file(text.as_bytes()), file(b"neither"));
        let (tally, troubles) = gather(&all(&[&first, &second]), &choice);
        assert_eq!(troubles, []);
        assert_eq!(tally.lines.chosen, 12_002);
        assert_eq!((tally.lines.damaged, tally.lines.unfinished), (2, 2));
        let (file, number, damage) = tally.lines.first_damage.expect("one");
        assert_eq!((file, number, &*damage.found), (0, lines + 1, "`no record`"));
        let alone = Choice::default();
        let long = "y".repeat(BLOCK_BYTES + 1);
        let second =
            self::file(format!("{}{long}\n{}{long}", line(1, 2, 3), line(4, 5, 6)).as_bytes());
        let (tally, _) = gather(&all(&[&second]), &alone);
        assert_eq!((tally.lines.chosen, tally.lines.damaged), (2, 2));
        let (_, number, damage) = tally.lines.first_damage.expect("one");
        assert_eq!(number, 2);
        assert_eq!(damage.to_string(), "expected a line of at most 1 MiB, found more than 1048576");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever bytes a file holds, and whatever compression they claim to have.
        #[test]
        fn arbitrary_bytes_never_panic(
            head in prop::sample::select(vec![&b""[..], &[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], b"{\"msg\":\"timing\","]),
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            lines in prop::collection::vec("[{}\"msg:timn,\\\\0-9]{0,60}\n", 0..20),
        ) {
            let text = lines.concat().into_bytes();
            let choice = Choice { slowest: 2, ..Choice::default() };
            for content in [[head, &bytes, &text].concat(), gzip(&[&text[..], &bytes].concat()), zstandard(&bytes)] {
                let file = file(&content);
                let (tally, _) = gather(&all(&[&file]), &choice);
                prop_assert_eq!(tally.lines.damaged > 0, tally.lines.first_damage.is_some());
            }
        }
    }
}
