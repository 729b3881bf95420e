// What the charts are drawn of: samples of the last five minutes, kept in this browser.

import { SPAN_S } from "./charts.js";

// More series than this are not kept: the charts show one of them.
const SERIES_MAX = 100;

export const HOPS = [
  ["routed", "routed"],
  ["produced", "to librdkafka"],
  ["delivered", "in Kafka"],
  ["acknowledged", "to the PUBACK"],
  ["device", "device to Kafka"],
];

// The name by which a route on a connection is chosen.
export function seriesOf(latency) {
  return JSON.stringify([latency.connection ?? null, latency.route ?? null]);
}

// The busiest first.
export function allSeries(status) {
  const series = new Map();
  for (const latency of status.latencies ?? []) {
    const key = seriesOf(latency);
    const known = series.get(key) ?? { key, connection: latency.connection, route: latency.route, count: 0 };
    known.count = Math.max(known.count, latency.count ?? 0);
    series.set(key, known);
  }
  return [...series.values()].sort((one, other) => other.count - one.count).slice(0, SERIES_MAX);
}

function windowShare(status) {
  const shares = (status.connections ?? []).map(({ window }) => {
    if (!window) return 0;
    const of = (used, most) => (most ? used / most : 0);
    return Math.max(of(window.messages, window.messages_max), of(window.bytes, window.bytes_max));
  });
  return shares.length ? Math.max(...shares) : null;
}

export class History {
  samples = [];
  add(status) {
    // By the steady clock: what the other one does moves no line.
    const time = status.uptime_s;
    const last = this.samples[this.samples.length - 1];
    // Another process: the lines begin anew.
    if (last && (time < last.time || status.started_at !== last.started)) this.clear();
    if (last && time === last.time) return;
    const shown = new Set(allSeries(status).map(({ key }) => key));
    const hops = new Map();
    for (const latency of status.latencies ?? []) {
      const key = seriesOf(latency);
      if (shown.has(key)) hops.set(`${key}${latency.stage}`, latency);
    }
    const rates = status.rates ?? {};
    this.samples.push({
      time,
      started: status.started_at,
      received: rates.received_per_s ?? null,
      settled: rates.settled_per_s ?? null,
      receivedBytes: rates.received_bytes_per_s ?? null,
      deliveredBytes: rates.delivered_bytes_per_s ?? null,
      window: windowShare(status),
      hops,
    });
    while (this.samples[0].time < time - SPAN_S) this.samples.shift();
  }

  clear() {
    this.samples = [];
  }

  times() {
    return this.samples.map(({ time }) => time);
  }

  line(name, of) {
    return { name, values: this.samples.map((sample) => of(sample) ?? null) };
  }

  // One line for each hop that this series has ever had.
  hops(series, percentile) {
    const has = ([stage]) => this.samples.some(({ hops }) => hops.has(series + stage));
    return HOPS.filter(has).map(([stage, name]) => this.line(name, ({ hops }) => hops.get(series + stage)?.[percentile]));
  }
}
