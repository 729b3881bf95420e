//! Three nodes of Kafka, one of which is down at a time: its partitions get other leaders.

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

/// With fewer and with more partitions than the number from which rounds do not wait for each other.
#[test]
fn partitions_of_a_node_that_is_frozen_stop_no_other_until_the_window_is_full() {
    let story = Story::new("Kafka node with partitions frozen");
    let mut nodes = Kafka::start_cluster(story.dir());
    nodes[0].keep_one_replica();
    let plan = |partitions| Plan {
        load: Load { rate: 2_000, window: 5_000, mqtt_topics: 200, ..Load::default() },
        partitions: Some(partitions),
        kafka_topic: vec![("min.insync.replicas", "1")],
        ..Plan::default()
    };
    let mut lines =
        [4, 32].map(|partitions| Line::start(&story, &nodes[0], Version::V5, &plan(partitions)));
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    lines.iter().for_each(|line| line.wait_delivered(1_000));
    nodes[2].freeze();
    for line in &lines {
        // Without verdicts from the other partitions it would be the whole window.
        let full = line.bridge.wait_window_full();
        tell(&format!("{}: {} of 1000 wait", story.name, full.in_flight));
        assert!((1..800).contains(&full.in_flight), "{full:?}");
    }
    nodes[2].thaw();
    for line in &mut lines {
        line.publisher.pause();
        line.settle().assert_nothing_lost_or_reordered();
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

/// Its connections stay open, and after the thaw it does not know that other nodes lead.
fn freeze(node: &mut Kafka, lines: &[Line]) {
    node.freeze();
    lines.iter().for_each(|line| node.wait_led_by_others(&line.kafka_topic));
    node.thaw();
}
