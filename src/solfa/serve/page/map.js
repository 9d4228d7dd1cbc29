// The collection as a plane: near is alike. Canvas for speed; arrows go to the nearest track, and each is said.

import { facts, fifths, h, once, say, title, toast } from "./base.js";
import { play, player, playing } from "./player.js";

const COLOURS = { key: ["Key", "Colours go round the circle of fifths."], tempo: ["Tempo", "Blue is slow, red is fast."] };

/** The page of the map. */
export async function page() {
  const { tracks } = await once("/map"), n = tracks.length;
  if (!n) return h("article.map", {}, h("header", {}, h("h1", {}, "Map"), h("p.by", {}, "Nothing is indexed yet.")));
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": `Map of ${n} tracks. Arrows go to the nearest track, enter plays it, plus and minus zoom.` });
  const card = h("div.card", { hidden: true }), frame = h("div.frame", {}, canvas, card), probe = h("i", { hidden: true });
  let colour = "key", chosen = -1, zoom = 1, centre = [0.5, 0.5], grabbed = null, colours = [];
  const legend = h("span", {}, COLOURS.key[1]);

  function paints() {
    frame.append(probe);
    const of = (classes) => { probe.className = classes; return getComputedStyle(probe).backgroundColor; };
    const wheel = Array.from({ length: 12 }, (_, i) => of(`dot f${i}`)), none = of("dot none"), ink = of("dot ink");
    const number = (track) => (colour === "key" ? fifths(track.key)?.place : track.tempo_bpm && Math.round(Math.min(8, Math.max(0, 8 - (track.tempo_bpm - 60) / 14))));
    colours = tracks.map((track) => wheel[number(track)] ?? none);
    colours.ink = ink;
    probe.remove();
  }
  const spot = (i) => { // place of a track in pixels of the page
    const [w, t] = [canvas.clientWidth, canvas.clientHeight];
    return [w / 2 + ((tracks[i].x + 1) / 2 - centre[0]) * zoom * (w - 48), t / 2 + ((1 - tracks[i].y) / 2 - centre[1]) * zoom * (t - 48)];
  };
  function draw() {
    const ratio = devicePixelRatio || 1, pen = canvas.getContext("2d");
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    pen.scale(ratio, ratio);
    const size = Math.max(1.5, Math.min(7, 60 / Math.sqrt(n))) * Math.sqrt(zoom);
    const dot = (i, r) => { const [x, y] = spot(i); pen.beginPath(); pen.arc(x, y, r, 0, 7); };
    tracks.forEach((_, i) => { dot(i, size); pen.fillStyle = colours[i]; pen.fill(); });
    pen.strokeStyle = colours.ink;
    const on = tracks.findIndex((track) => track.id === playing()?.item.id);
    if (on >= 0) { pen.lineWidth = 2; dot(on, size + 4); pen.stroke(); }
    if (chosen >= 0) { pen.lineWidth = 3; dot(chosen, size + 1); pen.stroke(); }
    card.hidden = chosen < 0 || !card.firstChild;
    if (chosen < 0) return;
    const [x, y] = spot(chosen);
    [card.style.left, card.style.top] = [`${Math.min(Math.max(x, 120), canvas.clientWidth - 120)}px`, `${y > 110 ? y - 14 : y + 100}px`];
  }
  async function choose(i) {
    if (i === chosen || i < 0) return;
    chosen = i;
    draw();
    const known = facts(tracks[i]), track = await once(`/tracks/${tracks[i].id}`).catch((error) => toast(error.message));
    if (chosen !== i || !track) return;
    card.replaceChildren(h("a", { href: `#/track/${track.id}` }, title(track)), h("span", {}, [track.tags.artist, ...known].filter(Boolean).join(" · ")));
    say(`${title(track)}, ${known.join(", ")}`);
    draw();
  }
  function nearest(x, y, isAllowed = () => true) {
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      const [a, b] = spot(i), far = (a - x) ** 2 + (b - y) ** 2;
      if (far < least && isAllowed(a - x, b - y, i)) [best, least] = [i, far];
    }
    return [best, Math.sqrt(least)];
  }
  async function start(i) {
    const track = await once(`/tracks/${tracks[i].id}`).catch((error) => toast(error.message));
    if (track) play([{ id: track.id, start_s: 0, end_s: track.duration_s, duration_s: track.duration_s, tags: track.tags, paths: track.paths }], 0);
  }
  const scale = (by) => { zoom = Math.min(20, Math.max(1, zoom * by)); if (zoom === 1) centre = [0.5, 0.5]; draw(); };
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); scale(Math.exp(-event.deltaY / 400)); }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { grabbed = { x: event.clientX, y: event.clientY, centre, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (grabbed && (grabbed.moved ||= Math.hypot(event.clientX - grabbed.x, event.clientY - grabbed.y) > 5)) {
      centre = [grabbed.centre[0] - (event.clientX - grabbed.x) / (zoom * canvas.clientWidth), grabbed.centre[1] - (event.clientY - grabbed.y) / (zoom * canvas.clientHeight)];
      return draw();
    }
    const [i, far] = nearest(event.offsetX, event.offsetY);
    if (far < 24) choose(i);
  });
  canvas.addEventListener("pointerup", (event) => {
    const [i, far] = nearest(event.offsetX, event.offsetY);
    if (!grabbed?.moved && far < 24) { choose(i); void start(i); }
    grabbed = null;
  });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const [x, y] = chosen < 0 ? [canvas.clientWidth / 2, canvas.clientHeight / 2] : spot(chosen);
      const ahead = (dx, dy, i) => i !== chosen && dx * way[0] + dy * way[1] > Math.abs(dx * way[1] + dy * way[0]);
      choose(nearest(x, y, chosen < 0 ? undefined : ahead)[0]);
    } else if (event.key === "Enter" && chosen >= 0) void start(chosen);
    else if (event.key === "+" || event.key === "=") scale(1.4);
    else if (event.key === "-") scale(1 / 1.4);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const gone = new AbortController(), again = () => { paints(); draw(); };
  for (const [from, name] of [[player, "change"], [window, "themechange"]]) from.addEventListener(name, again, { signal: gone.signal });
  addEventListener("hashchange", () => gone.abort(), { once: true });
  new ResizeObserver(again).observe(canvas);
  const by = h("div.pills", { role: "group", "aria-label": "Colour" }, Object.entries(COLOURS).map(([name, [text, said]]) => h("button.pill", { type: "button", "aria-pressed": String(name === colour), onclick: (event) => {
    [colour, legend.textContent] = [name, said];
    for (const one of by.children) one.setAttribute("aria-pressed", String(one === event.currentTarget));
    again();
  } }, text)));
  return h("article.map", {}, h("header", {}, h("h1", {}, "Map"), h("p.by", {}, "Near is alike. Touch a point to play it. ", legend), by), frame);
}
