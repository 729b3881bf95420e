// The sections below the picture: a snapshot in, rows out.

import { byId, fill, make, setText, show, state } from "./dom.js";
import { bytes, count, counted, micros, moment, pairs, percent, rate, seconds, words } from "./numbers.js";
import { HOPS } from "./history.js";
import { missing, told } from "./verdict.js";

// So many rows are drawn; the filter finds the others.
const ROWS_MAX = 500;
// Rates of single routes are over this time.
const RATE_OVER_S = 5;

const TERMS = [
  ["received", "received", ""],
  ["delivered", "delivered", "="],
  ["dead_lettered", "dead-lettered", "+"],
  ["filtered", "filtered", "+"],
  ["shed", "shed", "+"],
  ["in_flight", "in flight", "+"],
];

export function identity(status) {
  const of = status.identity ?? {};
  show(byId("equation"), TERMS.map(([key]) => of[key]), (values) => TERMS.flatMap(([, name, sign], at) => {
    // Only terms and descriptions may stand in a list of them: the sign is a part of its term.
    const term = make("dt", "", sign ? `${sign} ${name}` : name);
    return [make("div", "", term, make("dd", "", counted(values[at], "message")))];
  }));
  const gap = missing(status);
  const said = gap === 0 ? "The equation holds." : `The equation does not hold: ${counted(Math.abs(gap), "message")} ${gap > 0 ? "missing" : "too many"}.`;
  const level = gap === 0 ? "good" : "bad";
  show(byId("identity-verdict"), [level, said], () => state(level, said));
  setText(byId("identity-beside"), `Beside it: ${counted(of.redelivered, "redelivered message")} and ${counted(of.copies, "copy", "copies")} were recognised and not forwarded again.`);
}

// How fast the counts of routes grew: { time, counts } of the last seconds.
const SEEN = [];

function routeRates(status) {
  // By the steady clock.
  const time = status.uptime_s;
  const counts = new Map((status.routes ?? []).map((it) => [routeKey(it), it.records_delivered]));
  if (SEEN.length && SEEN[SEEN.length - 1].time >= time) SEEN.length = 0;
  SEEN.push({ time, counts });
  while (SEEN.length > 2 && SEEN[1].time <= time - RATE_OVER_S) SEEN.shift();
  const first = SEEN[0];
  const over = time - first.time;
  return (key) => (over > 0 && first.counts.has(key) ? Math.max(0, counts.get(key) - first.counts.get(key)) / over : null);
}

function routeKey({ route, mqtt_filter }) {
  return JSON.stringify([route, mqtt_filter]);
}

const STATES = { granted: "good", pending: "unknown", downgraded: "warn", refused: "bad" };
const WORST = ["refused", "downgraded", "pending", "granted"];
const SUBSCRIPTION_TODO = {
  refused: "Check the broker's permissions.",
  downgraded: "Check the broker's limits, or lower routes.qos.",
};

// How the subscriptions of a route are on all connections, the worst of them. Of several routes with one filter only one
// is subscribed, for all of them; a group of connections shares its filters.
function subscriptions(status) {
  const found = new Map();
  const note = (key, it) => {
    const known = found.get(key);
    if (!known || WORST.indexOf(it.state) < WORST.indexOf(known.state)) found.set(key, it);
  };
  for (const { connection, subscriptions } of status.connections ?? []) {
    for (const it of subscriptions ?? []) {
      note(`route ${it.route}`, { connection, ...it });
      note(`filter ${it.mqtt_filter.replace(/^\$share\/[^/]+\//, "")}`, { connection, ...it });
    }
  }
  return ({ route, mqtt_filter }) => found.get(`route ${route}`) ?? found.get(`filter ${mqtt_filter.replace(/^\$share\/[^/]+\//, "")}`);
}

function subscriptionCell(it, gone) {
  if (gone) return { text: "no longer configured", state: "unknown" };
  if (!it) return { text: "of no connection", state: "unknown" };
  const qos = typeof it.granted_mqtt_qos === "number" ? `, QoS ${it.granted_mqtt_qos}` : "";
  const more = [it.state === "granted" ? "" : `connection ${it.connection}`, it.detail, SUBSCRIPTION_TODO[it.state]];
  const link = SUBSCRIPTION_TODO[it.state] ? "docs/observability.md#reasons" : undefined;
  return { text: it.state + qos, state: STATES[it.state] ?? "unknown", more: more.filter(Boolean).join(": "), link };
}

