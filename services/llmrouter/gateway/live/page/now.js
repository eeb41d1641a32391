// The tiles of the last minutes, and what is failing.

import { byId, count, dollars, duration, el, keyed, share, short, sparkline, sum } from "./dom.js";

const MINUTE = 60;

export function drawTiles({ traffic, engines }) {
  const lately = (values) => sum(values.slice(-MINUTE / traffic.step));
  const [asked, failed, refused] = [traffic.requests, traffic.failed, traffic.refused].map(lately);
  const all = sum(traffic.requests);
  const spared = sum(traffic.spared);
  const cost = sum(traffic.cost);
  const rate = sum(engines.map((one) => one.per_second ?? 0));
  const running = sum(engines.map((one) => one.running));
  const first = traffic.first_token;
  const span = (traffic.requests.length * traffic.step) / 3600;
  const tiles = [
    {
      name: "Requests",
      value: asked >= 120 ? short(asked / MINUTE) : count(asked),
      unit: asked >= 120 ? "/s" : "last minute",
      more: `${count(all)} in five minutes`,
      line: traffic.requests,
    },
    {
      name: "Failed",
      value: asked ? share(failed / asked) : "0 %",
      unit: `${count(failed)} of ${count(asked)}`,
      more: refused ? `${count(refused)} refused by rule` : "none refused by rule",
      line: traffic.failed,
      state: failed ? "bad" : "",
    },
    {
      name: "First token",
      value: first ? duration(first[0]) : "–",
      unit: first ? "median" : "",
      more: first ? `95 % within ${duration(first[1])}` : "nothing generated yet",
    },
    {
      name: "Tokens",
      value: short(rate),
      unit: "/s",
      more: running ? `${count(running)} running` : "engines idle",
      line: traffic.tokens,
    },
    {
      name: "From cache",
      value: all ? share(spared / all) : "–",
      unit: all ? `${count(spared)} of ${count(all)}` : "",
      more: "in five minutes",
      line: traffic.spared,
    },
    {
      name: "Cost",
      value: dollars(cost / span),
      unit: "/h",
      more: `${dollars(cost)} in five minutes`,
      line: traffic.cost,
    },
  ];
  keyed(byId("tiles"), tiles, (one) => one.name, (one) =>
    el("article", { is: `tile ${one.state ?? ""}` },
      el("h2", {}, one.name),
      el("p", { is: "value" }, one.value, el("small", {}, ` ${one.unit}`)),
      el("p", { is: "more" }, one.more),
      // The last step goes on still: it would always look like a fall.
      one.line ? sparkline(one.line.slice(0, -1)) : null));
}

const SIGNS = { bad: "✕", warning: "!", note: "i" };
const SAID = { bad: "failing", warning: "warning", note: "to know" };

export function drawTroubles(troubles) {
  const found = troubles.some((one) => one.level !== "note");
  byId("troubles").dataset.level = troubles[0]?.level ?? "none";
  byId("troubles-name").textContent = found ? "Failing now" : "Nothing is failing";
  keyed(byId("troubles-list"), troubles, (one) => one.level + one.what.replace(/\d[\d.,]*/g, "#"), (one) =>
    el("li", { is: one.level },
      el("span", { is: "sign", role: "img", "aria-label": SAID[one.level] }, SIGNS[one.level]),
      el("span", { is: "what" }, one.what),
      el("span", { is: "done" }, one.done)));
}
