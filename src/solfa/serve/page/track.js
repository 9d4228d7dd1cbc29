// All that is known of one track: description, measures with what else they could be, what is present where, the like.

import * as basket from "./basket.js";
import { api, button, clock, h, once, percent, spelled, title } from "./base.js";
import { fill } from "./hit.js";
import { play, player, playing } from "./player.js";
import { wave } from "./wave.js";

const LANES = [["Instruments", "instruments"], ["Moods and uses", "moods"], ["Genres", "genres"], ["Sounds", "sounds"]];
const named = (id) => id.replaceAll("_", " ");

function measure(name, { value, confidence, alternatives = [] }, show = String) {
  if (value === null || value === undefined) return h("div.measure", {}, h("dt", {}, name), h("dd", {}, "cannot be measured"));
  const others = alternatives.filter((one) => one.confidence >= 0.01).slice(0, 3).map((one) => `${show(one.value)} ${percent(one.confidence)}`);
  return h("div.measure", {}, h("dt", {}, name), h("dd", {}, h("b", {}, show(value)), confidence < 1 ? h("small", {}, `${percent(confidence)} certain`) : null, h("i.sure", { style: { width: `${100 * confidence}%` } }),
    others.length ? h("span.others", {}, `or ${others.join(", ")}`) : null));
}

/** Where in the track each thing is present, surest first. */
function lanes(name, tags, duration_s, onplay) {
  const found = tags.filter((tag) => tag.confidence >= 0.35).sort((a, b) => b.confidence - a.confidence).slice(0, 10);
  if (!found.length) return null;
  return h("section.presence", {}, h("h2", {}, name), h("ul", {}, found.map((tag) => h("li", {},
    h("span.name", {}, named(tag.concept)),
    h("span.spans", {}, tag.spans.map((span) => h("button", { type: "button", tabindex: -1, "aria-hidden": "true", title: `${clock(span.start_s)}–${clock(span.end_s)}`, onclick: () => onplay(span.start_s),
      style: { left: `${(100 * span.start_s) / duration_s}%`, width: `${(100 * (span.end_s - span.start_s)) / duration_s}%`, opacity: 0.35 + 0.65 * span.confidence } }))),
    tag.spans.length ? h("button.first", { type: "button", onclick: () => onplay(tag.spans[0].start_s) }, h("span.unseen", {}, `Play ${named(tag.concept)} at `), clock(tag.spans[0].start_s)) : h("span.first", {}),
    h("small", {}, percent(tag.confidence))))));
}

/** The page of a track. */
export async function page(id) {
  const at = `/tracks/${encodeURIComponent(id)}`;
  const [track, analysis, described, told] = await Promise.all(["", "/analysis", "/describe", "/description"].map((part) => api(at + part)));
  const name = title(track), duration_s = track.duration_s;
  const item = { id: track.id, start_s: 0, end_s: duration_s, duration_s, tags: track.tags, paths: track.paths };
  const listen = (s = 0) => play([item], 0, s);
  const nearTitle = h("h2", {}, "Similar"), near = h("ol.hits", { "aria-label": "Similar tracks" });
  const search = (a, b) => { location.hash = `#/?like=${track.id}@${a.toFixed(2)}-${b.toFixed(2)}`; };
  const line = wave({ label: `${name}, position`, duration_s, span: null, onplay: listen, onlike: search, isLarge: true });
  const parts = Map.groupBy(told.claims.filter((claim) => claim.part !== null), (claim) => claim.start_s);
  const story = h("section.story", {}, h("h2", {}, "What happens"), h("ol", {}, [...parts].map(([start_s, claims]) => h("li", {},
    h("button.first", { type: "button", onclick: () => listen(start_s) }, h("span.unseen", {}, "Play from "), clock(start_s)), h("p", {}, claims.map((claim) => claim.text).join(" "))))));
  const sections = h("ol.sections", { "aria-label": "Sections" });
  const show = (found) => {
    line.show({ ...found, chords: analysis.chords });
    sections.replaceChildren(...found.sections.map((one, i) => h("li", { style: { "flex-grow": one.end_s - one.start_s } },
      h("button", { type: "button", title: `from ${clock(one.start_s)}`, onclick: () => listen(one.start_s) }, String.fromCharCode(65 + (i % 26)), h("span.unseen", {}, ` at ${clock(one.start_s)}`)))));
  };
  once(`${at}/waveform?peaks=false`).then(show).then(() => once(`${at}/waveform?points=800`)).then(show, () => {});
  once(`${at}/similar?k=8`).then((found) => fill(near, found.hits, { onlike: (like) => { location.hash = `#/?like=${like}`; } }), (error) => { nearTitle.textContent = error.message; });
  const keep = button("plus", "Add to the playlist", () => { basket.toggle(item); keep.setAttribute("aria-pressed", String(basket.has(item.id))); }, { "aria-pressed": String(basket.has(item.id)) });
  const follow = () => (made.isConnected ? line.move(playing()?.item.id === item.id ? playing().time_s : null) : null);
  const main = button("play", `Play ${name}`, () => listen(0));
  main.classList.add("main");
  player.addEventListener("time", follow);
  addEventListener("hashchange", () => { player.removeEventListener("time", follow); fill(near, [], {}); }, { once: true });

  const loudness = analysis.loudness_lufs, voice = analysis.voice;
  const known = Object.entries(described).filter(([field, value]) => described.sources?.[field] && field !== "description" && value !== null && !(Array.isArray(value) && !value.length));
  const made = h("article.track", {},
    h("header", {}, main, h("div", {}, h("h1", {}, name), h("p.by", {}, [track.tags?.artist, track.tags?.album, track.tags?.date?.slice(0, 4)].filter(Boolean).join(" · "))), keep),
    described.description ? h("p.description", {}, described.description) : null,
    line.element, sections,
    h("dl.measures", {},
      measure("Tempo", analysis.tempo_bpm, (v) => `${v.toFixed(1)} BPM`), measure("Key", analysis.key, spelled), measure("Metre", analysis.metre),
      measure("Loudness", loudness, (v) => `${v.toFixed(1)} LUFS`),
      measure("Voice", { value: voice.confidence >= 0.5 ? `in ${percent(voice.share)} of it` : "none found", confidence: Math.max(voice.confidence, 1 - voice.confidence) }),
      measure("Length", { value: duration_s, confidence: 1 }, clock)),
    h("div.presences", {}, parts.size ? story : null, LANES.map(([heading, field]) => lanes(heading, analysis[field] ?? [], duration_s, listen))),
    h("details.more", {}, h("summary", {}, "Where each word of the description comes from"),
      h("table", {}, h("thead", {}, h("tr", {}, ["Field", "Value", "Source"].map((one) => h("th", { scope: "col" }, one)))),
        h("tbody", {}, known.map(([field, value]) => h("tr", {}, h("th", { scope: "row" }, named(field)), h("td", {}, [value].flat().map((one) => (typeof one === "number" ? Math.round(one * 10) / 10 : one)).join(", ")),
          h("td", {}, [described.sources[field].measurement, described.sources[field].confidence !== null && percent(described.sources[field].confidence)].filter(Boolean).join(", "))))))),
    h("p.path", {}, track.paths[0] ?? "its file is gone", " · ", h("a", { href: `/api/v1${at}/analysis`, target: "_blank", rel: "noopener" }, "analysis as JSON")),
    h("section", {}, nearTitle, near));
  return made;
}