export function routes(status) {
  const rates = routeRates(status);
  const subscribed = subscriptions(status);
  const wanted = byId("filter").value.trim().toLowerCase();
  const onlyTroubled = byId("troubled").checked;
  const all = status.routes ?? [];
  const isTroubled = (it) => {
    const state = it.gone ? "" : subscribed(it)?.state;
    return Object.keys(it.dropped ?? {}).length > 0 || Object.keys(it.notes ?? {}).length > 0 || (state && state !== "granted");
  };
  const found = all.filter((it) => {
    const text = `${it.route}\n${it.mqtt_filter}`.toLowerCase();
    return text.includes(wanted) && (!onlyTroubled || isTroubled(it));
  });
  const shown = found.slice(0, ROWS_MAX);
  const more = found.length > shown.length ? `; the first ${count(shown.length)} are shown` : "";
  setText(byId("routes-count"), `${count(found.length)} of ${counted(all.length, "route")}${more}`);
  fill(byId("routes-table"), shown, routeKey, (it) => [
    it.route,
    { text: it.mqtt_filter, code: true },
    subscriptionCell(subscribed(it), it.gone),
    { text: count(it.records_delivered), number: true },
    { text: rate(rates(routeKey(it)) ?? NaN, "records"), number: true },
    { text: bytes(it.delivered_bytes), number: true },
    pairs(it.dropped) || "none",
    pairs(it.notes) || "none",
  ], all.length ? "No route matches the filter." : "No routes.");
}

