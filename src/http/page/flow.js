// The picture: MQTT connections, the bridge, Kafka, each with its state.

import { byId, documentLink, keep, make, meter, setText, show, state } from "./dom.js";
import { byteRate, bytes, count, counted, percent, rate, words } from "./numbers.js";
import { WHAT_TO_DO, told } from "./verdict.js";

// So many are drawn of each kind; what has a problem comes first.
const NODES_MAX = 8;

const RANK = { bad: 0, warn: 1, unknown: 2, good: 3 };

// { key, level, name, said, more: [text], meter, todo, link }
function node(item, it) {
  item.className = it.level === "good" ? "" : it.level;
  show(item, it, () => [
    make("p", "name", it.name),
    it.said ? make("p", "", state(it.level, it.said)) : "",
    ...(it.more ?? []).filter(Boolean).map((text) => make("p", "quiet", text)),
    it.meter === undefined ? "" : meter(it.meter, it.label),
    it.todo ? make("p", "", `${it.todo} `, documentLink(it.link)) : "",
  ]);
}

function nodes(id, all, what) {
  const sorted = all.map((it, at) => [it, at]);
  if (all.length > NODES_MAX) sorted.sort(([one, at], [other, then]) => RANK[one.level] - RANK[other.level] || at - then);
  const shown = sorted.slice(0, NODES_MAX).map(([it]) => it);
  if (all.length > shown.length) {
    const rest = sorted.slice(NODES_MAX).map(([it]) => it);
    const bad = rest.filter(({ level }) => level === "bad").length;
    const said = bad ? `${bad} of them with a problem` : "all of them in order";
    shown.push({ key: "\u0000more", level: bad ? "bad" : "good", name: `and ${counted(rest.length, `more ${what}`)}`, said });
  }
  keep(byId(id), shown, "li", ({ key }) => key, node);
}

function connection(it, status) {
  const troubles = (it.subscriptions ?? []).filter(({ state }) => state !== "granted");
  const refused = troubles.filter(({ state }) => state === "refused");
  const level = !it.connected || refused.length ? "bad" : troubles.length || it.insecure ? "warn" : "good";
  const said = !it.connected ? "not connected"
    : refused.length ? `connected, ${counted(refused.length, "subscription")} refused`
    : troubles.length ? `connected, ${counted(troubles.length, "subscription")} not as asked for`
    : it.insecure ? "connected, not verified" : "connected";
  // A reason is worse than a warning.
  const why = level === "good" ? null : told(status, it.connection);
  const protocol = it.session ? `MQTT ${it.session.mqtt_protocol}` : "";
  return {
    key: it.connection,
    level,
    name: it.connection,
    said,
    more: [it.broker, protocol, it.connected ? "" : it.last_loss?.detail],
    todo: level === "good" ? "" : why?.what_to_do || WHAT_TO_DO.disconnected.text,
    link: why?.document || WHAT_TO_DO.disconnected.link,
  };
}

const TROUBLES = { reachable: "reachable", pending: "being asked for the first time", unreachable: "not reachable" };

function kafka(status) {
  const of = status.kafka ?? {};
  const reason = (code) => (status.reasons ?? []).find(({ reason }) => reason === code);
  const unconfirmed = reason("kafka_unconfirmed") ?? reason("kafka_producer_failing");
  const level = of.state === "unreachable" || unconfirmed ? "bad" : of.state === "pending" ? "unknown" : "good";
  const why = (status.reasons ?? []).find(({ component }) => component === "kafka");
  const cluster = {
    key: "\u0000cluster",
    level,
    name: "Kafka cluster",
    said: unconfirmed ? words(unconfirmed.reason) : TROUBLES[of.state] ?? "unknown",
    more: [of.detail, typeof of.queue_messages === "number" ? `${counted(of.queue_messages, "record")} in librdkafka` : ""],
    todo: level === "bad" ? why?.what_to_do || "Check the cluster and the network." : "",
    link: why?.document || "docs/observability.md#reasons",
  };
  const kafkaTopics = (of.kafka_topics ?? []).map((it) => {
    const bad = it.held || it.trouble;
    const away = of.state === "unreachable";
    return {
      key: `t${it.kafka_topic}`,
      level: bad ? "bad" : it.reachable ? "good" : "unknown",
      name: it.kafka_topic,
      said: it.held ? "held: messages wait" : it.trouble ? words(it.trouble.reason) : it.reachable ? "reachable" : away ? "not known: Kafka does not answer" : "not asked about",
      more: ["Kafka topic", it.trouble?.detail, typeof it.partitions === "number" ? counted(it.partitions, "partition") : ""],
      todo: bad ? it.trouble?.what_to_do || "Read the document." : "",
      link: it.trouble?.document || "docs/operations.md#what-kafka-refuses",
    };
  });
  return [cluster, ...kafkaTopics];
}

function bridge(status) {
  const windows = (status.connections ?? []).filter(({ window }) => window);
  const used = (window) => Math.max(window.messages / (window.messages_max || 1), window.bytes / (window.bytes_max || 1));
  const fullest = windows.reduce((most, it) => (most && used(most.window) >= used(it.window) ? most : it), null);
  const share = fullest ? used(fullest.window) : 0;
  const full = share >= 0.999;
  const waiting = status.identity?.in_flight;
  const held = status.kafka?.held?.length ?? 0;
  const all = [{
    key: "window",
    level: full ? "warn" : "good",
    name: `In flight: ${counted(waiting, "message")}`,
    said: full ? "a window is full: reading waits" : "windows have room",
    meter: share,
    label: `The fullest window is used to ${percent(share)}`,
    more: fullest ? [`Fullest window: ${percent(share)} (${fullest.connection}: ${count(fullest.window.messages)} of ${count(fullest.window.messages_max)} messages, ${bytes(fullest.window.bytes)} of ${bytes(fullest.window.bytes_max)})`] : [],
    todo: full ? WHAT_TO_DO.window.text : "",
    link: WHAT_TO_DO.window.link,
  }, {
    key: "routes",
    level: held ? "bad" : "good",
    name: counted((status.routes ?? []).filter(({ gone }) => !gone).length, "route"),
    said: held ? `${counted(held, "place")} where messages wait` : "nothing is held",
    todo: held ? "Remove the cause that the reasons name." : "",
    link: "docs/operations.md#what-kafka-refuses",
  }];
  const letters = status.identity?.dead_lettered ?? 0;
  if (letters) {
    all.push({ key: "letters", level: "unknown", name: counted(letters, "dead letter"), said: "since the start", todo: "See the reasons below.", link: "docs/operations.md#dead-letters" });
  }
  return all;
}

export function flow(status) {
  nodes("flow-mqtt", (status.connections ?? []).map((it) => connection(it, status)), "connection");
  nodes("flow-bridge", bridge(status), "part");
  nodes("flow-kafka", kafka(status), "Kafka topic");
  const rates = status.rates ?? {};
  setText(byId("flow-in"), rate(rates.received_per_s, "messages"));
  setText(byId("flow-in-bytes"), byteRate(rates.received_bytes_per_s));
  setText(byId("flow-out"), rate(rates.settled_per_s, "messages"));
  setText(byId("flow-out-bytes"), byteRate(rates.delivered_bytes_per_s));
  const [into, out] = document.querySelectorAll(".link");
  into.classList.toggle("moving", rates.received_per_s > 0);
  out.classList.toggle("moving", rates.settled_per_s > 0);
}
