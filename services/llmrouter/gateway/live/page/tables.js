// The newest requests and choices, each a row that opens.

import { byId, count, dollars, duration, el, keyed, sum, time, without, words } from "./dom.js";

const SPARED = { hit: "cached", joined: "joined", stale: "stale", similar: "similar" };

export function outcome(one) {
  if (one.outcome !== "OK") return el("span", { is: `pill ${one.refused ? "" : "bad"}` }, words(one.outcome));
  if (SPARED[one.cache]) return el("span", { is: "pill cached" }, SPARED[one.cache]);
  const again = one.attempts > 1 ? `answered, try ${one.attempts}` : "answered";
  return el("span", { is: `pill ${one.attempts > 1 ? "warning" : "good"}` }, again);
}

/** Where the time of a request went: waiting, reading, writing, and all else. */
export function parts(one) {
  const told = one.outcome === "OK" && !SPARED[one.cache] ? one.times : null;
  const [queue, prefill, decode] = told ?? [0, 0, 0];
  const other = Math.max(0, one.seconds - sum([queue, prefill, decode]));
  return [["queue", queue], ["prefill", prefill], ["decode", decode], ["other", other]];
}

export function timeBar(one, most) {
  const all = Math.max(one.seconds, 1e-9);
  const told = parts(one).map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ");
  return el("span", { is: "bar", title: told, wide: Math.sqrt(all / most) * 100 },
    ...parts(one).filter(([, seconds]) => seconds > 0).map(([name, seconds]) => el("span", { is: `part ${name}`, wide: (seconds / all) * 100 })));
}

function request(one, most) {
  const [read, written] = one.tokens;
  return el("tr", { tabindex: 0, "aria-haspopup": "dialog" },
    el("td", { is: "clock" }, time(one.at)),
    el("td", { is: "model" }, one.model || el("span", { is: "soft" }, "nobody"), el("small", {}, one.model || !one.asked ? "" : ` for ${one.asked}`), el("small", {}, one.tenant === "default" ? "" : one.tenant)),
    el("td", {}, outcome(one)),
    el("td", { is: "why", title: one.reason }, without(one.model || one.asked, one.reason) || "–"),
    el("td", { is: "n less" }, read || written ? `${count(read)} + ${count(written)}` : "–"),
    el("td", { is: "n less" }, one.cost ? dollars(one.cost) : "–"),
    el("td", { is: "time" }, el("span", { is: "timing" }, el("span", { is: "took" }, duration(one.seconds)), timeBar(one, most))));
}

function choice(one) {
  const results = one.outcomes.length
    ? one.outcomes.map((reason) => el("span", { is: `pill ${reason ? "bad" : "good"}` }, reason ? words(reason) : "answered"))
    : [el("span", { is: "soft" }, "nothing yet, or cached")];
  return el("tr", { tabindex: 0, "aria-haspopup": "dialog" },
    el("td", { is: "clock" }, time(one.at)),
    el("td", { is: "model" }, one.model || "nobody", el("small", {}, one.strategy)),
    el("td", {}, ...results),
    el("td", { is: "why", title: one.reason }, without(one.model, one.reason)),
    el("td", { is: "n less" }, one.score.toFixed(3)),
    el("td", { is: "n less" }, `${Math.max(0, one.candidates - 1)}${one.excluded ? `, ${one.excluded} out` : ""}`));
}

export function none(body, items, said) {
  const columns = body.parentElement.tHead.rows[0].cells.length;
  if (items.length) body.querySelector("tr.none")?.remove();
  else if (!body.querySelector("tr.none")) body.append(el("tr", { is: "none" }, el("td", { colspan: columns }, said)));
}

export function drawTables({ requests, choices }, shown) {
  const asked = shown(requests);
  const most = Math.max(...requests.map((one) => one.seconds), 1e-9);
  // Bars are on one scale: a longer request than all before draws the others anew.
  const scale = 2 ** Math.ceil(Math.log2(most));
  const rows = byId("requests");
  if (rows.scale !== scale) {
    rows.scale = scale;
    rows.known?.forEach((held) => (held.told = ""));
  }
  keyed(rows, asked, (one) => `${one.id} ${one.at}`, (one) => request(one, scale));
  none(rows, asked, requests.length ? "none that contains it" : "nobody has asked this gateway yet: llmrouter generate \"Hello\"");
  const chosen = shown(choices);
  keyed(byId("choices"), chosen, (one) => one.plan, choice);
  none(byId("choices"), chosen, choices.length ? "none that contains it" : "nothing was chosen yet");
}