export function latency(status) {
  const order = new Map(HOPS.map(([stage], at) => [stage, at]));
  const busiest = new Map();
  const keyOf = ({ connection, route }) => JSON.stringify([connection, route]);
  const all = status.latencies ?? [];
  for (const it of all) busiest.set(keyOf(it), Math.max(busiest.get(keyOf(it)) ?? 0, it.count));
  const first = [...busiest.keys()].sort((one, other) => busiest.get(other) - busiest.get(one)).slice(0, 20);
  const rank = new Map(first.map((key, at) => [key, at]));
  const shown = all.filter((it) => rank.has(keyOf(it)));
  shown.sort((one, other) => rank.get(keyOf(one)) - rank.get(keyOf(other)) || (order.get(one.stage) ?? 9) - (order.get(other.stage) ?? 9));
  const names = new Map(HOPS);
  fill(byId("latency-table"), shown, (it) => keyOf(it) + it.stage, (it) => [
    it.route ?? "all routes",
    it.connection ?? "all connections",
    names.get(it.stage) ?? words(it.stage),
    { text: count(it.count), number: true },
    ...["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map((key) => ({ text: micros(it[key]), number: true })),
  ], "Nothing was delivered in the last minutes.");
}

function acknowledged(it) {
  if (typeof it.ack_us === "number") return micros(it.ack_us);
  return it.ack_reason ? words(it.ack_reason) : "none";
}

export function slowest(status) {
  fill(byId("slowest-table"), status.slowest ?? [], (it) => `${it.kafka_topic}/${it.kafka_partition}/${it.kafka_offset}`, (it) => [
    { text: it.mqtt_topic, code: true },
    it.route,
    { text: `${it.kafka_topic}, partition ${it.kafka_partition}, offset ${it.kafka_offset}`, wide: true },
    moment(it.received_at),
    { text: micros(it.queue_us), number: true },
    { text: micros(it.kafka_us), number: true },
    { text: acknowledged(it), number: true },
    { text: micros(it.total_us), number: true },
  ], "Nothing was delivered in the last minutes.");
}

export function connections(status) {
  fill(byId("connections-table"), status.connections ?? [], ({ connection }) => connection, (it) => {
    const { window = {}, session, last_loss: loss } = it;
    const share = Math.max(window.messages / window.messages_max || 0, window.bytes / window.bytes_max || 0);
    const kept = session?.session_present ? "kept by the broker" : "new";
    const why = it.connected && !it.insecure ? null : told(status, it.connection);
    return [
      it.connection,
      it.connected
        ? { text: it.insecure ? "connected, not verified" : "connected", state: it.insecure ? "warn" : "good", more: why?.what_to_do, link: why?.document }
        : { text: "not connected", state: "bad", more: why?.what_to_do || "Check the broker, the network and the login.", link: why?.document || "docs/operations.md#symptoms-likely-causes-and-cures" },
      { text: it.broker ?? "not tried yet", code: true },
      session ? { text: `MQTT ${session.mqtt_protocol}, ${kept}`, more: `keep-alive ${seconds(session.keep_alive_s)}, since ${moment(session.connected_at)}`, wide: true } : "none",
      { text: count(it.identity?.received), number: true },
      { text: count(it.identity?.in_flight), number: true },
      { text: percent(share), meter: share, label: `Window used to ${percent(share)}`, more: `${count(window.messages)} of ${count(window.messages_max)} messages, ${bytes(window.bytes)} of ${bytes(window.bytes_max)}`, wide: true },
      pairs(it.reconnects) || "none",
      loss ? { text: moment(loss.at), more: loss.detail, wide: true } : "none",
    ];
  }, "No connections.");
  fill(byId("brokers-table"), status.kafka?.brokers ?? [], ({ broker_id }) => String(broker_id), (it) => [
    `broker ${it.broker_id}`,
    it.connected ? { text: "connected", state: "good" } : { text: "no connection in use", state: "unknown" },
    { text: micros(it.round_trip_average_us), number: true },
    { text: micros(it.round_trip_p99_us), number: true },
    { text: it.throttle_ms ? `${count(it.throttle_ms)} ms` : "no", number: true },
  ], "librdkafka has told nothing yet.");
  const soon = 14 * 86400;
  show(byId("certificates"), status.certificates ?? [], (all) => (all.length ? all : [null]).map((it) => {
    if (!it) return make("li", "quiet", "No certificates are in use.");
    const name = `${words(it.of)}${it.connection ? ` of ${it.connection}` : ""}: `;
    const said = it.expires_in_s > 0 ? `valid for ${seconds(it.expires_in_s)}` : "no longer valid: replace it";
    return make("li", "", name, state(it.expires_in_s <= 0 ? "bad" : it.expires_in_s < soon ? "warn" : "good", said));
  }));
}

export function letters(status) {
  fill(byId("letters-table"), status.dead_letters ?? [], (it) => JSON.stringify([it.reason, it.route]), (it) => [
    { text: words(it.reason), more: it.what_to_do, link: it.document },
    it.route ?? "none",
    { text: count(it.count), number: true },
  ], "No dead letters.");
}

export function restarts(status) {
  const counts = (status.restarts ?? []).map((it) => `${it.actor}, ${words(it.reason)}: ${count(it.count)}`);
  setText(byId("restarts-sum"), counts.length ? `Since the start: ${counts.join("; ")}.` : "None since the start.");
  const last = [...(status.last_restarts ?? [])].reverse();
  fill(byId("restarts-table"), last, (it) => `${it.at} ${it.actor}`, (it) => [
    { text: moment(it.at), wide: true },
    it.actor,
    { text: words(it.reason), state: "warn" },
    { text: it.detail || "see the log", more: it.what_to_do, link: it.document, wide: true },
  ], "No restarts.");
}

const LEVELS = { warn: "warn", error: "bad", crit: "bad" };

export function warnings(status) {
  const recent = [...(status.log?.recent ?? [])].reverse();
  const hidden = ["event", "help", "component"];
  fill(byId("warnings-table"), recent, (it) => `${it.at} ${it.msg}`, (it) => {
    const fields = it.fields ?? {};
    const shown = Object.entries(fields).filter(([key, value]) => !hidden.includes(key) && value !== null);
    const said = shown.map(([key, value]) => `${words(key)}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
    return [
      { text: moment(it.at), wide: true },
      { text: it.level, state: LEVELS[it.level] ?? "unknown" },
      { text: it.msg, more: fields.event ? `event ${fields.event}` : "", wide: true },
      { text: said.join("; ") || "nothing more", wide: true },
      { text: it.what_to_do, link: it.document },
    ];
  }, "The log has no warnings.");
}

export function configuration(status) {
  const of = status.process ?? {};
  const log = status.log ?? {};
  const facts = [
    ["Started", moment(status.started_at)],
    ["Up for", seconds(status.uptime_s)],
    ["CPU time", typeof of.cpu_s === "number" ? `${of.cpu_s.toFixed(1)} s` : "unknown"],
    ["Resident memory", bytes(of.resident_memory_bytes)],
    ["Open files", `${count(of.open_fds)} of ${count(of.max_fds)}`],
    ["Reloads", pairs(status.reloads) || "none"],
    ["Log records dropped", `${count(log.timing_records_dropped)} timing, ${count(log.other_records_dropped)} other`],
  ];
  show(byId("process"), facts, () => facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
  const build = status.build ?? {};
  setText(byId("build"), [build.version && `version ${build.version}`, build.operating_system && `${build.operating_system} ${build.architecture ?? ""}`].filter(Boolean).join(", "));
  fill(byId("configuration-table"), Object.entries(status.configuration ?? {}), ([key]) => key, ([key, value]) => [
    { text: key, code: true },
    { text: typeof value === "string" ? value : JSON.stringify(value), code: true, wide: true },
  ], "Nothing is known of the configuration.");
}
