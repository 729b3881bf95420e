// Elements are made and changed here. What is shown may come from strangers: it is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

// State is told by a shape and a word; colour only repeats it.
const SHAPES = {
  good: "M1 9l3-3 3 3 7-8 3 3-10 11z",
  bad: "M2 4l2-2 4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4z",
  warn: "M8 1l8 14H0zM7 6v4h2V6zm0 5v2h2v-2z",
  unknown: "M2 7h12v3H2z",
};

export function byId(id) {
  return document.getElementById(id);
}

export function make(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function drawn(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function state(level, text) {
  const shape = drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  shape.append(drawn("path", { d: SHAPES[level], "fill-rule": "evenodd" }));
  return make("span", `state ${level}`, shape, make("span", "", text));
}

// A file of this project with a heading in it, as the bridge serves it.
export function documentLink(name) {
  const link = make("a", "", name.replace("#", ", ").replaceAll("-", " "));
  link.href = new URL(`/${name}`, location.origin).pathname + (name.includes("#") ? `#${name.split("#")[1]}` : "");
  return link;
}

export function meter(share, label) {
  const bar = make("span", "");
  bar.style.width = `${Math.min(100, Math.max(0, share * 100)).toFixed(1)}%`;
  const whole = make("span", "meter", bar);
  whole.setAttribute("role", "img");
  whole.setAttribute("aria-label", label);
  return whole;
}

// What is shown of something, and whether that has changed since: what has not stays untouched, so that the focus, a
// selection and a scroll position stay too.
const SHOWN = new WeakMap();

export function show(node, what, build) {
  const signature = JSON.stringify(what);
  if (SHOWN.get(node) === signature) return;
  SHOWN.set(node, signature);
  node.replaceChildren(...[build(what)].flat());
}

// Makes the children of `parent` those of `items`: each has a key, and keeps its element.
export function keep(parent, items, name, keyOf, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const times = new Map();
  let next = parent.firstElementChild;
  for (const item of items) {
    // A key that comes again is another one.
    const wanted = keyOf(item);
    const before = times.get(wanted) ?? 0;
    times.set(wanted, before + 1);
    const key = before ? `${wanted}\u0000${before}` : wanted;
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = document.createElement(name);
      child.dataset.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(child, item);
  }
  for (const gone of known.values()) gone.remove();
}

// A cell is a text, or { text, number, code, wide, state, meter, link }.
function cellContent(cell) {
  const parts = [];
  if (cell.state) parts.push(state(cell.state, cell.text));
  else if (cell.text) parts.push(make("span", cell.code ? "code" : "", cell.text));
  if (cell.more) parts.push(make("div", "quiet", cell.more));
  if (cell.meter !== undefined) parts.push(meter(cell.meter, cell.label));
  if (cell.link) parts.push(make("div", "", documentLink(cell.link)));
  return parts;
}

// Fills a table: a row for each item, and one that says `none` if there are none.
export function fill(table, items, keyOf, cellsOf, none) {
  const body = table.tBodies[0];
  const columns = table.tHead.rows[0].cells.length;
  const rows = items.length ? items : [null];
  keep(body, rows, "tr", (item) => (item === null ? "none" : `=${keyOf(item)}`), (row, item) => {
    const cells = item === null ? [{ text: none, empty: true }] : cellsOf(item);
    cells.forEach((given, at) => {
      const cell = typeof given === "string" ? { text: given } : given;
      let node = row.cells[at];
      if (!node) {
        node = document.createElement(at === 0 && !cell.empty ? "th" : "td");
        if (node.tagName === "TH") node.scope = "row";
        if (cell.empty) node.colSpan = columns;
        node.className = cell.empty ? "empty" : cell.number ? "number" : cell.wide ? "wide" : "";
        row.append(node);
      }
      show(node, cell, cellContent);
    });
  });
}
