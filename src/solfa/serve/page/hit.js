// One hit: the track, the place that matched over its whole length, and the evidence.

import * as basket from "./basket.js";
import { button, clock, count, facts, h, icon, once, percent, title, toast } from "./base.js";
import { judge, play, player, playing, toggle } from "./player.js";
import { wave } from "./wave.js";

const MARKS = { true: ["check", "met", "met"], false: ["close", "unmet", "not met"], null: ["", "open", "undecided"] };
const VALUES = new Set(["tempo", "key", "metre", "duration", "chords"]); // what is measured says what it is about

/** What a hit can be asked to do by a key: element -> {play, open, like, good, bad, keep}. */
export const actions = new WeakMap();

// What a row draws is asked for when it comes near to being seen.
const drawn = new WeakMap();
const near = new IntersectionObserver((rows) => {
  for (const { isIntersecting, target } of rows) if (isIntersecting) { near.unobserve(target); void drawn.get(target)(); }
}, { rootMargin: "400px" });

/** What is played and kept of a hit. */
export const itemOf = (hit) => ({ id: hit.track_id, start_s: hit.start_s, end_s: hit.end_s, duration_s: hit.duration_s, tags: hit.tags, path: hit.path });

function words(item) {
  if (item.constraint === "sounds like") return `“${item.asked}” ${item.measured}`;
  if (VALUES.has(item.constraint)) return item.confidence && item.measured !== "none found" ? item.measured : `${item.constraint} ${item.measured}`;
  return `${item.asked}: ${item.measured}`;
}

/** A list of what was found of each thing that was asked, with how sure that is. `line` is marked with its places. */
export function evidenceList(evidence, line, onplay) {
  return h("ul.evidence", { "aria-label": "Evidence" }, evidence.map((item) => {
    const [mark, kind, said] = MARKS[item.satisfied];
    const when = item.words.length ? `; ${item.words.map((w) => `${w.word} at ${clock(w.start_s)}`).join(", ")}` : "";
    const sure = item.confidence ? `, ${percent(item.confidence)} certain` : "";
    const told = `${item.constraint} ${item.asked}: ${said}. Measured: ${item.measured}${sure}${when}`;
    const inside = [mark ? icon(mark) : h("span.sign", { "aria-hidden": "true" }, "?"), h("span", { "aria-hidden": "true" }, words(item)),
      item.confidence ? h("small", { "aria-hidden": "true" }, percent(item.confidence)) : null, h("span.unseen", {}, told),
      h("i.sure", { style: { width: `${100 * item.confidence}%` } })];
    const show = () => line.mark(item.spans), hide = () => line.mark([]);
    const best = [...item.spans].sort((a, b) => b.confidence - a.confidence)[0];
    const hover = { title: `asked: ${item.asked}${when}`, onpointerenter: show, onpointerleave: hide, onfocus: show, onblur: hide };
    return h("li", {}, best
      ? h(`button.piece.${kind}`, { type: "button", ...hover, onclick: () => onplay(best.start_s) }, inside)
      : h(`span.piece.${kind}`, hover, inside));
  }));
}

/**
 * A row of the results. `items` is what is played, of which this is `number`; `onlike(reference, name)` asks for more
 * like a part; `query` and `context` are what verdicts are about (none can be given without).
 */
