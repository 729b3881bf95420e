// Numbers with their units, as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

export function count(value) {
  return known(value) ? WHOLE.format(value) : "unknown";
}

export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function short(value) {
  return Math.abs(value) >= 1000 ? WHOLE.format(value) : SHORT.format(value);
}

export function rate(value, unit) {
  return known(value) ? `${short(value)}\u00a0${unit}/s` : "unknown";
}

export function bytes(value) {
  if (!known(value)) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${short(value)}\u00a0${units[at]}`;
}

export function byteRate(value) {
  return known(value) ? `${bytes(value)}/s` : "unknown";
}

export function micros(value) {
  if (!known(value)) return "none";
  const size = Math.abs(value);
  if (size < 1000) return `${short(value)}\u00a0µs`;
  if (size < 1000000) return `${short(value / 1000)}\u00a0ms`;
  return seconds(value / 1000000);
}

export function seconds(value) {
  if (!known(value)) return "unknown";
  if (Math.abs(value) < 120) return `${short(value)}\u00a0s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function percent(share) {
  return known(share) ? `${SHORT.format(share * 100)}\u00a0%` : "unknown";
}

// A time of today by its clock, another one with its day; in the time zone of this browser.
export function moment(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text ?? "");
  const clock = at.toLocaleTimeString("en-GB");
  const day = (date) => date.toLocaleDateString("en-CA");
  return day(at) === day(new Date()) ? clock : `${day(at)} ${clock}`;
}

const NAMES = { mqtt: "MQTT", kafka: "Kafka", qos: "QoS", qos0: "QoS 0", connack: "CONNACK", tls: "TLS", json: "JSON" };

// A code in words.
export function words(code) {
  return String(code ?? "").split("_").map((word) => NAMES[word] ?? word).join(" ");
}

// `{a: 1, b: 2}` as "a: 1, b: 2".
export function pairs(object, value = count) {
  return Object.entries(object ?? {}).map(([key, of]) => `${words(key)}: ${value(of)}`).join(", ");
}
