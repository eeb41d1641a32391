// Why a request was answered so: where its time went, how every model was judged, who was tried.

import { byId, count, dollars, duration, el, time, words } from "./dom.js";
import { ask } from "./feed.js";
import { outcome, parts, timeBar } from "./tables.js";

const NAMES = { queue: "waiting for a slot", prefill: "reading the prompt", decode: "writing the answer", other: "elsewhere" };
const HUES = ["c1", "c2", "c3", "c4", "c5", "c6"];

function facts(told) {
  return el("dl", { is: "facts" }, ...Object.entries(told).filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function show(name, ...held) {
  byId("detail-name").textContent = name;
  byId("detail-body").replaceChildren(...held);
  const shown = byId("detail");
  if (!shown.open) shown.showModal();
  shown.scrollTop = 0;
}

export function showRequest(one) {
  const [read, written] = one.tokens;
  const went = parts(one).filter(([, seconds]) => seconds > 0);
  const choice = el("div", { is: "choice" }, el("p", { is: "soft" }, one.plan ? "asking the selector…" : unchosen(one)));
  show(`Request ${one.id}`,
    facts({
      "Answered by": one.model ? `${one.model} @ ${one.version}` : "nobody",
      "Asked for": one.asked === one.model ? "" : one.asked,
      "Outcome": outcome(one),
      "At": time(one.at),
      "Tenant": one.tenant,
      "Cost": one.cost === null ? "" : dollars(one.cost),
      "Tokens": read || written ? `${count(read)} read, ${count(written)} written` : "",
      "First token": one.first_token === null ? "" : duration(one.first_token),
      "Tries": one.attempts ? String(one.attempts) : "",
    }),
    el("h3", {}, `Where ${duration(one.seconds)} went`),
    timeBar(one, one.seconds),
    el("ul", { is: "went" }, ...went.map(([name, seconds]) => el("li", {}, el("i", { is: `part ${name}` }), NAMES[name], el("b", {}, duration(seconds))))),
    choice);
  if (one.plan) fill(choice, one.plan);
}

function unchosen(one) {
  if (one.outcome === "OK") return "No choice was made for it.";
  const refused = one.refused && one.outcome !== "CANCELLED"; // who gives up is not refused
  return `It ${refused ? "was refused" : "ended"} before a choice was made.`;
}

export function showChoice(plan) {
  const choice = el("div", { is: "choice" }, el("p", { is: "soft" }, "asking the selector…"));
  show(`Choice ${plan}`, choice);
  fill(choice, plan);
}

async function fill(place, id) {
  try {
    const answer = await ask(`live/choices/${encodeURIComponent(id)}`);
    const { plan, record } = await answer.json();
    place.replaceChildren(...explained(plan, JSON.parse(record)));
  } catch (error) {
    place.replaceChildren(el("p", { is: "soft" }, `It cannot be explained any more: ${error.message}.`));
  }
}

function explained(plan, record) {
  const names = [...new Set(plan.candidates.flatMap((one) => one.components.map((part) => part.name)))];
  const hue = (name) => HUES[names.indexOf(name) % HUES.length];
  const most = Math.max(...plan.candidates.map((one) => one.score), 1e-9);
  return [
    el("h3", {}, "Why"),
    el("p", { is: "reason" }, plan.reason),
    el("p", { is: "more" }, `by the strategy ${plan.strategy}, at ${time(record.at)}; plan ${plan.id}`),
    el("h3", {}, "What came of it"),
    outcomes(record.outcomes),
    el("h3", {}, "How they were judged"),
    el("ol", { is: "candidates" }, ...plan.candidates.map((one) => candidate(one, hue, most))),
    plan.exclusions.length ? el("h3", {}, "Who could not answer") : null,
    plan.exclusions.length ? el("ul", { is: "excluded" }, ...plan.exclusions.map((one) => el("li", {}, el("b", {}, one.model), ` ${one.reason}`))) : null,
  ].filter(Boolean);
}

function outcomes(tried) {
  if (!tried.length) return el("p", { is: "soft" }, "Nothing was reported: it is running still, came from the cache, or nobody was tried.");
  return el("ol", { is: "tried" }, ...tried.map((one) => {
    const first = one.time_to_first_token === null ? "" : `, first token after ${duration(one.time_to_first_token)}`;
    const said = one.error_reason ? words(one.error_reason) : "answered";
    return el("li", {}, el("b", {}, one.model), ` at ${one.address} `, el("span", { is: `pill ${one.error_reason ? "bad" : "good"}` }, said), `${first}, ${dollars(one.cost)}`);
  }));
}

function candidate(one, hue, most) {
  const weighed = one.components.filter((part) => part.weight > 0);
  return el("li", {},
    el("p", { is: "head" }, el("b", {}, one.model, el("small", {}, one.version)), el("span", {}, one.away || `${one.score.toFixed(3)} · about ${dollars(one.estimated_cost)}`)),
    el("span", { is: "bar score", wide: (one.score / most) * 100 }, ...weighed.map((part) => el("span", { is: `part ${hue(part.name)}`, wide: ((part.value * part.weight) / Math.max(one.score, 1e-9)) * 100 }))),
    el("ul", { is: "verdicts" }, ...one.components.map((part) => el("li", {}, el("i", { is: `part ${hue(part.name)}` }), el("b", {}, `${part.name} ${part.value.toFixed(2)}`), el("span", {}, ` × ${part.weight.toFixed(2)} `), el("span", { is: "soft" }, part.explanation)))));
}
