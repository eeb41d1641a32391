// Keeps the page up to date, and listens to keys.

import { byId, time } from "./dom.js";
import { Refused, frames, key } from "./feed.js";
import { showChoice, showRequest } from "./detail.js";
import { drawModels } from "./models.js";
import { drawSide } from "./side.js";
import { drawTables } from "./tables.js";
import { drawTiles, drawTroubles } from "./now.js";

const HIDDEN_SECONDS = 60;
const MOST_WAIT = 15;
let paused = false;
let latest = null;
let stream = null;

function draw() {
  if (!latest) return;
  const wanted = byId("find").value.trim().toLowerCase();
  const shown = (items) => (wanted ? items.filter((one) => JSON.stringify(one).toLowerCase().includes(wanted)) : items);
  drawTiles(latest);
  drawTroubles(latest.troubles);
  drawModels(latest, shown);
  drawTables(latest, shown);
  drawSide(latest);
  byId("at").textContent = time(latest.at);
  byId("main").setAttribute("aria-busy", "false");
  const bad = latest.troubles.filter((one) => one.level === "bad").length;
  document.title = bad ? `(${bad}) llmrouter` : "llmrouter";
}

function tell(state, said) {
  const shown = byId("state");
  if (shown.textContent === said && shown.dataset.state === state) return;
  shown.dataset.state = state;
  shown.textContent = said;
  document.body.dataset.state = state;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function follow() {
  let wait = 1;
  for (;;) {
    if (document.hidden && latest) await visible();
    stream = new AbortController();
    try {
      for await (const frame of frames(stream.signal)) {
        latest = frame;
        wait = 1;
        byId("forget").hidden = !key.get();
        if (!paused) {
          tell("live", "live");
          draw();
        }
      }
      tell("lost", "the gateway ended the stream; asking again");
    } catch (error) {
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
        tell("lost", "a key is needed");
        await askForKey(error.message);
        continue;
      }
      if (error instanceof Refused) {
        wait = Math.max(wait, error.wait);
        tell("lost", error.message);
      } else {
        tell("lost", "the gateway does not answer; asking again");
      }
    }
    await pause(wait);
    wait = Math.min(wait * 2, MOST_WAIT);
  }
}

function visible() {
  tell("lost", "asleep while nobody looks");
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
  });
}

function askForKey(why) {
  const door = byId("door");
  byId("door-why").textContent = key.get() ? `That key does not do: ${why}.` : "This gateway shows what it does to those who bring a key.";
  key.forget();
  byId("forget").hidden = true;
  if (!door.open) door.showModal();
  byId("key").focus();
  return new Promise((done) => {
    byId("door-form").onsubmit = (event) => {
      event.preventDefault();
      const given = byId("key").value.trim();
      if (!given) return;
      key.set(given);
      byId("key").value = "";
      door.close();
      done();
    };
  });
}

function togglePause() {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) tell("paused", "paused");
  else draw();
}

function nextTheme() {
  const root = document.documentElement;
  const next = { undefined: "dark", dark: "light", light: undefined }[root.dataset.theme];
  if (next) {
    root.dataset.theme = next;
    localStorage.setItem("llmrouter.theme", next);
  } else {
    delete root.dataset.theme;
    localStorage.removeItem("llmrouter.theme");
  }
  byId("theme").textContent = next ? `Theme: ${next}` : "Theme";
}

function open(row) {
  if (row.parentElement.id === "requests") showRequest(row.item);
  else showChoice(row.item.plan);
}

function move(by) {
  const rows = [...document.querySelectorAll("tbody.open tr[tabindex]")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))].focus();
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => byId("find").focus(),
  p: togglePause,
  t: nextTheme,
  "?": () => byId("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (event.key === "Escape" && at === byId("find")) {
    at.value = "";
    at.blur();
    draw();
  }
  if (at.matches("input") || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && at.matches("tbody.open tr")) {
    event.preventDefault(); // else the same press would close what it opened
    open(at);
  }
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

for (const body of document.querySelectorAll("tbody.open")) {
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) open(row);
  });
}
for (const shown of document.querySelectorAll("dialog")) {
  shown.addEventListener("click", (event) => {
    const away = event.target === shown && shown.id !== "door";
    if (away || event.target.closest("button.close")) shown.close();
  });
}
byId("door").addEventListener("cancel", (event) => event.preventDefault());
byId("find").addEventListener("input", draw);
byId("pause").addEventListener("click", togglePause);
byId("theme").addEventListener("click", nextTheme);
byId("keys").addEventListener("click", keys["?"]);
byId("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});
if (document.documentElement.dataset.theme) byId("theme").textContent = `Theme: ${document.documentElement.dataset.theme}`;

let asleep;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) asleep = setTimeout(() => stream?.abort(), HIDDEN_SECONDS * 1000);
});

follow();
