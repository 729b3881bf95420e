//! Three nodes of Kafka, of which one is away at a time: its partitions get other leaders.

use std::thread;
use std::time::Duration;

use crate::support::line::Plan;
use crate::support::*;

/// Longer than the 9 s after which Kafka gives up a node that says nothing.
const FROZEN: Duration = Duration::from_secs(15);

#[test]
fn nodes_of_a_cluster_restarted_killed_and_frozen_in_turn_lose_duplicate_and_reorder_nothing() {
    let story = Story::new("Kafka nodes away in turn");
    let mut nodes = Kafka::start_cluster(story.dir());
    let plan = Plan { load: Load { rate: 1_000, ..Load::default() }, ..Plan::default() };
    let mut lines = Line::both(&story, &nodes[0], &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    let harms: [fn(&mut Kafka); 3] = [restart, kill, freeze];
    for (node, harm) in nodes.iter_mut().zip(harms) {
        lines.iter().for_each(|line| line.wait_delivered(line.reader.distinct() + 1_000));
        harm(node);
        lines.iter().for_each(|line| node.wait_in_sync(&line.kafka_topic));
    }
    for line in &mut lines {
        line.publisher.pause();
        line.settle().assert_exact();
    }
}

fn restart(node: &mut Kafka) {
    node.stop();
    node.run();
}

fn kill(node: &mut Kafka) {
    node.kill();
    node.run();
}

fn freeze(node: &mut Kafka) {
    node.freeze();
    thread::sleep(FROZEN);
    node.thaw();
}
