// What the collection holds, what is being indexed, and which files failed and why.

import { api, clock, count, h, parameters, spelled, title, toast } from "./base.js";

const COLUMNS = [["title", "Title"], ["artist", "Artist"], ["tempo", "BPM"], ["key", "Key"], ["duration", "Length"]];

/** The page; `watch(job id, onchange)` follows an indexing job. */
export async function page(_, watch) {
  const [held, { failed }] = await Promise.all([api("/status"), api("/failed")]);
  let sort = "title", cursor = null;
  const rows = h("tbody"), more = h("button.pill.more", { type: "button", onclick: () => load() }, "Show more");
  const heads = COLUMNS.map(([name, text]) => h("th", { scope: "col" }, h("button", { type: "button", onclick: () => { sort = sort === name ? `-${name}` : name; load(true); } }, text)));
  async function load(isNew = false) {
    try {
      const found = await api(`/tracks${parameters({ sort, cursor: isNew ? null : cursor })}`);
      if (isNew) rows.replaceChildren();
      rows.append(...found.tracks.map((track) => h("tr", {},
        h("td", {}, h("a", { href: `#/track/${track.id}` }, title(track))), h("td", {}, track.tags?.artist ?? ""),
        h("td.number", {}, track.tempo_bpm ? String(Math.round(track.tempo_bpm)) : "–"), h("td", {}, track.key ? spelled(track.key) : "–"), h("td.number", {}, clock(track.duration_s)))));
      cursor = found.cursor;
      more.hidden = !cursor;
      heads.forEach((head, i) => head.setAttribute("aria-sort", COLUMNS[i][0] === sort ? "ascending" : `-${COLUMNS[i][0]}` === sort ? "descending" : "none"));
    } catch (error) { toast(error.message); }
  }
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Indexing" }), now = h("span", { "aria-live": "off" });
  const job = h("p.job", { hidden: true }, bar, now);
  const follow = (one) => {
    if ((job.hidden = one.state !== "running") && rows.isConnected) dispatchEvent(new HashChangeEvent("hashchange")); // the page as it is now
    bar.value = one.total ? one.done / one.total : 0;
    now.textContent = `${one.done} of ${one.total}${one.failed ? `, ${one.failed} failed` : ""}${one.done ? `, ${clock((one.seconds / one.done) * (one.total - one.done))} left` : ""}`;
  };
  const start = h("button.pill", { type: "button", "data-for": "owner", onclick: async () => {
    try { watch((await api("/jobs/index", { method: "POST", body: {} })).id, follow); } catch (error) { toast(error.message); }
  } }, "Look for new files");
  void watch(null, follow);
  await load(true);
  return h("article.library", {},
    h("header", {}, h("h1", {}, "Library"), h("p.by", {}, `${count(held.tracks, "track")} · ${clock(held.duration_s)} of music · ${count(held.failures, "file")} failed`), start), job,
    failed.length ? h("details.failed", {}, h("summary", {}, `${count(failed.length, "file")} could not be read`),
      h("ul", {}, failed.map((one) => h("li", {}, h("code", {}, one.path), h("span", {}, one.reason))))) : null,
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Tracks" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), rows)), more);
}
