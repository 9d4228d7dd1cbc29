// Pages by address, keys, theme, the dialogs, and what the server is doing at present.

import * as basket from "./basket.js";
import { api, byId, button, count, forget, h, percent, toast } from "./base.js";
import { actions } from "./hit.js";
import { play, playing, seek, skip, toggle } from "./player.js";
import { focusBox, read, searchPage } from "./search.js";

const view = byId("view"), places = new Map();
let here = "";
const KEYS = [["/", "to the box"], ["↑ ↓", "from hit to hit"], ["Space", "play, pause"], ["← →", "five seconds back, forward"], ["n", "next hit"],
  ["Enter", "open the track"], ["m", "more like this place"], ["+ −", "good, bad answer"], ["b", "into the playlist"], ["Shift ← →", "on a waveform: choose a part"], ["?", "these keys"]];

// --- theme ------------------------------------------------------------------------------------------------------------
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = localStorage.getItem("solfa-theme");
const otherTheme = () => ((theme ?? (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark");
function showTheme() {
  if (theme) document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", `Use ${otherTheme()} colours`);
}
byId("theme").addEventListener("click", () => {
  localStorage.setItem("solfa-theme", theme = otherTheme());
  showTheme();
  dispatchEvent(new Event("themechange"));
});
showTheme();

// --- pages ------------------------------------------------------------------------------------------------------------
async function go() {
  const hash = location.hash || "#/", [page, id] = hash.slice(2).split("?")[0].split("/");
  if (here) places.set(here, scrollY);
  here = page ? hash : "search";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!page) {
    document.title = "solfa";
    read(hash);
    if (!searchPage.isConnected) { view.replaceChildren(searchPage); if (places.has("search")) scrollTo(0, places.get("search")); }
    return;
  }
  try {
    const found = ["track", "map", "library"].includes(page) ? await import(`./${page}.js`) : { page: () => h("p.empty", {}, "There is no such page.") };
    const made = await found.page(id, watch);
    if (location.hash !== hash) return;
    view.replaceChildren(made);
  } catch (error) {
    view.replaceChildren(h("p.empty", { role: "alert" }, error.message));
  }
  document.title = `${view.querySelector("h1")?.textContent ?? page} · solfa`;
  scrollTo(0, places.get(hash) ?? 0);
  view.focus({ preventScroll: true });
}
addEventListener("hashchange", go);

// --- dialogs ----------------------------------------------------------------------------------------------------------
const helpBox = byId("help"), single = h("input", { type: "checkbox", role: "switch", checked: localStorage.getItem("solfa-keys") !== "no", onchange: () => localStorage.setItem("solfa-keys", single.checked ? "yes" : "no") });
helpBox.append(h("header", {}, h("h2", { id: "help-title" }, "Keys"), button("close", "Close", () => helpBox.close())),
  h("dl", {}, KEYS.map(([key, what]) => h("div", {}, h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)))), h("label.switch", {}, single, "Use keys of one letter"));
byId("help-open").addEventListener("click", () => helpBox.showModal());
byId("basket-open").addEventListener("click", () => byId("basket").showModal());
for (const box of document.querySelectorAll("dialog")) box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
basket.onplay.run = (items, i) => play(items.map((item) => ({ start_s: 0, end_s: item.duration_s, ...item })), i);
basket.draw();

// --- indexing ---------------------------------------------------------------------------------------------------------
let source = null;
/** Show how a job, or the one that runs, goes until it ends; `onchange(job)` as well. */
async function watch(id, onchange) {
  const job = id ?? (await api("/jobs").catch(() => ({ jobs: [] }))).jobs.find((one) => one.state === "running")?.id;
  if (!job) return;
  let seen = -1, told = 0;
  source?.close();
  source = new EventSource(`/api/v1/jobs/${encodeURIComponent(job)}/events`);
  const line = byId("indexing");
  source.addEventListener("error", ({ target }) => { if (target.readyState === 2) { line.hidden = true; setTimeout(watch, 5000, null, onchange); } }); // another server
  source.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    line.hidden = job.state !== "running";
    line.querySelector("progress").value = job.total ? job.done / job.total : 0;
    line.querySelector("span").textContent = `Indexing ${percent(job.total ? job.done / job.total : 0)}`;
    onchange?.(job);
    const isNews = job.total && job.done > seen && Date.now() - told > 5000; // what is finished is shown now and then
    if (isNews || job.state !== "running") { forget(); [seen, told] = [job.done, Date.now()]; dispatchEvent(new Event("collectionchange")); }
    if (job.state === "running") return;
    source.close();
    const { added = 0, updated = 0, failed = [], known_bad = [] } = job.report ?? {};
    toast(job.report ? `Indexed ${count(added + updated, "file")}, ${failed.length + known_bad.length} could not be read.` : `Indexing ${job.state}. ${job.error}`);
  });
}

// --- keys -------------------------------------------------------------------------------------------------------------
addEventListener("keydown", (event) => {
  const target = event.target, isTyping = target.matches("input:not([type=checkbox]), textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping) return event.key === "Escape" ? target.blur() : undefined;
  const rows = [...document.querySelectorAll(".hit")], row = target.closest(".hit"), i = rows.indexOf(row);
  const current = actions.get(row ?? rows.find((one) => one.classList.contains("on")));
  const isButton = target.closest("button, a, summary, [role=button], [type=checkbox]");
  const walk = (to) => { if (!rows[to]) return false; for (const one of rows) one.tabIndex = one === rows[to] ? 0 : -1; rows[to].focus(); };
  const act = {
    "/": () => {
      if (searchPage.isConnected) return focusBox();
      addEventListener("hashchange", focusBox, { once: true });
      location.hash = "#/";
    },
    "?": () => helpBox.showModal(),
    ArrowDown: () => walk(i + 1), ArrowUp: () => (i > 0 ? walk(i - 1) : i === 0 ? focusBox() : false),
    ArrowLeft: () => (playing() ? seek(-5) : false), ArrowRight: () => (playing() ? seek(5) : false),
    " ": () => { if (isButton) return false; if (row) current.play(); else return toggle(); },
    Enter: () => (row && row === target ? current.open() : false),
    n: () => skip(1), m: () => current?.like(), b: () => current?.keep(), "+": () => current?.good(), "=": () => current?.good(), "-": () => current?.bad(),
  }[event.key];
  if (act && (single.checked || event.key.length > 1 || event.key === " ") && act() !== false) event.preventDefault();
});
go(); // first: the search of the address does not wait for the rest
api("/status").then(({ role }) => { document.body.dataset.role = role; }, (error) => toast(error.message));
void watch();
