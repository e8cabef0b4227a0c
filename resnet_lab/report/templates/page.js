"use strict";

function sortBy(table, column, head) {
  const first = head.dataset.first;
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  for (const each of table.tHead.querySelectorAll("[aria-sort]")) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b) =>
    isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : Number(a) - Number(b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => sign * compare(value(a), value(b)));
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => sortBy(table, column, head));
  });
}

for (const matrix of document.querySelectorAll("table.matrix")) {
  const classes = matrix.dataset.order.split(" ");
  const rows = new Map([...matrix.tBodies[0].rows].map((row, at) => [classes[at], row]));
  const lines = [...matrix.rows].map((row) => ({ row, cells: [...row.cells] }));
  const arrange = (order) => {
    for (const { row, cells } of lines) {
      row.append(...order.map((k) => cells[1 + classes.indexOf(k)]), cells[cells.length - 1]);
    }
    matrix.tBodies[0].append(...order.map((k) => rows.get(k)));
  };
  for (const choice of document.querySelectorAll(`input[name="${matrix.id}-order"]`)) {
    choice.addEventListener("change", () => arrange(choice.value.split(" ")));
    if (choice.checked) arrange(choice.value.split(" "));
  }
  const readout = document.getElementById(`${matrix.id}-readout`);
  for (const kind of ["mouseover", "click"]) {
    matrix.addEventListener(kind, (event) => {
      const cell = event.target.closest("td[title]");
      if (cell) readout.textContent = cell.title;
    });
  }
}

for (const pictures of document.querySelectorAll(".work .pictures")) {
  const details = pictures.parentElement.querySelector("details");
  pictures.addEventListener("click", () => { details.open = !details.open; });
}

const reload = document.getElementById("reload");
if (reload) {
  const key = `reload ${location.pathname}`;
  const folds = [...document.querySelectorAll("details")];
  const name = (fold) => `${fold.closest("section")?.getAttribute("aria-labelledby")} ${fold.querySelector("summary").textContent}`;
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
  history.scrollRestoration = "manual";
  if (kept) {
    reload.checked = kept.on;
    for (const fold of folds) fold.open = kept.open.includes(name(fold));
    scrollTo({ top: kept.top, behavior: "instant" });
  }
  const keep = () => {
    const open = folds.filter((fold) => fold.open).map(name);
    sessionStorage.setItem(key, JSON.stringify({ on: reload.checked, open, top: scrollY }));
  };
  reload.addEventListener("change", keep);
  setInterval(() => {
    if (!reload.checked) return;
    keep();
    location.reload();
  }, 1000 * reload.dataset.seconds);
}
