// The last five minutes as lines. Drawn as plain SVG, in the size that it has on the screen.

import { byId, drawn, make, setText } from "./dom.js";

export const SPAN_S = 300;
// A pause between two samples that is longer than this leaves a gap in the line.
const GAP_S = 3.5;
const LEFT = 78;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

// Round values from 0 to at least `most`.
function linearTicks(most) {
  const raw = most / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= raw) ?? raw;
  const ticks = [0];
  while (ticks[ticks.length - 1] < most) ticks.push(ticks.length * step);
  return ticks;
}

// Powers of ten around all values.
function logTicks(least, most) {
  const first = Math.floor(Math.log10(Math.max(1, least)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(1, most))));
  return Array.from({ length: last - first + 1 }, (_, at) => 10 ** (first + at));
}

// `lines`: [{ name, values: [number or null] }], as long as `times` (in seconds).
// `format` gives a value its unit. `most` bounds the axis from below, or exactly with `fixed`.
export function chart(id, times, lines, { format, log = false, most = 1, fixed = false }) {
  const figure = byId(id);
  let plot = figure.querySelector("svg.plot");
  let legend = figure.querySelector("ul.legend");
  if (!plot) {
    plot = drawn("svg", { class: "plot", role: "img" });
    legend = make("ul", "legend");
    figure.append(plot, legend);
  }
  const width = Math.max(220, figure.clientWidth);
  const height = 168;
  plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const all = lines.flatMap((line) => line.values).filter((value) => value !== null && value >= 0);
  const top = fixed ? most : Math.max(most, ...all);
  const ticks = log ? logTicks(Math.min(...all, top), top) : linearTicks(top);
  const [low, high] = [ticks[0], fixed ? most : ticks[ticks.length - 1]];
  const share = log
    ? (value) => Math.log10(Math.max(low, value) / low) / Math.log10(high / low)
    : (value) => value / high;
  const now = times.length ? times[times.length - 1] : 0;
  const x = (time) => LEFT + ((time - now + SPAN_S) / SPAN_S) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - Math.min(1, Math.max(0, share(value))) * (height - TOP - BOTTOM);

  const parts = [];
  for (const tick of ticks.filter((tick) => tick <= high)) {
    parts.push(drawn("path", { class: "grid", d: `M${LEFT} ${y(tick)}H${width - RIGHT}` }));
    parts.push(drawn("text", { class: "axis", x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  for (const [ago, text, anchor] of [[SPAN_S, "5 min ago", "start"], [SPAN_S / 2, "2.5 min ago", "middle"], [0, "now", "end"]]) {
    parts.push(drawn("text", { class: "axis", x: x(now - ago), y: height - 6, "text-anchor": anchor }, text));
  }
  lines.forEach((line, at) => {
    let path = "";
    let before = null;
    line.values.forEach((value, index) => {
      if (value === null || value === undefined) {
        before = null;
        return;
      }
      const joined = before !== null && times[index] - before <= GAP_S;
      // A sample alone is a dot.
      path += `${joined ? "L" : "M"}${x(times[index]).toFixed(1)} ${y(value).toFixed(1)}${joined ? "" : "h.5"}`;
      before = times[index];
    });
    parts.push(drawn("path", { class: `trace c${(at % 5) + 1}`, d: path || "M0 0" }));
  });
  plot.replaceChildren(...parts);

  const last = (line) => line.values[line.values.length - 1];
  const told = lines.map((line) => `${line.name} ${last(line) === null || last(line) === undefined ? "nothing" : format(last(line))}`);
  const caption = figure.querySelector("figcaption").textContent;
  plot.setAttribute("aria-label", `${caption}, last 5 minutes. Now: ${told.join(", ") || "nothing yet"}.`);
  while (legend.children.length > lines.length) legend.lastElementChild.remove();
  lines.forEach((line, at) => {
    let item = legend.children[at];
    if (!item) {
      const sample = drawn("svg", { viewBox: "0 0 32 12", "aria-hidden": "true" });
      sample.append(drawn("path", { class: `trace c${(at % 5) + 1}`, d: "M0 6H32" }));
      item = make("li", "", sample, make("span", ""));
      legend.append(item);
    }
    setText(item.lastElementChild, told[at]);
  });
}