export function hitRow(hit, number, items, { onlike, query = "", context = "", rank = number + 1 }) {
  const item = itemOf(hit), name = title(item), place = [hit.start_s, hit.end_s];
  const at = (s = null) => play(items, number, s);
  const main = button("play", `Play ${name}`, () => actions.get(row).play());
  main.classList.add("main");
  const known = h("span.facts");
  const likePart = (a, b) => onlike(`${hit.track_id}@${a.toFixed(2)}-${b.toFixed(2)}`, `${name} ${clock(a)}–${clock(b)}`);
  const like = () => likePart(...(line.selection() ?? place));
  const line = wave({ label: `${name}, position`, duration_s: hit.duration_s, span: place, onplay: at, onlike: likePart });
  const draw = () => once(`/tracks/${hit.track_id}/waveform?peaks=false`).then((found) => {
    line.show(found, hit.heat);
    known.textContent = facts(found).join(" · ");
  }, () => {});

  const give = async (verdict) => {
    if (!query && !context) return toast("A verdict is about a text: ask for something in words first.");
    const chosen = { good, bad }[verdict], other = { good: bad, bad: good }[verdict];
    try {
      await judge(item, { query, context }, verdict);
      chosen.setAttribute("aria-pressed", "true");
      other.setAttribute("aria-pressed", "false");
    } catch (error) { toast(error.message); }
  };
  const good = button("good", "Good answer", () => give("good"), { key: "+", "aria-pressed": "false", "data-for": "owner" });
  const bad = button("bad", "Bad answer", () => give("bad"), { key: "-", "aria-pressed": "false", "data-for": "owner" });
  const keep = button("plus", "Add to the playlist", () => basket.toggle(item), { key: "b", "aria-pressed": String(basket.has(item.id)) });
  const row = h("li.hit", { tabindex: number ? -1 : 0, "aria-label": `${rank}. ${name}${item.tags?.artist ? ` by ${item.tags.artist}` : ""}, ${percent(hit.score)}, from ${clock(place[0])}` },
    h("div.lead", {}, main, h("span.rank", { "aria-hidden": "true" }, String(rank))),
    h("div.top", {},
      h("h3", {}, h("a", { href: `#/track/${hit.track_id}`, tabindex: 0 }, name)), h("span.by", {}, item.tags?.artist ?? ""), known,
      h("span.score", { title: "about the share of what was asked that is expected to hold" }, percent(hit.score))),
    line.element,
    h("div.under", {},
      h("span.time", {}, `${clock(place[0])}–${clock(place[1])}`, h("span", {}, ` of ${clock(hit.duration_s)}`),
        hit.more ? h("span", { title: hit.copies?.join("\n") ?? null }, ` · ${count(hit.more, "more alike", "more alike")}`) : null),
      h("div.acts", {}, button("like", "More like this place", like, { key: "m" }), good, bad, keep)),
    hit.evidence.length ? evidenceList(hit.evidence, line, at) : null);

  const isOn = () => playing()?.item.id === item.id;
  const follow = () => {
    const now = playing();
    line.move(isOn() ? now.time_s : null);
    row.classList.toggle("on", isOn());
    main.replaceChildren(icon(isOn() && !now.isPaused ? "pause" : "play"));
  };
  const kept = () => keep.setAttribute("aria-pressed", String(basket.has(item.id)));
  // Rows come and go with each search: listeners go with them.
  const gone = new AbortController();
  for (const name of ["change", "time"]) player.addEventListener(name, () => (row.isConnected || name === "change" ? follow() : null), { signal: gone.signal });
  basket.changed.addEventListener("change", kept, { signal: gone.signal });
  actions.set(row, {
    play: () => (isOn() ? toggle() : at()), open: () => { location.hash = `#/track/${hit.track_id}`; },
    like, good: () => give("good"), bad: () => give("bad"), keep: () => basket.toggle(item), leave: () => gone.abort(),
  });
  follow();
  drawn.set(row, draw);
  near.observe(row);
  return row;
}

/** A list of hits in place of what was there. */
export function fill(list, hits, options, { isMore = false } = {}) {
  const before = isMore ? list.hits : [];
  if (!isMore) {
    for (const row of list.children) actions.get(row)?.leave();
    list.replaceChildren();
    list.items = [];
  }
  list.hits = [...before, ...hits];
  list.items.push(...hits.map(itemOf));
  list.append(...hits.map((hit, i) => hitRow(hit, before.length + i, list.items, options)));
}
