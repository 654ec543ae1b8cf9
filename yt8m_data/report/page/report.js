"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const count = (number) => number.toLocaleString("en");

// --- The label table: all rows are here, a page of them is in the document.
const PAGE = data.page;
const heads = [...document.querySelectorAll("#label-table thead th")];
const body = document.querySelector("#label-table tbody");
const search = document.getElementById("search");
const found = document.getElementById("found");
const more = document.getElementById("more");
const texts = new Map(data.rows.map((row) => [row, (row[0] + " " + row[1].split("\n")[0]).toLowerCase()]));
let rows = [...data.rows];
let matching = rows;
let shown = body.rows.length;

const cell = (text, column) => {
  const element = document.createElement(column === 1 ? "th" : "td");
  if (column === 1) {
    const [name, companions] = text.split("\n");
    element.scope = "row";
    element.append(name);
    if (companions) {
      const small = document.createElement("small");
      small.textContent = companions;
      element.append(small);
    }
  } else {
    element.className = heads[column].className;
    element.textContent = text;
  }
  return element;
};

const draw = () => {
  body.replaceChildren(...matching.slice(0, shown).map((row) => {
    const line = document.createElement("tr");
    line.append(...row.map(cell));
    return line;
  }));
  more.hidden = shown >= matching.length;
  more.textContent = `Show ${count(Math.min(5 * PAGE, matching.length - shown))} more of ${count(matching.length)}`;
};

const filter = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  matching = words.length ? rows.filter((row) => words.every((word) => texts.get(row).includes(word))) : rows;
  shown = PAGE;
  found.textContent = count(matching.length) + (matching.length === 1 ? " label" : " labels") + (words.length ? " found" : " with videos");
  draw();
};

heads.forEach((head, column) => head.addEventListener("click", () => {
  const numeric = head.classList.contains("n");
  const falling = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric && column > 0;
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const value = (text) => (text === "–" ? -1 : parseFloat(text.replaceAll(",", "")));
  const compare = numeric ? (a, b) => value(a[column]) - value(b[column]) : (a, b) => a[column].localeCompare(b[column], "en");
  rows = [...data.rows].sort((a, b) => (falling ? compare(b, a) : compare(a, b)));
  filter();
}));
search.addEventListener("input", filter);
more.addEventListener("click", () => {
  shown += 5 * PAGE;
  draw();
});
filter();

// --- Reading a plot: what the pointer is at, below the plot.
const readable = (name, say) => {
  const figure = document.querySelector(`figure[data-plot="${name}"]`);
  if (!figure) return;
  const readout = figure.querySelector(".readout");
  readout.textContent = readout.dataset.idle;
  figure.querySelectorAll("svg").forEach((svg) => {
    const [left, top, width, height] = svg.dataset.box.split(" ").map(Number);
    const mark = document.createElementNS(svg.namespaceURI, "rect");
    mark.setAttribute("class", "mark");
    svg.append(mark);
    const point = (event) => {
      const scale = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
      const x = ((event.clientX - svg.getBoundingClientRect().left) * scale - left) / width;
      const y = ((event.clientY - svg.getBoundingClientRect().top) * scale - top) / height;
      if (x < 0 || x >= 1 || y < 0 || y >= 1) return;
      const answer = say(x, y, svg);
      if (!answer) return;
      readout.replaceChildren(...answer.text);
      const [at, level, wide, high] = answer.mark;
      for (const [key, value] of [["x", left + at * width], ["y", top + level * height], ["width", wide * width], ["height", high * height]]) {
        mark.setAttribute(key, value.toFixed(2));
      }
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
  });
};
const bold = (text) => {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
};

readable("rank_frequency", (x, y, svg) => {
  const [first, last] = svg.dataset.x.split(" ").map(Number);
  const rank = Math.round(first * (last / first) ** x);
  const row = data.rows[rank - 1];
  if (!row) return null;
  const at = Math.log(rank / first) / Math.log(last / first);
  return { text: [`Rank ${count(rank)}: `, bold(row[1].split("\n")[0]), `, ${row[2]} videos`], mark: [at, 0, 0, 1] };
});

readable("cooccurrence", (x, y, svg) => {
  const { names, share, wide, narrow } = data.cooccurrence;
  const order = svg.closest(".narrow") ? narrow : wide;
  const row = Math.floor(y * order.length);
  const column = Math.floor(x * order.length);
  const [i, j] = [order[row], order[column]];
  const text = i === j
    ? [bold(names[i])]
    : [bold(`${(share[i][j] * 100).toFixed(1)}%`), " of the videos with ", bold(names[i]), " also carry ", bold(names[j])];
  const side = 1 / order.length;
  return { text, mark: [column * side, row * side, side, side] };
});
