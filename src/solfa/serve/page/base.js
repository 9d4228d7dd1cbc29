// Elements, words for numbers, and the one way to talk to the server. Text from the server is only ever text content.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p.note", {title: "x", onclick: f}, "text", child). Null children and attributes are left out. */
export function h(kind, attributes = {}, ...children) {
  const [name, ...classes] = kind.split(".");
  const isDrawn = ["svg", "path", "g", "text", "use", "circle", "rect"].includes(name);
  const made = isDrawn ? document.createElementNS(SVG, name) : document.createElement(name);
  if (classes.length) made.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, v] of Object.entries(value)) made.style.setProperty(property, v);
    else if (key in made && !isDrawn && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const icon = (name) => h("svg", { "aria-hidden": "true" }, h("use", { href: `#i-${name}` }));

/** A round button with an icon and a name for screen readers; `key` is its shortcut. */
export function button(name, label, onclick, more = {}) {
  const { key, ...rest } = more;
  const title = key ? `${label} (${key})` : label;
  return h("button.icon", { type: "button", "aria-label": label, title, "aria-keyshortcuts": key, onclick, ...rest }, icon(name));
}

export const byId = (id) => document.getElementById(id);

/** Give an element other children; the focus stays on what has the same name or place among them. */
export function refill(box, ...children) {
  const all = () => [...box.querySelectorAll("button:enabled, a, input")], on = document.activeElement, at = all().indexOf(on);
  box.replaceChildren(...children);
  if (at >= 0) (all().find((one) => one.ariaLabel && one.ariaLabel === on.ariaLabel) ?? all()[at] ?? all().at(-1) ?? byId("view")).focus();
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes) + `:${String(rest).padStart(2, "0")}`;
}
export const percent = (share) => `${Math.round(share * 100)}\u202f%`;
export const count = (n, one, many = one + "s") => `${n < 1000 ? n : n.toLocaleString()} ${n === 1 ? one : many}`; // the latter takes 30 ms at first
export const title = (track) => track.tags?.title || (track.path ?? track.paths?.[0] ?? "").split(/[/\\]/).pop().replace(/\.\w+$/, "") || "untitled";
/** "Db major" with the sign for flats that musicians use. */
export const spelled = (key) => key.replace("#", "♯").replace(/^([A-G])b/, "$1♭");
/** "80 BPM", "A minor", "4/4": what is known at a glance. */
export const facts = (track) => [track.tempo_bpm && `${Math.round(track.tempo_bpm)} BPM`, track.key && spelled(track.key), track.metre].filter(Boolean);

/** Said to screen readers. */
export const say = (text) => { byId("say").textContent = text; };

let hiding;
/** Shown for some seconds, and said. */
export function toast(text) {
  const box = byId("toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.classList.remove("shown"); box.textContent = ""; }, 6000);
}

// --- keys and chords --------------------------------------------------------------------------------------------------
const LETTERS = { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 };
/** Place on the circle of fifths (0..11 from C major up) and whether minor, of "F# minor" or "F#:min7"; null of "N". */
export function fifths(label) {
  const match = /^([A-G])([#b]*)[: ]?(.*)$/.exec(label ?? "");
  if (!match) return null;
  const shift = [...match[2]].reduce((sum, sign) => sum + (sign === "#" ? 1 : -1), 0);
  const tonic = (LETTERS[match[1]] + shift + 12) % 12;
  const isMinor = /^(min|dim|hdim)/.test(match[3]);
  return { place: (7 * (isMinor ? tonic + 3 : tonic)) % 12, isMinor };
}
/** "A:min7/b3" as musicians write it: "Am7". */
export function chordName(label) {
  const [root, rest = ""] = label.split("/")[0].split(":");
  const short = { maj: "", min: "m", maj7: "maj7", min7: "m7", minmaj7: "m(maj7)", hdim7: "ø", dim: "°", dim7: "°7", aug: "+", maj6: "6", min6: "m6", min9: "m9", 5: "5" };
  return root === "N" || root === "X" ? "–" : root.replace("#", "♯").replace("b", "♭") + (short[rest] ?? rest);
}

// --- the server -------------------------------------------------------------------------------------------------------

/** A call to /api/v1: JSON in and out. Throws an Error with the server's own words. */
export async function api(path, { method = "GET", body, signal, raw = false } = {}) {
  const isFile = body instanceof Blob, headers = body ? { "Content-Type": isFile ? "application/octet-stream" : "application/json" } : {};
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, { method, headers, signal, body: body && !isFile ? JSON.stringify(body) : body });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `solfa serve` running?");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    const busy = answer.status === 429 ? "The server is busy. Try again in a moment." : null;
    throw new Error(busy ?? String(problem.detail ?? problem.title ?? `Error ${answer.status}`));
  }
  return raw ? answer : answer.status === 204 ? null : answer.json();
}

/** "?a=1&b=2&b=3" of an object; empty values are left out. */
export function parameters(values) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) made.append(name, one);
  }
  return made.size ? `?${made}` : "";
}

const kept = new Map();
/** The answer of a GET that does not change while the page is open. A call that failed is made again next time. */
export function once(path) {
  if (!kept.has(path)) kept.set(path, api(path).catch((error) => { kept.delete(path); throw error; }));
  return kept.get(path);
}
export const forget = () => kept.clear();
