// The page is complete without this: it sorts, filters and hands out tables, copies code, shows what a mark of a
// chart stands for to pointer and keyboard, and opens folded tables for print.
const collator = new Intl.Collator("en", { numeric: true });

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const now = was === "descending" ? "ascending" : was === "ascending" ? null : "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (now) head.setAttribute("aria-sort", now);
      body.append(...(now ? sorted(original, column, now === "ascending" ? 1 : -1) : original));
    });
  });
  addTools(table, original);
}

function sorted(rows, column, sign) {
  const keys = new Map(rows.map((row) => [row, key(row.cells[column])]));
  return [...rows].sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
}

// Numbers by their size and before words; nothing comes before both.
function key(cell) {
  const value = cell.dataset.key ?? values(cell)[0];
  return value === "" || Number.isNaN(Number(value)) ? value : Number(value);
}

function compare(a, b) {
  const rank = (value) => (value === "" ? 0 : typeof value === "number" ? 1 : 2);
  return rank(a) - rank(b) || (rank(a) === 1 ? a - b : collator.compare(a, b));
}

// What a cell says, as it is recorded.
function values(cell) {
  return cell.dataset.raw ? JSON.parse(cell.dataset.raw) : [cell.textContent];
}

// A box that filters the rows, a line that says how many are left, and a button that hands them out.
function addTools(table, rows) {
  const name = table.dataset.name;
  const tools = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const status = document.createElement("span");
  tools.className = "tools";
  input.type = "search";
  input.placeholder = "name, operation, method …";
  label.append(`Filter ${name} `, input);
  status.setAttribute("role", "status");
  const filter = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const words = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !wanted.every((word) => words.includes(word));
    }
    status.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} ${name}`;
  };
  input.addEventListener("input", filter);
  filter();
  const save = download("Download CSV", `${name}.csv`, "text/csv", () => csv(table));
  tools.append(label, status, save);
  table.parentElement.before(tools);
}

// The rows that are shown, in the order in which they are; values as they are recorded, not as they are rounded.
function csv(table) {
  const heads = [...table.tHead.rows[0].cells].flatMap((head) => head.dataset.names.split("|"));
  const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const rows = shown.map((row) => [...row.cells].flatMap(values));
  return [heads, ...rows].map((row) => row.map(quoted).join(",") + "\r\n").join("");
}

// A text that a spreadsheet could take for a formula begins with an apostrophe, which it does not show.
function quoted(value) {
  const text = typeof value === "string" && /^\s*[=+\-@]|^[\t\r\n]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download(words, name, type, content) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = words;
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content()], { type: `${type};charset=utf-8` }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  return button;
}

for (const place of document.querySelectorAll("[data-download]")) {
  const text = document.getElementById(place.dataset.download).content.textContent;
  place.append(download("Download as Markdown", "model-card.md", "text/markdown", () => text));
}

// Charts: one stop of the tab key each; arrows go from mark to mark, Escape hides what is said of it.
const tip = document.createElement("div");
tip.id = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);

function show(mark) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const [at, own] = [mark.getBoundingClientRect(), tip.getBoundingClientRect()];
  const wide = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(at.left + at.width / 2 - own.width / 2, wide - own.width - 8));
  const above = at.top - own.height - 8;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : at.bottom + 8) + scrollY}px`;
}

const hide = () => (tip.hidden = true);
const middle = (mark) => {
  const box = mark.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};

for (const chart of document.querySelectorAll("svg.chart")) {
  const marks = [...chart.querySelectorAll(".mark")];
  if (!marks.length) continue;
  chart.setAttribute("role", "group");
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", title.textContent);
    mark.setAttribute("tabindex", "-1");
    title.remove(); // or the browser shows it a second time
    mark.addEventListener("focus", () => show(mark));
    mark.addEventListener("blur", hide);
  }
  for (const kind of ["pointermove", "pointerdown"]) {
    chart.addEventListener(kind, (event) => {
      const near = nearest(marks, event.clientX, event.clientY);
      near ? show(near) : hide();
    });
  }
  chart.addEventListener("pointerleave", hide);
  (chart.querySelector(".mark .ring")?.parentElement ?? marks[0]).setAttribute("tabindex", "0");
  chart.addEventListener("keydown", (event) => {
    const here = marks.indexOf(document.activeElement);
    if (event.key === "Escape") hide();
    if (here < 0) return;
    const next = neighbour(marks, here, event.key);
    if (!next) return;
    event.preventDefault();
    marks.forEach((mark) => mark.setAttribute("tabindex", mark === next ? "0" : "-1"));
    next.focus();
  });
}

// The mark under the pointer, or one so near that it is meant.
function nearest(marks, x, y) {
  const apart = (mark) => {
    const box = mark.getBoundingClientRect();
    const beside = Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
    const [across, down] = middle(mark);
    return beside + Math.hypot(across - x, down - y) / 1000;
  };
  const found = marks.map((mark) => [apart(mark), mark]).sort((a, b) => a[0] - b[0])[0];
  return found[0] < 12 ? found[1] : undefined;
}

// Left and right go through the marks as they lie from left to right; up and down as they follow each other.
function neighbour(marks, here, key) {
  if (key === "Home") return marks[0];
  if (key === "End") return marks.at(-1);
  if (key === "ArrowUp" || key === "ArrowDown") return marks[here + (key === "ArrowDown" ? 1 : -1)];
  if (key !== "ArrowLeft" && key !== "ArrowRight") return undefined;
  const places = new Map(marks.map((mark) => [mark, middle(mark)]));
  const order = [...marks].sort((a, b) => places.get(a)[0] - places.get(b)[0] || places.get(a)[1] - places.get(b)[1]);
  return order[order.indexOf(marks[here]) + (key === "ArrowRight" ? 1 : -1)];
}

if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre.code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    block.before(button);
  }
}

let opened = [];
addEventListener("beforeprint", () => {
  hide();
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
