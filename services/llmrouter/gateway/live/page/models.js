// The models with how they were judged, and the state of their replicas.

import { byId, count, dollars, duration, el, keyed, share, short, words } from "./dom.js";
import { none } from "./tables.js";

const BREAKERS = {
  closed: ["good", "asked"],
  half_open: ["warning", "being tried again"],
  open: ["bad", "left alone"],
};

function replica(one) {
  const [level, said] = one.draining ? ["warning", "draining"] : (BREAKERS[one.breaker] ?? ["off", "not known"]);
  const load = `load ${share(one.load)}`;
  return el("span", { is: `dot ${level}`, role: "img", title: `${one.address}: ${said}, ${load}`, "aria-label": `${one.address} ${said}, ${load}` });
}

function judged({ judged: told }, most) {
  if (!told) return el("span", { is: "soft" }, "not weighed lately");
  const verdicts = Object.entries(told.verdicts).map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", ");
  return el("span", { is: "meter", title: verdicts },
    el("span", { is: "track" }, el("span", { is: "fill", wide: (told.score / most) * 100 })),
    el("b", {}, told.score.toFixed(3)));
}

function lately(one) {
  const [attempts, failures] = one.recent;
  const errors = Object.entries(one.errors).map(([reason, times]) => `${words(reason)} ${count(times)}`).join(", ");
  const failed = failures ? el("b", { is: "bad", title: errors }, ` ${count(failures)} failed`) : null;
  return el("span", {}, count(attempts), failed);
}

export function drawModels({ models, models_in_all: all }, shown) {
  const number = (...held) => el("td", { is: "n" }, ...held);
  const less = (...held) => el("td", { is: "n less" }, ...held);
  const found = shown(models);
  const most = Math.max(...models.map((one) => one.judged?.score ?? 0), 1e-9);
  keyed(byId("models"), found, (one) => `${one.name}@${one.version}`, (one) => {
    const more = one.endpoints_in_all - one.endpoints.length;
    const alone = one.endpoints.length > 0 && one.endpoints.every((place) => place.breaker === "open");
    const state = alone ? "left alone" : one.ready ? `${one.ready} ready` : "away";
    const level = alone ? "bad" : one.ready ? "soft" : "warning";
    return el("tr", { is: one.ready ? "" : "away" },
      el("th", { scope: "row" }, one.name, el("small", {}, one.version)),
      el("td", {}, ...one.endpoints.map(replica), el("span", { is: level }, more > 0 ? ` +${more}, ${state}` : ` ${state}`)),
      el("td", { is: "less" }, judged(one, most)),
      less(one.quality.toFixed(2)),
      number(lately(one)),
      number(one.first_token ? duration(one.first_token[0]) : "–"),
      less(one.first_token ? duration(one.first_token[1]) : "–"),
      less(one.per_second ? short(one.per_second) : "–"),
      less(`${dollars(one.prices[0])} / ${dollars(one.prices[1])}`),
      less(one.cost ? dollars(one.cost) : "–"));
  });
  none(byId("models"), found, models.length ? "none that contains it" : "no model is known: llmrouter models pull smollm2-135m-instruct");
  const left = byId("models-more");
  left.hidden = all <= models.length;
  left.textContent = `The ${models.length} busiest of ${all} models; llmrouter stats lists all.`;
}
