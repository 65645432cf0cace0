"use strict";

const CASES_PER_PAGE = 24;
const REASONS_PER_PAGE = 15;

// What is looked at lies in the address behind the #, so that it can be kept, sent and gone back to.

function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    dataset: given.get("dataset") || "",
    status: given.get("status") || "",
    search: given.get("search") || "",
    page: Number(given.get("page")) || 1,
    reasons: Number(given.get("reasons")) || 1,
  };
}

function writeState(state) {
  const worth = Object.entries(state).filter(([name, value]) => value && !(name in { page: 0, reasons: 0 } && value === 1));
  return "#" + new URLSearchParams(worth).toString();
}

function notesOf(item) {
  return item.notes || [];
}

function statusOf(item) {
  return item.problems.length ? "quarantined" : "done";
}

/** Return the cases that pass the filters: quarantined ones, those of which something was left out, the others. */
function select(cases, state) {
  const wanted = state.search.toLowerCase();
  const chosen = cases.filter((item) =>
    (!state.dataset || item.dataset === state.dataset)
    && (!state.status || statusOf(item) === state.status)
    && item.id.toLowerCase().includes(wanted));
  const rank = (item) => (item.problems.length ? 0 : notesOf(item).length ? 1 : 2);
  return [0, 1, 2].flatMap((wanted) => chosen.filter((item) => rank(item) === wanted));
}

/** Return one page of a list; a number beyond its ends is the first or the last page. */
function pageOf(items, number, size) {
  const pages = Math.max(1, Math.ceil(items.length / size));
  const page = Math.min(Math.max(1, Math.trunc(number)), pages);
  return { page, pages, items: items.slice((page - 1) * size, page * size) };
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function row(cells, tag = "td") {
  return element("tr", {}, ...cells.map((cell) => element(tag, {}, cell)));
}

function percent(share) {
  return (100 * Number(share)).toFixed(1) + " %";
}

function numbersOf(item) {
  const rows = item.regions.map((region) => row([
    element("span", { title: region.evidence }, region.region),
    `${region.p01_hu} / ${region.p50_hu} / ${region.p99_hu}`,
    `${percent(region.below_window)} / ${percent(region.above_window)}`,
    `${Math.round(region.body_ml)} / ${Math.round(region.lung_ml)} / ${Math.round(region.liver_ml)}`,
  ]));
  const head = row(["region", "HU at 1 / 50 / 99 %", "clipped below / above", "ml of body / lung / liver"], "th");
  return element("table", {}, head, ...rows);
}

function card(item) {
  const parts = [];
  if (item.picture) {
    const image = element("img", { loading: "lazy", decoding: "async", src: item.picture, alt: item.id });
    parts.push(element("a", { href: item.picture, target: "_blank" }, image));
  }
  const source = item.regions.length
    ? ` · ${item.regions[0].source_size_xyz} at ${item.regions[0].source_spacing_mm} mm` : "";
  parts.push(element("figcaption", {}, element("strong", {}, item.id), ` ${item.split}${source}`));
  for (const problem of item.problems) {
    parts.push(element("p", { className: "problem" }, `${problem.stage}: ${problem.reason}`));
  }
  for (const note of notesOf(item)) {
    parts.push(element("p", { className: "remark" }, `${note.stage}: ${note.note}`));
  }
  if (item.regions.length) parts.push(numbersOf(item));
  for (const line of item.lines || []) parts.push(element("p", {}, line));
  return element("figure", { className: statusOf(item) }, ...parts);
}

function pager(nav, shown, turn) {
  const button = (text, page, label) => element("button", {
    type: "button", disabled: page < 1 || page > shown.pages || page === shown.page, ariaLabel: label,
    onclick: () => turn(page),
  }, text);
  nav.hidden = shown.pages === 1;
  nav.replaceChildren(
    button("«", 1, "first page"), button("‹", shown.page - 1, "page before"),
    `page ${shown.page} of ${shown.pages}`,
    button("›", shown.page + 1, "next page"), button("»", shown.pages, "last page"));
}

function start() {
  const cases = JSON.parse(document.getElementById("cases").textContent);
  const byId = (id) => document.getElementById(id);
  const state = () => readState(location.hash);
  const go = (change) => { location.hash = writeState({ ...state(), ...change }); };
  // A filter takes the place of the one before: the key "back" should not go through every letter typed.
  const filter = (change) => location.replace(writeState({ ...state(), page: 1, reasons: 1, ...change }));

  const datasets = [...new Set(cases.map((item) => item.dataset))].sort();
  byId("dataset").append(...datasets.map((name) => element("option", {}, name)));

  function draw() {
    const now = state();
    const chosen = select(cases, now);
    const bad = select(cases, { ...now, status: "quarantined" });
    const reasons = bad.flatMap((item) => item.problems.map((problem) => ({ item, ...problem })));
    const shown = pageOf(chosen, now.page, CASES_PER_PAGE);
    const listed = pageOf(reasons, now.reasons, REASONS_PER_PAGE);
    for (const name of ["dataset", "status", "search"]) {
      if (byId(name).value !== now[name]) byId(name).value = now[name];
    }
    const partly = chosen.filter((item) => notesOf(item).length).length;
    byId("count").textContent =
      `${chosen.length} of ${cases.length} cases, ${bad.length} quarantined, something left out of ${partly}`;
    byId("quarantine").replaceChildren(...listed.items.map(({ item, stage, reason }) => {
      const link = item.picture ? element("a", { href: item.picture, target: "_blank" }, item.id) : item.id;
      const line = row([link, stage, reason]);
      line.lastChild.className = "reason";
      return line;
    }));
    if (!reasons.length) byId("quarantine").append(row(["None.", "", ""]));
    byId("thumbnails").replaceChildren(...shown.items.map(card));
    pager(byId("pager"), shown, (page) => go({ page }));
    pager(byId("quarantine-pager"), listed, (page) => go({ reasons: page }));
  }

  for (const name of ["dataset", "status", "search"]) {
    byId(name).addEventListener("input", (event) => filter({ [name]: event.target.value }));
  }
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", draw);
  addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target.closest("input, select")) return;
    const { page, pages } = pageOf(select(cases, state()), state().page + step, CASES_PER_PAGE);
    if (pages > 1) go({ page });
  });
  draw();
}

if (typeof document !== "undefined") start();
