// Engines, memory, cache, cost and rollouts.

import { byId, bytes, count, dollars, duration, el, keyed, share, short } from "./dom.js";

const PRESSURES = { none: "good", warning: "warning", critical: "bad", emergency: "bad" };
const ROLLOUTS = { running: "good", paused: "warning", completed: "good", rolled_back: "bad", aborted: "bad" };

const meter = (part, level = "") => el("span", { is: "track" }, el("span", { is: `fill ${level}`, wide: part * 100 }));
const item = (name, side, drawn, more) => el("li", {}, el("p", { is: "head" }, el("b", {}, name), el("span", {}, side)), drawn, el("p", { is: "more" }, more));

function engine(one, where) {
  if (one.state !== "ready") return item(one.model, el("span", { is: one.state === "failed" ? "bad" : "warning" }, one.state), null, one.error || one.node);
  const rate = one.per_second === null ? "" : `${short(one.per_second)} tokens/s`;
  const waiting = one.waiting ? `${count(one.waiting)} wait, about ${duration(one.wait)}` : "nobody waits";
  const reused = one.reused === null ? "" : `, ${share(one.reused)} of prompts known`;
  if (!one.slots) return item(one.model, rate, null, "asked elsewhere");
  return item(one.model, rate, meter(one.running / one.slots, one.waiting ? "warning" : ""),
    `${one.running} of ${one.slots} slots, ${waiting}; ${bytes(one.cache)}${reused}${where(one)}`);
}

function node(one) {
  const full = one.limit ? one.used / one.limit : 0;
  return item(`Memory of ${one.address}`, el("span", { is: PRESSURES[one.pressure] }, one.pressure === "none" ? "enough" : one.pressure),
    meter(full, PRESSURES[one.pressure] === "good" ? "" : PRESSURES[one.pressure]),
    `${bytes(one.used)} of ${bytes(one.limit)}, models ${bytes(one.models)}; cores ${share(one.cpu)}`);
}

function level(one) {
  const asked = one.hits + one.misses;
  const gone = one.evictions ? `, ${count(one.evictions)} made room` : "";
  return item(one.level, asked ? `${share(one.hits / asked)} found` : "not asked yet", meter(asked ? one.hits / asked : 0),
    `${count(one.entries)} answers, ${bytes(one.bytes)} of ${bytes(one.limit)}${gone}`);
}

function limit(one) {
  const level = one.share >= 1 ? "bad" : one.share >= 0.8 ? "warning" : "";
  return item(one.rule, el("span", { is: level }, share(one.share)), meter(one.share, level), `${one.limit.replaceAll("_", " ")}, ${one.subject}`);
}

function rollout(one) {
  const samples = one.samples.map(([attempts, failures], place) => `${place ? "new" : "old"} ${count(attempts)} asked, ${count(failures)} failed`);
  const stage = one.stage < 0 ? "shadows" : `stage ${one.stage + 1} of ${one.stages.length} for ${duration(one.in_stage)}`;
  return item(one.model, el("span", { is: ROLLOUTS[one.state] ?? "" }, one.state.replace("_", " ")),
    meter(one.share, ROLLOUTS[one.state] === "good" ? "" : ROLLOUTS[one.state]),
    one.reason || `${one.old} → ${one.new} at ${share(one.share)}, ${stage}; ${samples.join("; ")}`);
}

function empty(id, items, said) {
  const list = byId(id);
  let told = list.nextElementSibling;
  if (!told?.matches(".none")) list.after((told = el("p", { is: "none more" }, said)));
  told.hidden = items.length > 0;
}

export function drawSide({ engines, nodes, cache, costs, limits, rollouts }) {
  const where = (one) => (nodes.length > 1 ? `; at ${one.node}` : "");
  keyed(byId("engines"), engines, (one) => `${one.node} ${one.model} ${one.version} ${one.state}`, (one) => engine(one, where));
  empty("engines", engines, "no model is loaded");
  keyed(byId("nodes"), nodes, (one) => one.address, node);
  keyed(byId("levels"), cache.levels, (one) => one.level, level);
  empty("levels", cache.levels, "the cache tells nothing");
  const { requests, tokens, cost, seconds } = cache.saved;
  byId("saved").textContent = requests ? `Spared so far: ${count(requests)} generations, ${count(tokens)} tokens, ${dollars(cost)}, ${duration(seconds)}` : "";
  for (const [kind, rows] of Object.entries(costs)) {
    const most = Math.max(...rows.map((one) => one.spent), 1e-12);
    const id = `costs-${kind}`;
    keyed(byId(id), rows, (one) => one.name, (one) => item(one.name, dollars(one.spent), meter(one.spent / most), `${count(one.attempts)} paid, ${short(one.tokens)} tokens, estimated ${dollars(one.estimated)}`));
    empty(id, rows, "nothing yet");
  }
  keyed(byId("limits"), limits, (one) => `${one.rule} ${one.limit}`, limit);
  empty("limits", limits, "none is used");
  keyed(byId("rollouts"), rollouts, (one) => one.model, rollout);
  empty("rollouts", rollouts, "none; llmrouter rollout start begins one");
}
