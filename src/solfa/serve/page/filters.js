// Exact filters beside the results: what the collection holds, as controls. Each is one `where` expression.

import { clock, count, h, once, spelled, toast } from "./base.js";

const OUTER = ["C", "G", "D", "A", "E", "B", "F#", "Db", "Ab", "Eb", "Bb", "F"]; // major, by fifths from the top
const INNER = ["A", "E", "B", "F#", "C#", "G#", "Eb", "Bb", "F", "C", "G", "D"];
const WORDS = { tempo_bpm: "BPM", duration_s: "long", voice: { yes: "with voice", no: "no voice" } };

/** "90..120", "..120" or "90.." as [low, high]; a missing bound is null. */
const bounds = (text) => (text ?? "").split("..").map((one) => (one === "" || one === undefined ? null : Number(one)));
const seconds = (text) => { const [m, s] = text.split(":"); return s === undefined ? Math.round(Number(m) * 60) : Number(m) * 60 + Number(s); };

/** A filter in words, for a chip. */
export function filterWords(field, value) {
  if (field === "duration_s") return bounds(value).map((s) => (s === null ? "" : clock(s))).join("–").replace(/^–/, "up to ").replace(/–$/, " or longer");
  if (field === "tempo_bpm") return `${value.replace("..", "–").replace(/^–/, "up to ").replace(/–$/, " or faster")} BPM`;
  return WORDS[field]?.[value] ?? value.replaceAll("|", ", ");
}

