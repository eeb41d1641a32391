// Nodes and numbers: text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Make an element. `more` has its class (`is`), its width in percent (`wide`) or attributes. */
export function el(tag, more = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(more)) {
    if (name === "is") made.className = value;
    else if (name === "wide") made.style.width = `${Math.max(0, Math.min(100, value))}%`;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Have `parent` hold one node per item, in order; nodes that stay keep their focus. */
export function keyed(parent, items, keyOf, render) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let at = 0;
  for (const item of items) {
    const key = keyOf(item);
    if (wanted.has(key)) continue;
    wanted.add(key);
    const told = JSON.stringify(item);
    let held = known.get(key);
    if (!held) {
      held = { node: render(item), told };
      known.set(key, held);
    } else if (held.told !== told) {
      const fresh = render(item);
      held.node.replaceChildren(...fresh.childNodes);
      held.node.className = fresh.className;
      held.told = told;
    }
    held.node.item = item;
    if (parent.children[at] !== held.node) parent.insertBefore(held.node, parent.children[at] ?? null);
    at += 1;
  }
  for (const [key, held] of known) {
    if (!wanted.has(key)) {
      held.node.remove();
      known.delete(key);
    }
  }
}

/** Draw values as a line over a filled area, newest at the right. */
export function sparkline(values) {
  const most = Math.max(...values, 1e-12);
  const step = 100 / Math.max(1, values.length - 1);
  const points = values.map((value, place) => `${(place * step).toFixed(2)},${(27 - (value / most) * 25).toFixed(2)}`);
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 100 28");
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("aria-hidden", "true");
  const area = document.createElementNS(SVG, "polygon");
  area.setAttribute("points", `0,28 ${points.join(" ")} 100,28`);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.join(" "));
  drawn.append(area, line);
  return drawn;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const grouped = new Intl.NumberFormat("en");

export const sum = (values) => values.reduce((all, one) => all + one, 0);
export const time = (seconds) => clock.format(new Date(seconds * 1000));
export const count = (value) => grouped.format(Math.round(value));
export const share = (value) => `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;

export function short(value) {
  if (value < 10) return value.toFixed(value === 0 ? 0 : 1);
  if (value < 1e4) return count(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(1)} k` : `${(value / 1e6).toFixed(1)} M`;
}

export function duration(seconds) {
  if (seconds < 0.00005) return "0 ms";
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function dollars(amount) {
  if (!amount) return "$0";
  if (amount < 1e-6) return "<$0.000001";
  if (amount < 0.01) return `$${amount.toFixed(6).replace(/0+$/, "")}`;
  if (amount >= 100) return `$${count(amount)}`;
  return `$${amount.toFixed(amount < 1 ? 4 : 2).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; value >= 1024 && place < units.length - 1; place += 1) value /= 1024;
  return `${value.toFixed(value < 10 && place ? 1 : 0)} ${units[place]}`;
}

/** A sentence about a model, without its name where that stands beside it. */
export const without = (name, said) => (name && said.startsWith(`${name} `) ? said.slice(name.length + 1) : said);

/** A reason of ours in words: QUEUE_FULL is "queue full". */
export const words = (reason) => reason.toLowerCase().replaceAll("_", " ");
