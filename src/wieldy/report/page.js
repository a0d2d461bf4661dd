// The page is complete without this: it sorts tables, copies code and opens folded tables for print.
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
}

function sorted(rows, column, sign) {
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  return [...rows].sort((a, b) => sign * compare(key(a), key(b)));
}

if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre.code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
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
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
