// The playlist that is being put together: kept in this browser, written by the server.

import { api, byId, button, clock, count, h, refill, say, title, toast } from "./base.js";

export const changed = new EventTarget();
const KEY = "solfa-basket";
let items = [];
try {
  const read = JSON.parse(localStorage.getItem(KEY) ?? "[]");
  items = read.filter((item) => Number.isInteger(item.id) && Number.isFinite(item.duration_s));
} catch { items = []; }

export const has = (id) => items.some((item) => item.id === id);

export function toggle(item) {
  const isThere = has(item.id);
  set(isThere ? items.filter((one) => one.id !== item.id) : [...items, item]);
  say(`${title(item)} ${isThere ? "taken out of" : "added to"} the playlist, ${count(items.length, "track")}`);
}

function set(next) {
  items = next;
  localStorage.setItem(KEY, JSON.stringify(items));
  draw();
  changed.dispatchEvent(new Event("change"));
}

function move(from, step) {
  const next = [...items], [one] = next.splice(from, 1);
  next.splice(from + step, 0, one);
  set(next);
}

/** Have the server write the playlist, and save what it wrote. */
async function save(format) {
  try {
    const answer = await api("/playlists", { method: "POST", body: { ids: items.map((item) => String(item.id)), format }, raw: true });
    const link = h("a", { href: URL.createObjectURL(await answer.blob()), download: `solfa.${format}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) { toast(error.message); }
}

/** Play the playlist; set by whoever knows the player. */
export const onplay = { run: () => {} };

export function draw() {
  const box = byId("basket");
  byId("basket-count").textContent = items.length || "";
  byId("basket-open").setAttribute("aria-label", `Playlist, ${count(items.length, "track")}`);
  const row = (item, i) => h("li", {},
    h("button.name", { type: "button", onclick: () => onplay.run(items, i) }, h("b", {}, title(item)), h("span", {}, [item.tags?.artist, clock(item.duration_s)].filter(Boolean).join(" · "))),
    button("up", `Move ${title(item)} up`, () => move(i, -1), { disabled: i === 0 }),
    button("down", `Move ${title(item)} down`, () => move(i, 1), { disabled: i === items.length - 1 }),
    button("close", `Take out ${title(item)}`, () => toggle(item)));
  refill(box,
    h("header", {}, h("h2", { id: "basket-title" }, "Playlist"), h("span.facts", {}, `${count(items.length, "track")}, ${clock(items.reduce((sum, item) => sum + item.duration_s, 0))}`),
      button("close", "Close the playlist", () => box.close())),
    items.length ? h("ol", {}, items.map(row)) : h("p.empty", {}, "Nothing yet. Add hits with ", h("kbd", {}, "b"), " or their plus."),
    h("footer", {}, ["m3u8", "xspf", "csv"].map((format) => h("button.pill", { type: "button", disabled: !items.length, onclick: () => save(format) }, format.toUpperCase())),
      h("button.pill", { type: "button", disabled: !items.length, onclick: () => set([]) }, "Clear")));
}
