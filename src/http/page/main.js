// Brings snapshots of the bridge to the page: one a second by /events, or by asking while that is full.

import { byId, documentLink, keep, make, setText, show, state } from "./dom.js";
import { byteRate, micros, moment, percent, rate } from "./numbers.js";
import { chart } from "./charts.js";
import { History, allSeries } from "./history.js";
import { verdict } from "./verdict.js";
import { flow } from "./flow.js";
import * as sections from "./sections.js";

// Without a snapshot for so long, what is shown is old.
const OLD_AFTER_MS = 6000;
// How often to ask while there is no place at /events.
const ASK_EVERY_MS = 5000;
const TRY_AGAIN_MS = 2000;

const history = new History();
const page = { status: null, arrivedAt: 0, paused: false, lost: null, advice: null, asking: false };

function drawVerdict() {
  const { level, mark, sentence, advice } = verdict(page.status, { lost: page.lost, advice: page.advice });
  byId("verdict").className = `verdict ${level}`;
  // Only a change is read out.
  setText(byId("sentence"), sentence);
  document.title = `${mark} ${sentence.split(/[:.]/)[0]} - mqtt-kafka-bridge`;
  keep(byId("advice"), advice, "li", (it) => JSON.stringify([it.title, it.detail]), (item, it) => show(item, it, () => [
    make("p", "", state(it.level, it.title)),
    it.detail ? make("p", "", it.detail) : "",
    make("p", "", make("strong", "", "What to do: "), `${it.whatToDo} `, it.href ? plainLink(it) : documentLink(it.link)),
  ]));
  document.body.classList.toggle("old", page.lost !== null);
}

function plainLink({ href, link }) {
  const node = make("a", "", link);
  node.href = href;
  return node;
}

function drawFeed() {
  const at = page.status ? moment(page.status.at) : "";
  const how = page.paused ? "Paused" : page.lost ? "No connection" : page.asking ? "Asked every 5 s" : page.status ? "Live" : "Connecting";
  setText(byId("feed"), at ? `${how}, as of ${at}` : how);
}

function drawSeries() {
  const choice = byId("series");
  const series = allSeries(page.status);
  keep(choice, series, "option", ({ key }) => key, (option, it) => {
    option.value = it.key;
    setText(option, [it.route ?? "all routes", it.connection && `on ${it.connection}`].filter(Boolean).join(" "));
  });
}

function drawCharts() {
  const times = history.times();
  chart("chart-rates", times, [
    history.line("received", ({ received }) => received),
    history.line("delivered or dead-lettered", ({ settled }) => settled),
  ], { format: (value) => rate(value, "msg"), most: 10 });
  chart("chart-bytes", times, [
    history.line("payloads received", ({ receivedBytes }) => receivedBytes),
    history.line("values delivered", ({ deliveredBytes }) => deliveredBytes),
  ], { format: byteRate, most: 1000 });
  chart("chart-window", times, [history.line("fullest window", ({ window }) => window)], { format: percent, most: 1, fixed: true });
  const hops = history.hops(byId("series").value, byId("percentile").value);
  chart("chart-hops", times, hops, { format: micros, log: true, most: 1000 });
}

function draw() {
  drawVerdict();
  drawFeed();
  const { status } = page;
  if (!status) return;
  flow(status);
  drawSeries();
  drawCharts();
  for (const section of Object.values(sections)) section(status);
}

function take(status) {
  page.arrivedAt = performance.now();
  page.lost = null;
  page.advice = null;
  history.add(status);
  if (page.paused) {
    drawFeed();
    return;
  }
  page.status = status;
  // A page that nobody sees is drawn when it is seen again.
  if (!document.hidden) draw();
}

function lose(sentence, advice) {
  page.lost = sentence;
  page.advice = advice ?? {
    title: "No answer from the bridge",
    detail: page.status ? `What is shown below is of ${moment(page.status.at)}.` : "",
    whatToDo: "Check whether the process runs, and the network to it. This page tries again by itself.",
    link: "docs/operations.md#exit-codes",
  };
  drawVerdict();
  drawFeed();
}

let feed = null;

function watch() {
  page.asking = false;
  feed = new EventSource("/events");
  feed.addEventListener("message", ({ data }) => take(JSON.parse(data)));
  feed.addEventListener("error", () => {
    // While it connects again by itself there is nothing to do; a refusal ends it.
    if (feed.readyState === EventSource.CLOSED) void ask();
  });
}

// Why there is no feed: no place, no login, or no bridge.
async function ask() {
  let next = watch;
  let after = TRY_AGAIN_MS;
  try {
    const answer = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(OLD_AFTER_MS) });
    if (answer.ok) {
      page.asking = true;
      take(await answer.json());
      after = ASK_EVERY_MS;
    } else if (answer.status === 401) {
      lose("Logged out.", { title: "The login has ended", detail: "", whatToDo: "Log in again:", link: "login", href: "/login" });
      after = ASK_EVERY_MS;
    } else {
      lose(`No snapshots: the bridge answers ${answer.status}.`);
    }
  } catch {
    lose("No answer from the bridge.");
  }
  setTimeout(next, after);
}

function tick() {
  const old = page.asking ? ASK_EVERY_MS + OLD_AFTER_MS : OLD_AFTER_MS;
  if (!page.paused && page.arrivedAt && performance.now() - page.arrivedAt > old) {
    lose("No answer from the bridge.");
  }
}

byId("pause").addEventListener("click", ({ currentTarget }) => {
  page.paused = !page.paused;
  currentTarget.setAttribute("aria-pressed", String(page.paused));
  draw();
});
for (const id of ["filter", "troubled"]) {
  byId(id).addEventListener("input", () => page.status && sections.routes(page.status));
}
for (const id of ["percentile", "series"]) byId(id).addEventListener("change", () => page.status && drawCharts());
document.addEventListener("visibilitychange", () => !document.hidden && draw());
addEventListener("resize", () => page.status && drawCharts());
setInterval(tick, 1000);
watch();
