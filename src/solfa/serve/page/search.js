// The box, how the text was read, and the hits. What is asked is in the address, so that it can be kept and shared.

import { api, button, clock, count, h, icon, once, parameters, refill, say, title, toast } from "./base.js";
import { filters, filterWords } from "./filters.js";
import { fill } from "./hit.js";

const EXAMPLES = ["slow waltz in D minor, no vocals", "house around 125 bpm with synthesizer", "dreamy piano, quiet at the end",
  "Am-F-C-G, female voice", "epic orchestral, strings and brass"];
const NONE = { q: "", not: [], drop: [], like: [], where: {}, for: "" };
const names = new Map(); // of examples, by reference

let asked = { ...NONE }, running = null, waiting = 0, cursor = null, isSettled = true, isOverviewed = false;
const box = h("textarea", { id: "q", name: "q", rows: 1, maxlength: 2000, placeholder: "Describe the music", "aria-label": "Describe the music", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", enterkeyhint: "search" });
const context = h("input", { type: "text", id: "context", maxlength: 1000, placeholder: "a spy chase, late-night reading", "aria-label": "What the music is for" });
const file = h("input", { type: "file", accept: "audio/*,video/webm", hidden: true });
const chips = h("ul.chips", { "aria-label": "How the text was read" }), notes = h("div.notes");
const summary = h("h2.summary", { tabindex: -1 }), trouble = h("p.trouble", { role: "alert", hidden: true });
const list = h("ol.hits", { "aria-label": "Hits" });
const more = h("button.pill.more", { type: "button", hidden: true, onclick: () => ask({ isMore: true }) }, "Show more");
const side = filters((field, value) => change({ where: withFilter(field, value) }));
const open = h("button.pill", { type: "button", "aria-expanded": "false", "aria-controls": "filters", onclick: () => {
  const isOpen = searchPage.classList.toggle("filtering");
  open.setAttribute("aria-expanded", String(isOpen));
} }, icon("filter"), "Filters");
const hello = h("p.hello"), trials = h("ul.trials", { "aria-label": "Examples" }, EXAMPLES.map((text) => h("li", {}, h("button.pill", { type: "button", onclick: () => change({ ...NONE, q: text }) }, text))));
const form = h("form.ask", { role: "search", onsubmit: (event) => { event.preventDefault(); typed(true); } },
  icon("search"), box, file, button("sound", "Search by a sound file", () => file.click()), h("button.go", { type: "submit" }, "Search"));
export const searchPage = h("div.search", {},
  h("div.hero", {}, h("h1", {}, "Find music in words."), hello), form, chips, notes, trials,
  h("div.columns", {},
    h("aside.filters", { id: "filters", "aria-label": "Filters" }, side.element, h("fieldset", {}, h("legend", {}, "For"), context)),
    h("section.results", { "aria-label": "Results" }, h("div.heading", {}, summary, open), trouble, list, more)));

function withFilter(field, value) {
  const { [field]: _, ...rest } = asked.where;
  return value ? { ...rest, [field]: value } : rest;
}

const isAsked = (what) => Boolean(what.q.trim() || what.like.length || what.not.length || Object.keys(what.where).length || what.for);
const whereList = (where) => Object.entries(where).map(([field, value]) => `${field}=${value}`);
const address = (what) => `#/${parameters({ q: what.q.trim(), not: what.not, drop: what.drop, like: what.like, where: whereList(what.where), for: what.for })}`;

/**
 * Ask for something else: what is not named stays. Words that are no longer in the text are no longer dropped.
 * What is being typed (not `isKept`) takes one place in the history, however many searches it makes.
 */
export function change(changes, isKept = true) {
  const next = { ...asked, ...changes }, text = next.q.toLowerCase();
  next.drop = next.drop.filter((words) => text.includes(words.toLowerCase()));
  const to = address(next), isNew = isKept || isSettled;
  isSettled = isKept;
  if (to === location.hash) return ask();
  if (isNew) location.hash = to;
  else { history.replaceState(null, "", to); read(to); }
}

function typed(isKept) {
  clearTimeout(waiting);
  if (box.value.trim() !== asked.q || context.value.trim() !== asked.for || isKept) change({ q: box.value.trim(), for: context.value.trim() }, isKept);
}

/** Take what is asked from the address. */
export function read(hash) {
  const found = new URLSearchParams(hash.split("?")[1] ?? "");
  const where = Object.fromEntries(found.getAll("where").map((text) => [text.split("=")[0], text.slice(text.indexOf("=") + 1)]));
  const before = address(asked);
  asked = { q: found.get("q") ?? "", not: found.getAll("not"), drop: found.getAll("drop"), like: found.getAll("like"), where, for: found.get("for") ?? "" };
  if (box.value.trim() !== asked.q) box.value = asked.q;
  context.value = asked.for;
  side.show(where);
  if (before !== address(asked) || !isAsked(asked)) ask();
}

/** Send the search; an older one that is still running is given up. */
async function ask({ isMore = false } = {}) {
  running?.abort();
  const mine = (running = new AbortController()), isExample = trials.contains(document.activeElement); // which goes away
  searchPage.classList.toggle("start", !isAsked(asked));
  trouble.hidden = true;
  if (!isAsked(asked)) { chips.replaceChildren(); notes.replaceChildren(); fill(list, [], {}); summary.textContent = ""; more.hidden = true; return first(); }
  searchPage.setAttribute("aria-busy", "true");
  try {
    const found = await api(`/search${parameters({ ...asked, where: whereList(asked.where), k: 20, cursor: isMore ? cursor : null })}`, { signal: mine.signal });
    if (!isMore) { showReading(found); window.scrollTo({ top: 0 }); }
    cursor = found.cursor ?? null;
    more.hidden = !cursor;
    const first = list.children.length;
    fill(list, found.hits, { onlike: (like, name) => { names.set(like, name); change({ like: [like] }); }, query: asked.q, context: asked.for }, { isMore });
    if (isMore) list.children[first]?.focus(); else if (isExample) summary.focus({ preventScroll: true });
    const shown = list.children.length, passed = `${count(found.candidates, "track")} passed the filters`;
    summary.textContent = found.note || (shown ? `${cursor ? "First " : ""}${count(shown, "hit")}` : "No hits");
    summary.title = `${passed}, ${Math.round(found.timing_ms.total)} ms`;
    [trouble.hidden, trouble.textContent] = [shown > 0 || (!found.candidates && !Object.keys(asked.where).length), `${passed}. Drop a chip or widen a filter.`];
    say(`${summary.textContent}. ${found.hits[0] && !isMore ? `First: ${title(found.hits[0])}` : ""}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(list, [], {});
    [trouble.hidden, trouble.textContent, summary.textContent, more.hidden] = [false, error.message, "", true];
  } finally {
    if (running === mine) searchPage.removeAttribute("aria-busy");
    first(); // after the hits
  }
}

// --- chips ------------------------------------------------------------------------------------------------------------
/** The text with a stretch replaced; places are counted in characters, of which some take two units of a string. */
function replaced(text, [from, to], by) {
  const letters = [...text];
  const whole = letters.slice(0, from).join("") + by + letters.slice(to).join("");
  return whole.replace(/\s+/g, " ").replace(/ ,/g, ",").replace(/(, ?)+,/g, ",").replace(/^[, ]+|[, ]+$/g, "");
}
const without = (all, one) => all.filter((text) => text !== one);

/** The entry of `not` that a part was read from, if it was not read from the text. */
const shunned = (chip) => (chip.negated ? asked.not.find((text) => text.toLowerCase().includes(chip.text.toLowerCase())) : undefined);
/** What a negated part asks for if the negation is taken away. */
const plain = (chip) => chip.words.replace(/^(no|not|without) /, "");

function rewrite(chip, text) {
  const old = shunned(chip);
  if (old) change({ not: text ? asked.not.map((one) => (one === old ? text : one)) : without(asked.not, old) });
  else if (chip.span) change({ q: replaced(asked.q, chip.span, text) });
}

function negate(chip) {
  const old = shunned(chip);
  if (old) { // what was in the text before is read from there again
    change({ not: without(asked.not, old), drop: without(asked.drop, old), q: asked.drop.includes(old) ? asked.q : [asked.q, old].filter(Boolean).join(", ") });
  } else if (chip.negated) rewrite(chip, plain(chip));
  else change({ not: [...asked.not, chip.text], drop: [...asked.drop, chip.text] });
}

function drop(chip) {
  const old = shunned(chip);
  if (old) change({ not: without(asked.not, old), drop: without(asked.drop, old) });
  else change({ drop: [...asked.drop, chip.text] });
}

function edit(chip, item) {
  const input = h("input", { type: "text", value: chip.text, "aria-label": `Change ${chip.text}`, size: Math.max(6, chip.text.length + 1) });
  let isDone = false;
  const done = (isTaken) => {
    if (isDone) return;
    isDone = true;
    input.replaceWith(...before);
    item.querySelector("button")?.focus();
    if (isTaken && input.value.trim() !== chip.text) rewrite(chip, input.value.trim());
  };
  const before = [...item.childNodes];
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); event.stopPropagation(); done(event.key === "Enter"); }
  });
  input.addEventListener("blur", () => done(input.isConnected));
  item.replaceChildren(input);
  input.select();
}

function chipOf(chip) {
  const kind = chip.understood ? { sound: "sounds like" }[chip.kind] ?? chip.kind : "not understood";
  const item = h(`li.chip${chip.negated ? ".negated" : ""}${chip.understood ? "" : ".unknown"}`, {});
  item.append(
    h("button.value", { type: "button", title: `from “${chip.text}”: change it`, onclick: () => edit(chip, item) }, h("small", {}, kind), h("span", {}, chip.words)),
    chip.understood ? h("button.not", { type: "button", "aria-pressed": String(chip.negated), "aria-label": chip.negated ? `Ask for ${plain(chip)}` : `Ask for no ${chip.text}`, onclick: () => negate(chip) }, "not") : "",
    button("close", `Drop ${chip.text}`, () => (chip.understood ? drop(chip) : rewrite(chip, ""))));
  return item;
}

function showReading(found) {
  const dropped = asked.drop.filter((text) => !asked.not.includes(text)).map((text) => h("li.chip.dropped", {},
    h("button.value", { type: "button", title: "Read it again", onclick: () => change({ drop: without(asked.drop, text) }) }, h("span.unseen", {}, "Restore "), h("s", {}, text), icon("undo"))));
  const likes = asked.like.map((like) => {
    const label = h("span", {}, names.get(like) ?? like);
    if (!names.has(like) && /^\d+/.test(like)) once(`/tracks/${parseInt(like)}`).then((track) => { label.textContent = title(track) + part(like); }, () => {});
    return h("li.chip", {}, h("span.value", {}, h("small", {}, "sounds like"), label), button("close", "Drop the example", () => change({ like: without(asked.like, like) })));
  });
  const exact = Object.entries(asked.where).map(([field, value]) => h("li.chip.exact", {}, h("span.value", {}, h("small", {}, field.split("_")[0]), filterWords(field, value)),
    button("close", `Take away the filter ${filterWords(field, value)}`, () => change({ where: withFilter(field, "") }))));
  refill(chips, ...(found.reading ?? []).map(chipOf), ...dropped, ...likes, ...exact);
  notes.replaceChildren(...(found.parsed?.notes ?? []).map((note) => h("p", {}, note)));
}
const part = (like) => { const [, a, b] = /@([\d.]+)-([\d.]+)/.exec(like) ?? []; return b ? ` ${clock(a)}–${clock(b)}` : ""; };

// --- what is typed ----------------------------------------------------------------------------------------------------
for (const input of [box, context]) {
  input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => typed(false), 450); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); typed(true); }
    if (event.key === "ArrowDown" && list.firstChild && !box.value.includes("\n")) { event.preventDefault(); list.firstChild.focus(); }
  });
}
file.addEventListener("change", async () => {
  const [sound] = file.files;
  if (!sound) return;
  file.value = "";
  toast(`Reading ${sound.name} …`);
  try {
    const { id } = await api("/examples", { method: "POST", body: sound });
    names.set(String(id), sound.name);
    change({ like: [String(id)] });
  } catch (error) { toast(error.message); }
});

async function greet() {
  const held = await api("/status").catch(() => null);
  const job = held?.job?.state === "running" ? held.job : null, reading = !job ? "" : job.total ? `Reading your music: ${job.done} of ${count(job.total, "file")}. What is finished can be searched.` : "Looking for music files.";
  if (held) hello.textContent = held.tracks ? `${count(held.tracks, "track")}, ${held.duration_s < 3600 ? count(Math.ceil(held.duration_s / 60), "minute") : count(Math.round(held.duration_s / 360) / 10, "hour")} of music. ${reading || "Tempo, key, chords, instruments, mood: say it as you would to a friend."}` : reading || "Nothing is indexed yet. Start with: solfa serve FOLDER";
}
const overview = () => { void greet(); void side.load(); };
const first = () => { if (!isOverviewed) overview(); isOverviewed = true; };
addEventListener("collectionchange", () => { overview(); if (isAsked(asked) && !list.firstChild) ask(); });
export const focusBox = () => { box.focus(); box.select(); };
