//! Three nodes of Kafka, of which one is away at a time: its partitions get other leaders.

use crate::support::line::Plan;
use crate::support::*;

#[test]
fn nodes_of_a_cluster_restarted_killed_and_frozen_in_turn_lose_duplicate_and_reorder_nothing() {
    let story = Story::new("Kafka nodes away in turn");
    let mut nodes = Kafka::start_cluster(story.dir());
    let plan = Plan { load: Load { rate: 1_000, ..Load::default() }, ..Plan::default() };
    let mut lines = Line::both(&story, &nodes[0], &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    let harms: [fn(&mut Kafka, &[Line]); 3] = [restart, kill, freeze];
    for (node, harm) in nodes.iter_mut().zip(harms) {
        lines.iter().for_each(|line| line.wait_delivered(line.reader.distinct() + 1_000));
        harm(node, &lines);
        lines.iter().for_each(|line| node.wait_in_sync(&line.kafka_topic));
    }
    for line in &mut lines {
        line.publisher.pause();
        line.settle().assert_exact();
    }
}

fn restart(node: &mut Kafka, _: &[Line]) {
    node.stop();
    node.run();
}

fn kill(node: &mut Kafka, lines: &[Line]) {
    node.kill();
    lines.iter().for_each(|line| node.wait_led_by_others(&line.kafka_topic));
    node.run();
}

/// Its connections stay open, and it does not know that others lead when it goes on.
fn freeze(node: &mut Kafka, lines: &[Line]) {
    node.freeze();
    lines.iter().for_each(|line| node.wait_led_by_others(&line.kafka_topic));
    node.thaw();
}
