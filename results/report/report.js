// Sorts and filters tables, and opens the record that a link leads to.
for (const table of document.querySelectorAll("table.sorted")) {
  new DataTable(table, {
    paging: false,
    order: [],
    autoWidth: false,
    layout: { topStart: "search", topEnd: null, bottomStart: "info", bottomEnd: null },
    language: { search: "Filter:", info: "_TOTAL_ rows", infoEmpty: "0 rows", infoFiltered: "(of _MAX_)" },
  });
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  const focused = target.querySelector("summary, h3") ?? target;
  focused.focus({ preventScroll: true });
  target.scrollIntoView();
}

window.addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#']");
  // a second click on the same link does not change the hash
  if (link && link.hash === location.hash) reveal();
});
reveal();
