// A track over time: energy as bars, darker where the sound is near to what was asked, the matched place, chords below.
// Click plays, dragging selects; with keys: arrows move, with shift they select, enter plays.

import { button, chordName, clock, fifths, h, icon } from "./base.js";

/** Highest (or, between few values, interpolated) values in n parts of a curve. */
function resampled(values, n) {
  const step = values.length / n;
  return Array.from({ length: n }, (_, i) => {
    if (step >= 1) return Math.max(...values.slice(Math.floor(i * step), Math.max(Math.floor((i + 1) * step), Math.floor(i * step) + 1)));
    const at = Math.max(0, (i + 0.5) * step - 0.5), low = Math.floor(at), high = Math.min(low + 1, values.length - 1);
    return values[low] + (values[high] - values[low]) * (at - low);
  });
}

/** Heights 0.05..1 of a curve: from its own low to its own high, but a flat one stays flat. */
function heights(values) {
  const high = Math.max(...values), low = Math.min(Math.min(...values), high - 0.16);
  return values.map((v) => 0.05 + 0.95 * Math.max(0, (v - low) / (high - low || 1)) ** 1.4);
}

/** Equal neighbours as one, seconds to shares of the track. */
function merged(chords) {
  const rows = [];
  for (const { start_s, end_s, label } of chords) {
    const name = chordName(label), last = rows.at(-1);
    if (last?.name === name && start_s - last.end_s < 0.5) last.end_s = end_s;
    else rows.push({ start_s, end_s, name, label });
  }
  return rows;
}

/**
 * Make one. `label`: what it is; `duration_s`; `span`: [start_s, end_s] of the match or null; `onplay(s)`;
 * `onlike(start_s, end_s)` where more like a chosen part can be asked for.
 * Returns {element, show(waveform, heat), move(s | null), mark(spans), selection()}.
 */
