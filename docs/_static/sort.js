// A click on the head of a column sorts the tables in a "sortable" container; empty cells stay at the end.
addEventListener("DOMContentLoaded", () => {
  const number = (text) => parseFloat(text.replace("−", "-").replaceAll(",", ""));
  document.querySelectorAll(".sortable table").forEach((table) => {
    table.querySelectorAll("th").forEach((head, column) => {
      head.style.cursor = "pointer";
      head.title = "Sort by this column";
      head.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        const body = table.tBodies[0];
        const key = (row) => row.cells[column].textContent.trim();
        const compare = (a, b) => {
          if (!key(a) || !key(b)) return !key(a) - !key(b);
          const difference = number(key(a)) - number(key(b));
          return sign * (Number.isNaN(difference) ? key(a).localeCompare(key(b)) : difference);
        };
        body.append(...[...body.rows].sort(compare));
      });
    });
  });
});
