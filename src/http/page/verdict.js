// What to say of the bridge in one sentence, and what to do. Pure: a snapshot in, texts out.

import { counted, words } from "./numbers.js";

const OPERATIONS = "docs/operations.md#symptoms-likely-causes-and-cures";

function advice(level, title, reason) {
  const connection = reason.connection ? ` (connection ${reason.connection})` : "";
  return {
    level,
    title: title + words(reason.reason) + connection,
    detail: reason.detail,
    whatToDo: reason.what_to_do || "Read the document.",
    link: reason.document || "docs/observability.md#reasons",
  };
}

// Of each connection once, and of many only the first: the sentence stays one.
function named(reasons) {
  const codes = [...new Set(reasons.map((reason) => words(reason.reason)))];
  const shown = codes.slice(0, 3).join(", ");
  return codes.length > 3 ? `${shown} and ${codes.length - 3} more` : shown;
}

function balance(identity) {
  if (!identity) return 0;
  const { received, delivered, dead_lettered, filtered, shed, in_flight } = identity;
  return received - delivered - dead_lettered - filtered - shed - in_flight;
}

export function missing(status) {
  return balance(status.identity);
}

// `feed`: { lost: a text, or null while snapshots come }.
export function verdict(status, feed) {
  if (feed.lost) {
    const level = "bad";
    return { level, mark: "✖", sentence: feed.lost, advice: feed.advice ? [{ level, ...feed.advice }] : [] };
  }
  if (!status) {
    return { level: "unknown", mark: "…", sentence: "Waiting for the first answer of the bridge.", advice: [] };
  }
  const reasons = status.reasons ?? [];
  const warnings = status.warnings ?? [];
  const told = [
    ...reasons.map((reason) => advice("bad", "Not ready: ", reason)),
    ...warnings.map((warning) => advice("warn", "Warning: ", warning)),
  ];
  if (status.alive === false) {
    told.unshift({
      level: "bad",
      title: "Not alive",
      detail: "An actor makes no progress.",
      whatToDo: "Keep the log; the process ends with exit code 75.",
      link: "docs/observability.md#reasons",
    });
    return { level: "bad", mark: "✖", sentence: "Not alive: an actor hangs.", advice: told };
  }
  if (!status.ready) {
    return { level: "bad", mark: "✖", sentence: `Not ready: ${named(reasons) || "no reason is given"}.`, advice: told };
  }
  if (balance(status.identity) !== 0) {
    told.unshift({
      level: "bad",
      title: "The identity does not hold",
      detail: `${counted(balance(status.identity), "message")} of those received are nowhere.`,
      whatToDo: "This is a fault of the bridge: keep the log and report it.",
      link: "docs/guarantees.md",
    });
    return { level: "bad", mark: "✖", sentence: "Ready, but messages are not accounted for.", advice: told };
  }
  if (warnings.length) {
    return { level: "warn", mark: "▲", sentence: `Ready, with ${counted(warnings.length, "warning")}: ${named(warnings)}.`, advice: told };
  }
  return { level: "good", mark: "✔", sentence: "Ready: messages flow from MQTT to Kafka.", advice: [] };
}

// The reason for not being ready that is about a connection, or else the warning.
export function told(status, connection) {
  const isAbout = (it) => it.connection === connection;
  return (status.reasons ?? []).find(isAbout) ?? (status.warnings ?? []).find(isAbout);
}

// What to do about a state that has no reason of its own in the snapshot.
export const WHAT_TO_DO = {
  disconnected: { text: "Check the broker, the network and the login.", link: OPERATIONS },
  window: { text: "The window is full: Kafka is slower than the devices, or away.", link: "docs/operations.md#messages-stop-arriving" },
};