export function wave({ label, duration_s, span, onplay, onlike, isLarge = false }) {
  let shown = null, heat = null, at = span?.[0] ?? 0, played = null, selection = null, anchor = null;
  const share = (s) => `${(100 * Math.min(Math.max(s / duration_s, 0), 1)).toFixed(3)}%`;
  const place = (element, a, b) => { element.style.left = share(a); element.style.width = share(b - a); element.hidden = false; };
  const match = h("i.match", { hidden: !span }), picked = h("i.picked", { hidden: true }), head = h("i.head", { hidden: true });
  const hint = h("output.hint", { hidden: true, "aria-hidden": "true" }), marks = h("div.marks");
  const paths = ["low", "middle", "high", "in", "past"].map((name) => h(`path.${name}`));
  const bars = h("svg.bars", { "aria-hidden": "true", preserveAspectRatio: "none" }, paths);
  const lane = h("div.lane", { "aria-hidden": "true" }), field = h("div.field", {}, match, picked, bars, marks, head);
  const element = h(`div.wave${isLarge ? ".large" : ""}`, { role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": 0 }, field, lane, hint);
  element.setAttribute("aria-valuemax", Math.round(duration_s));
  const partText = h("span"), part = h("div.part", { hidden: true },
    h("button.pill.strong", { type: "button", onclick: () => onlike(...selection) }, icon("like"), partText),
    h("button.pill", { type: "button", onclick: () => onplay(selection[0]) }, "Play it"), button("close", "Clear the selection", () => select(null)));
  if (span) place(match, ...span);

  function tell() {
    element.setAttribute("aria-valuenow", Math.round(at));
    const chosen = selection ? `, selected ${clock(selection[0])} to ${clock(selection[1])}` : "";
    element.setAttribute("aria-valuetext", `${clock(at)} of ${clock(duration_s)}${chosen}`);
  }

  function draw() {
    const values = (shown?.peaks ?? shown?.energy.values) ?? [], width = element.clientWidth;
    if (!values.length || !width) return;
    const n = Math.max(40, Math.min(400, Math.floor(width / 4)));
    const tops = heights(resampled(values, n));
    const warm = heat?.values?.length ? resampled(heat.values, n) : null;
    const [coldest, span_heat] = warm ? [Math.min(...warm), Math.max(...warm) - Math.min(...warm)] : [0, 0];
    const lines = ["", "", "", "", ""];
    tops.forEach((top, i) => {
      const second = ((i + 0.5) / n) * duration_s;
      const level = span_heat > 0.3 ? Math.min(2, Math.floor((3 * (warm[i] - coldest)) / span_heat)) : 1;
      const bar = `M${i + 0.5} ${(50 - 46 * top).toFixed(1)}V${(50 + 46 * top).toFixed(1)}`;
      if (span && second >= span[0] && second <= span[1]) lines[3] += bar;
      else lines[level] += bar;
      if (played !== null && second <= played) lines[4] += bar;
    });
    bars.setAttribute("viewBox", `0 0 ${n} 100`);
    paths.forEach((path, i) => path.setAttribute("d", lines[i]));
  }

  function show(document, near = null) {
    [shown, heat] = [document, near];
    const chords = merged(document.chords ?? []);
    lane.replaceChildren(...chords.map((chord) => {
      const key = fifths(chord.label);
      const cell = h(`i${key ? `.f${key.place}${key.isMinor ? ".minor" : ""}` : ".none"}`, {}, isLarge ? h("b", {}, chord.name) : null);
      place(cell, chord.start_s, chord.end_s);
      return cell;
    }));
    draw();
  }

  function select(range) {
    selection = range;
    picked.hidden = part.hidden = !range;
    if (range) {
      place(picked, ...range);
      partText.textContent = `More like ${clock(range[0])}–${clock(range[1])}`;
    }
    tell();
  }

  const secondOf = (event) => {
    const box = field.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * duration_s;
  };
  let pressed = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pressed = { x: event.clientX, s: secondOf(event), moved: false };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    const s = secondOf(event);
    if (pressed && onlike && (pressed.moved || Math.abs(event.clientX - pressed.x) > 5)) {
      pressed.moved = true;
      place(picked, Math.min(pressed.s, s), Math.max(pressed.s, s));
    }
    const chord = shown?.chords?.find((one) => one.start_s <= s && s < one.end_s);
    hint.textContent = pressed?.moved ? `${clock(Math.min(pressed.s, s))}–${clock(Math.max(pressed.s, s))}` : clock(s) + (chord ? ` ${chordName(chord.label)}` : "");
    hint.style.left = share(s);
    hint.hidden = event.pointerType === "touch" && !pressed?.moved;
  });
  element.addEventListener("pointerleave", () => { hint.hidden = true; });
  element.addEventListener("pointerup", (event) => {
    if (!pressed) return;
    const { s: from, moved } = pressed, to = secondOf(event);
    pressed = null;
    if (moved && Math.abs(to - from) >= 1) select([Math.min(from, to), Math.max(from, to)]);
    else { select(null); at = to; tell(); onplay(to); }
  });
  element.addEventListener("pointercancel", () => { pressed = null; select(selection); });
  element.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowRight: 5, PageDown: -30, PageUp: 30, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const to = Math.min(Math.max(at + step, 0), duration_s);
      if (event.shiftKey && onlike) {
        anchor ??= at;
        const range = [Math.min(anchor, to), Math.max(anchor, to)];
        at = to;
        select(range[1] - range[0] >= 1 ? range : null);
      } else {
        [anchor, at] = [null, to];
        if (played !== null) onplay(to);
        else { place(head, at, at); tell(); }
      }
    } else if (event.key === "Enter" && !event.repeat) onplay(at);
    else if (event.key === "Escape" && selection) { anchor = null; select(null); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  new ResizeObserver(draw).observe(element);
  tell();
  return {
    element: h("div.line", {}, element, part), show, selection: () => selection,
    /** Where it is being played; null where it is not. */
    move(s) {
      const before = played;
      played = s;
      if (s !== null) { at = s; place(head, s, s); } else head.hidden = true;
      if (before === null || s === null || Math.abs(s - before) * element.clientWidth > duration_s) draw();
      tell();
    },
    /** Show where a piece of evidence was found. */
    mark: (spans) => marks.replaceChildren(...spans.map((one) => { const made = h("i"); place(made, one.start_s, one.end_s); return made; })),
  };
}
