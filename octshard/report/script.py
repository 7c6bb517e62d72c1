"""The scripts of a page: a click on a heading sorts its table, a box above a long one filters its rows.

Neither fetches anything. Without them a table is a plain table, and there is no box.
"""

# words go up first and numbers down, a second click turns round; cells without a number stay last
SORT = """
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

# every word must stand in the row, in any case; 12345 also finds what is shown in groups of three
SEARCH = r"""
for (const box of document.querySelectorAll(".long")) {
  const make = name => document.createElement(name);
  const label = make("label"), field = make("input"), count = make("output");
  const rows = [...box.querySelector("tbody").rows];
  const plain = text => text.toLowerCase().replace(/\u202f/g, "").replace(/\u2212/g, "-");
  const texts = rows.map(row => plain([...row.cells].map(cell => cell.textContent).join(" ")));
  const show = () => {
    const words = plain(field.value).split(/\s+/).filter(word => word);
    rows.forEach((row, i) => { row.hidden = !words.every(word => texts[i].includes(word)); });
    const shown = rows.filter(row => !row.hidden).length;
    count.value = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  };
  label.className = "search";
  field.type = "search";
  label.append("Search", field, count);
  field.addEventListener("input", show);
  box.before(label);
  show();
}
"""
