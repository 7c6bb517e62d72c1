"""The CSS of all reports: light, readable at phone width, numbers aligned."""

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
  font-weight: 600; overflow-wrap: anywhere; }
.banner::before { display: inline-block; width: 1.2rem; font-weight: 700; }
.good::before { content: "\\2713"; } .unsure::before { content: "?"; } .bad::before { content: "!"; }
.good { background: #e9f5ee; border-color: #2b7a4b; } .unsure { background: #fdf4e1; border-color: #b7791f; }
.bad { background: #fbeaea; border-color: #b3261e; }
nav { font-size: .9rem; margin: 1rem 0; color: var(--soft); }
nav ol { display: inline; list-style: none; margin: 0; padding: 0; }
nav li { display: inline-block; max-width: 100%; }
nav li:not(:last-child)::after { content: "\\b7"; padding: 0 .15rem 0 .4rem; }
a { color: #1f5fa8; } nav a { text-decoration: none; overflow-wrap: anywhere; }
.long { max-height: 32rem; overflow: auto; }
.long th { position: sticky; top: 0; background: #fff; box-shadow: 0 2px var(--line); }
.search { display: flex; flex-wrap: wrap; gap: .25rem .5rem; align-items: center; font-size: .9rem; }
.search input { font: inherit; flex: 1 1 10rem; max-width: 24rem; min-width: 0; padding: .2rem .4rem; }
.search output { color: var(--soft); }
tr[hidden] { display: none !important; }
pre { background: var(--back); border: 1px solid var(--line); border-radius: .25rem; padding: .5rem .6rem;
  margin: .4rem 0; font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { display: inline-block; max-width: 100%; }  /* a word of a command is not broken at its hyphens */
.steps { padding-left: 1.4rem; margin: .5rem 0; } .steps > li { margin: .6rem 0; }
@media print { .long { max-height: none; } .search { display: none; } }
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
figcaption { color: var(--soft); font-size: .85rem; margin-top: .25rem; overflow-wrap: anywhere;
  white-space: pre-line; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row > * { flex: 1 1 14rem; min-width: 0; margin: 0; }
.row img { width: 100%; }
.columns { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.columns > * { margin: 0; min-width: 0; } .columns svg { max-width: 27rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-start; margin: .5rem 0 1rem; }
.tiles > * { flex: 0 1 auto; margin: 0; max-width: min(100%, 20rem); }
.strip { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.strip > * { margin: 0; min-width: 0; }
svg { display: block; width: 100%; max-width: 38rem; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #5b6577; }
.legend span { display: inline-block; margin-right: 1rem; font-size: .9rem; }
"""
