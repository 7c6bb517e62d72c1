"""The CSS of all reports, and the only script of a page: a click on a heading sorts its table.

Light, readable at phone width, numbers aligned. Without the script a sortable table is a plain table.
"""

STYLE = """
:root { color-scheme: light; --ink: #1c2330; --soft: #5b6577; --line: #dde2ea; --back: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .25rem; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); }
section { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin: 1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
th.number { white-space: normal; max-width: 12rem; }
th:first-child, td:first-child { min-width: 7rem; padding-left: 0; }
.grid td.number { min-width: 2.8rem; text-align: center; } .grid th.number { text-align: center; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.grid th[scope=row] { font-weight: 400; border-bottom: 1px solid var(--line); max-width: 20rem; }
td:last-child:not(.number) { overflow-wrap: anywhere; min-width: 12rem; }
.banner { padding: .6rem .8rem; border-left: .3rem solid; border-radius: .25rem; max-width: none;
  font-weight: 600; }
.good { background: #e9f5ee; border-color: #2b7a4b; } .unsure { background: #fdf4e1; border-color: #b7791f; }
.bad { background: #fbeaea; border-color: #b3261e; }
td small { color: var(--soft); font-size: .75rem; }
@media (max-width: 40rem) {
  .stacked, .stacked tbody, .stacked tr, .stacked td { display: block; }
  .stacked thead { display: none; }
  .stacked tr { padding: .4rem 0; border-bottom: 2px solid var(--line); }
  .stacked td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0; }
  .stacked td::before { content: attr(data-label); color: var(--soft); text-align: left; flex: none;
    max-width: 9rem; white-space: normal; overflow-wrap: anywhere; }
  .stacked td:first-child { display: block; font-weight: 600; overflow-wrap: anywhere; }
  .stacked td:first-child::before { content: none; }
}
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #1f5fa8; }
th button::after { content: "\\2195"; color: #8a93a3; padding-left: .25rem; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: "\\2193"; color: var(--ink); }
details { margin: .4rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
details ul { margin: .25rem 0 .75rem; padding-left: 1.25rem; font-size: .85rem; overflow-wrap: anywhere; }
figure { margin: .75rem 0; }
figure img { max-width: 100%; height: auto; image-rendering: auto; border-radius: .25rem; display: block; }
figure figure { margin: 0 0 .4rem; }
figcaption { color: var(--soft); font-size: .85rem; margin-top: .25rem; overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row > * { flex: 1 1 14rem; min-width: 0; margin: 0; }
.row img { width: 100%; }
.columns { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.columns > * { margin: 0; min-width: 0; } .columns svg { max-width: 27rem; }
svg { display: block; width: 100%; max-width: 38rem; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #5b6577; }
.legend span { display: inline-block; margin-right: 1rem; font-size: .9rem; }
"""

# words go up first and numbers down, a second click turns round; cells without a number stay last
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => {
    const button = document.createElement("button"), numeric = head.classList.contains("number");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const key = numeric ? row => parseFloat(row.cells[i].dataset.value) : row => row.cells[i].textContent;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = (a, b) => {
        if (!numeric) return up ? a.localeCompare(b, "en") : b.localeCompare(a, "en");
        if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
        return up ? a - b : b - a;
      };
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
}
"""