/** The controls. `set(field, value)` is called with a changed filter, "" for none. Returns {element, show(where), load()}. */
export function filters(set) {
  const parts = [], element = h("div.controls-list");

  const group = (name, ...children) => h("fieldset", {}, h("legend", {}, name), ...children);

  /** Bars of a histogram, `bins` of {from, to, tracks}: drag over them, or type the bounds. */
  function range(field, name, bins, show, read) {
    const most = Math.max(...bins.map((bin) => bin.tracks), 1), n = bins.length;
    const bars = bins.map((bin) => h("i", { style: { height: `${bin.tracks ? Math.max(4, (100 * bin.tracks) / most) : 0}%` } }));
    const box = h("div.histogram", { "aria-hidden": "true" }, bars), ends = [bins[0]?.from, bins.at(-1)?.to];
    const [low, high] = ["from", "to"].map((side, i) => h("input", { type: "text", inputmode: "numeric", "aria-label": `${name}, ${side}`, placeholder: ends[i] == null ? "any" : show(ends[i]), onchange: () => {
      const values = [low, high].map((input) => (input.value.trim() ? read(input.value.trim()) : null));
      if (values.some(Number.isNaN)) return toast(`${name}: a number is expected.`);
      if (values[0] !== null && values[1] !== null && values[0] > values[1]) values.reverse();
      set(field, values.every((v) => v === null) ? "" : values.map((v) => v ?? "").join(".."));
    } }));
    let from = null;
    const at = (event) => Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - box.getBoundingClientRect().left) / box.clientWidth) * n)));
    const paint = (isIn) => bars.forEach((bar, i) => bar.classList.toggle("out", !isIn(i)));
    const swept = (event) => [Math.min(from, at(event)), Math.max(from, at(event))];
    const sweep = (event) => { const [a, b] = swept(event); paint((i) => a <= i && i <= b); };
    box.addEventListener("pointerdown", (event) => { from = at(event); box.setPointerCapture(event.pointerId); sweep(event); });
    box.addEventListener("pointermove", (event) => { if (from !== null) sweep(event); });
    box.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [a, b] = swept(event);
      from = null;
      set(field, `${bins[a].from}..${bins[b].to ?? ""}`);
    });
    parts.push((where) => {
      const [a, b] = where[field] ? bounds(where[field]) : [null, null];
      [low.value, high.value] = [a, b].map((v) => (v == null ? "" : show(v)));
      paint((i) => (bins[i].to ?? Infinity) > (a ?? -Infinity) && bins[i].from < (b ?? Infinity));
    });
    return n ? group(name, box, h("div.bounds", {}, low, h("span", { "aria-hidden": "true" }, "–"), high)) : null;
  }

  /** Toggle buttons; several can be on where `isMany`. */
  function choices(field, name, values, words = (v) => v, isMany = true) {
    let chosen = [];
    const known = Object.entries(values).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
    const made = known.map(([value, n]) => h("button.pill", { type: "button", "aria-pressed": "false", onclick: () => {
      set(field, (chosen.includes(value) ? chosen.filter((v) => v !== value) : isMany ? [...chosen, value] : [value]).join("|"));
    } }, words(value), h("small", {}, String(n))));
    parts.push((where) => {
      chosen = where[field] ? where[field].split("|") : [];
      made.forEach((one, i) => one.setAttribute("aria-pressed", String(chosen.includes(known[i][0]))));
    });
    return made.length ? group(name, h("div.pills", {}, made)) : null;
  }

  /** The circle of fifths: majors outside, relative minors inside, so that compatible keys are neighbours. */
  function wheel(counts) {
    const most = Math.max(...Object.values(counts), 1), keys = [];
    let chosen = [], isWide = false;
    const name = (place, isMinor) => (isMinor ? `${INNER[place]} minor` : `${OUTER[place]} major`);
    const around = (place, isMinor) => [name(place, isMinor), name(place, !isMinor), name((place + 1) % 12, isMinor), name((place + 11) % 12, isMinor)];
    const choose = (key, place, isMinor) => {
      const wanted = isWide ? around(place, isMinor) : [key], isOn = wanted.every((k) => chosen.includes(k));
      set("key", (isOn ? chosen.filter((k) => !wanted.includes(k)) : [...new Set([...chosen, ...wanted])]).join("|"));
    };
    for (let i = 0; i < 24; i++) {
      const place = i % 12, isMinor = i >= 12, key = name(place, isMinor), n = counts[key] ?? 0;
      const [inside, outside] = isMinor ? [27, 62] : [64, 99];
      const [a, b] = [(place - 0.5) * 30 + 0.8, (place + 0.5) * 30 - 0.8].map((degrees) => (degrees * Math.PI) / 180);
      const point = (r, angle) => `${(100 + r * Math.sin(angle)).toFixed(1)} ${(100 - r * Math.cos(angle)).toFixed(1)}`;
      const middle = (place * Math.PI) / 6, r = (inside + outside) / 2;
      const slice = h(`g.key.f${place}${isMinor ? ".minor" : ""}`, { role: "button", tabindex: i ? -1 : 0, "aria-pressed": "false", "aria-label": `${key}, ${count(n, "track")}`, style: { "--much": (n / most).toFixed(2) },
        onclick: () => choose(key, place, isMinor), onkeydown: (event) => {
          const to = { ArrowRight: (place + 1) % 12 + 12 * isMinor, ArrowLeft: (place + 11) % 12 + 12 * isMinor, ArrowDown: place + 12, ArrowUp: place }[event.key];
          if (event.key === "Enter" || event.key === " ") choose(key, place, isMinor);
          else if (to !== undefined) { keys[i].setAttribute("tabindex", -1); keys[to].setAttribute("tabindex", 0); keys[to].focus(); } else return;
          event.preventDefault();
          event.stopPropagation();
        } },
        h("path", { d: `M${point(inside, a)}L${point(outside, a)}A${outside} ${outside} 0 0 1 ${point(outside, b)}L${point(inside, b)}A${inside} ${inside} 0 0 0 ${point(inside, a)}z` }),
        h("text", { x: 100 + r * Math.sin(middle), y: 100 - r * Math.cos(middle), "aria-hidden": "true" }, spelled(isMinor ? `${INNER[place]}m` : OUTER[place])));
      keys.push(slice);
    }
    const wide = h("input", { type: "checkbox", role: "switch", onchange: () => { isWide = wide.checked; } });
    parts.push((where) => {
      chosen = where.key ? where.key.split("|") : [];
      keys.forEach((slice, i) => slice.setAttribute("aria-pressed", String(chosen.includes(name(i % 12, i >= 12)))));
    });
    return group("Key", h("svg.wheel", { viewBox: "0 0 200 200", role: "group", "aria-label": "Circle of fifths; arrows move, enter chooses" }, keys), h("label.switch", {}, wide, "and compatible keys"));
  }

  const load = () => once("/facets").then((found) => {
    if (element.contains(document.activeElement)) return; // not under the hands
    element.hidden = !found.tracks;
    parts.length = 0;
    const counts = (rows, name) => Object.fromEntries(rows.map((row) => [row[name], row.tracks])), tempo = [];
    const titles = new Map(found.instrument.map((one) => [one.id, one.name]));
    for (const bin of found.tempo_bpm) { // tempi that no track has leave a gap
      while (tempo.length && tempo.at(-1).to < bin.from) tempo.push({ from: tempo.at(-1).to, to: tempo.at(-1).to + bin.to - bin.from, tracks: 0 });
      tempo.push(bin);
    }
    const sung = found.voice.find((one) => one.id === "voice")?.tracks ?? 0;
    element.replaceChildren(...[
      range("tempo_bpm", "Tempo, BPM", tempo, (v) => String(Math.round(v)), Number),
      wheel(counts(found.key, "key")),
      range("duration_s", "Length", found.duration_s, clock, seconds),
      choices("metre", "Metre", counts(found.metre, "metre")),
      choices("voice", "Voice", { yes: sung, no: found.tracks - sung }, (v) => WORDS.voice[v], false),
      choices("instrument", "Instruments", counts(found.instrument.slice(0, 10), "id"), (v) => titles.get(v), false),
    ].filter(Boolean));
    show();
  }, (error) => element.replaceChildren(h("p.empty", {}, error.message)));

  let last = {};
  const show = (where = last) => { last = where; for (const part of parts) part(where); };
  return { element, show, load };
}
