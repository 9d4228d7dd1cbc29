// Plays hits from the place that matched and crosses over to the next one. One audio element fades out while the other
// fades in. Events on `player`: "change" (what is playing, or paused) and "time".

import { api, byId, button, clock, facts, h, once, refill, say, title, toast } from "./base.js";
import { wave } from "./wave.js";

const FADE_S = 2.5; // time of the crossing
const LEAST_S = 12; // a matched place is played for at least so long

export const player = new EventTarget();
const decks = [new Audio(), new Audio()];
let live = 0, queue = [], index = -1, isCrossing = false, view = null, fading = 0;
let isWalking = localStorage.getItem("solfa-walk") === "yes";
decks.forEach((deck, number) => {
  deck.preload = "auto";
  for (const name of ["play", "pause", "timeupdate", "ended", "error"]) {
    deck.addEventListener(name, () => number === live && report(name, deck));
  }
});

for (const [name, act] of [["previoustrack", () => skip(-1)], ["nexttrack", () => skip(1)]]) navigator.mediaSession?.setActionHandler(name, act);

/** {item, time_s, isPaused} of what is on; null where nothing is. An item is {id, start_s, end_s, duration_s, tags, path}. */
export function playing() {
  const item = queue[index];
  return item ? { item, time_s: decks[live].currentTime, isPaused: decks[live].paused } : null;
}

/** Play an item of a queue from a second; the place that matched where none is given. */
export function play(items, number, from_s = null) {
  const item = items[number];
  if (!item) return;
  const isSame = queue[index]?.id === item.id && !decks[live].error;
  [queue, index] = [items, number];
  if (isSame) decks[live].currentTime = from_s ?? item.start_s;
  else start(item, from_s ?? item.start_s);
  void decks[live].play().catch(() => {});
  draw();
}

function start(item, from_s) {
  const old = decks[live], isRunning = !old.paused && !old.ended;
  live = 1 - live;
  const deck = decks[live];
  deck.src = `/api/v1/tracks/${item.id}/audio`;
  deck.volume = 1;
  // Some files tell their length only after a while: the place is set when the first of them is there.
  deck.onloadedmetadata = () => { deck.currentTime = from_s; };
  clearInterval(fading);
  if (!isRunning || !isCrossing) { old.pause(); isCrossing = false; return; }
  let left = FADE_S;
  deck.volume = 0;
  fading = setInterval(() => {
    left -= 0.05;
    const share = Math.max(0, left / FADE_S); // equal power: the sum of squares stays the same
    [old.volume, deck.volume] = [Math.sin((share * Math.PI) / 2), Math.cos((share * Math.PI) / 2)];
    if (left <= 0) { clearInterval(fading); old.pause(); isCrossing = false; }
  }, 50);
}

export function toggle() {
  if (index < 0) return false;
  if (decks[live].paused) void decks[live].play().catch(() => {});
  else { clearInterval(fading); decks[1 - live].pause(); decks[live].volume = 1; isCrossing = false; decks[live].pause(); }
  return true;
}
export const seek = (step_s) => { if (index >= 0) decks[live].currentTime = Math.max(0, decks[live].currentTime + step_s); };
export const skip = (step) => play(queue, index + step);

function report(name, deck) {
  const item = queue[index];
  if (!item) return;
  if (name === "error") {
    api(`/tracks/${item.id}/audio`, { raw: true }).then((answer) => { // why: the element does not say
      void answer.body.cancel();
      toast(`${title(item)} cannot be played in this browser.`);
    }, (problem) => toast(`${title(item)}: ${problem.message}`));
    if (isWalking && index + 1 < queue.length) skip(1);
  } else if (name === "ended") {
    if (index + 1 < queue.length) skip(1);
  } else if (name === "timeupdate") {
    const end_s = isWalking ? Math.max(item.end_s, item.start_s + LEAST_S) : Infinity;
    const isPast = deck.currentTime >= Math.min(end_s, item.duration_s - FADE_S) && deck.currentTime < end_s + 1;
    if (isPast && !isCrossing && !deck.paused && index + 1 < queue.length) { isCrossing = true; skip(1); }
    view?.line.move(deck.currentTime);
    if (view) view.time.textContent = `${clock(deck.currentTime)} / ${clock(item.duration_s)}`;
    player.dispatchEvent(new Event("time"));
    return;
  }
  if (name === "play" && "mediaSession" in navigator) navigator.mediaSession.metadata = new MediaMetadata({ title: title(item), artist: item.tags?.artist ?? "" });
  if (name === "play") say(`Playing ${title(item)} from ${clock(deck.currentTime || item.start_s)}`);
  draw();
  player.dispatchEvent(new Event("change"));
}

/** The bar at the foot of the page: made for each track, then only its button changes. */
function draw() {
  const item = queue[index], box = byId("player"), isPaused = decks[live].paused;
  if (view?.item !== item) {
    const line = wave({ label: `Position in ${title(item)}`, duration_s: item.duration_s, span: item.end_s - item.start_s < item.duration_s ? [item.start_s, item.end_s] : null, onplay: (s) => play(queue, index, s) });
    const time = h("span.time", {}, clock(item.start_s));
    const main = button("play", "Play", toggle, { key: "Space" });
    main.classList.add("main");
    const walk = h("button.pill", { type: "button", "aria-pressed": String(isWalking), title: "Play only the matched places, crossing from one to the next", onclick: () => {
      isWalking = !isWalking;
      localStorage.setItem("solfa-walk", isWalking ? "yes" : "no");
      walk.setAttribute("aria-pressed", String(isWalking));
    } }, "Matches only");
    const known = h("span.facts");
    view = { item, line, time, main };
    refill(box,
      h("div.controls", {}, button("previous", "Previous", () => skip(-1), { disabled: index === 0 }), main,
        button("next", "Next", () => skip(1), { key: "n", disabled: index + 1 >= queue.length })),
      h("div.what", {}, h("a", { href: `#/track/${item.id}` }, title(item)), h("span.by", {}, item.tags?.artist ?? ""), known),
      line.element, time, walk);
    once(`/tracks/${item.id}/waveform?peaks=false`).then((found) => { line.show(found); known.textContent = facts(found).join(" · "); }, () => {});
    box.hidden = false;
    document.body.classList.add("playing");
  }
  view.main.replaceChildren(h("svg", { "aria-hidden": "true" }, h("use", { href: isPaused ? "#i-play" : "#i-pause" })));
  view.main.setAttribute("aria-label", isPaused ? "Play" : "Pause");
}

/** Say that a track was a good or bad answer to what was asked: {query, context}. */
export async function judge(item, sought, verdict) {
  await api("/feedback", { method: "POST", body: { ...sought, track: String(item.id), verdict } });
  say(`${title(item)} marked as ${verdict}`);
}
