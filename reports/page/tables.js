// Tables: the first hundred rows stand in the page, all are in its data, from which they are sorted and filtered.

const PAGE = 100;
const DIGITS = 4; // with fewer a digest is not meant
const collator = new Intl.Collator("en", { numeric: true });
const tablesData = read("tables-data");

const made = (name, classes, text) => {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
};

const linked = (href, text, classes) => {
  const link = made("a", classes, text);
  link.href = href;
  return link;
};

// Columns that were packed

const digests = (column) => {
  const data = atob(column.base64);
  const width = column.hex / 2;
  const nothing = "0".repeat(column.hex);
  return Array.from({ length: data.length / width }, (_, row) => {
    let text = "";
    for (let at = row * width; at < (row + 1) * width; at += 1) {
      text += data.charCodeAt(at).toString(16).padStart(2, "0");
    }
    return text === nothing ? null : text;
  });
};

const unpacked = (column) => {
  if (Array.isArray(column)) return column;
  if (column.base64) return digests(column);
  if (column.at) return column.at.map((place) => column.of[place]);
  const values = [];
  for (let at = 0; at < column.times.length; at += 2) {
    for (let count = 0; count < column.times[at + 1]; count += 1) values.push(column.of[column.times[at]]);
  }
  return values;
};

const records = (columns) => {
  const lists = Object.entries(columns).map(([name, column]) => [name, unpacked(column)]);
  const count = lists.length ? lists[0][1].length : 0;
  return Array.from({ length: count }, (_, place) =>
    Object.fromEntries(lists.filter(([, values]) => values[place] !== null).map(([name, values]) => [name, values[place]])),
  );
};

// Sorting: the empty last in either direction

const order = (a, b, falling) => {
  const emptyA = a === null || a === "";
  const emptyB = b === null || b === "";
  if (emptyA || emptyB) return emptyA - emptyB;
  const both = typeof a === "number" && typeof b === "number";
  const result = both ? a - b : collator.compare(String(a), String(b));
  return falling ? -result : result;
};

// Texts are compared once each, however many rows have them
const ranked = (values) => {
  if (values.every((value) => value === null || typeof value === "number")) return values;
  const sorted = Array.from(new Set(values)).sort((a, b) => order(a, b, false));
  const rank = new Map(sorted.map((value, place) => [value, place]));
  return values.map((value) => (value === null || value === "" ? null : rank.get(value)));
};

// A grid is a table with its data. `source` has: rows, titles, value(row, column), make(row), and what a filter looks
// at: text(row), and digests(row), of which it knows the beginning.

const grids = new Map();

const grid = (id, source) => {
  const table = byId(id + "-rows");
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  const filter = byId(id + "-filter");
  const pager = byId(id + "-pager");
  const every = Array.from({ length: source.rows }, (_, row) => row);
  const drawn = new Map(Array.from(body.rows, (element, row) => [row, element]));
  const slugs = source.titles.map((title, place) => {
    const name = slug(title) || "column";
    return source.titles.findIndex((other) => (slug(other) || "column") === name) === place ? name : name + "-" + (place + 1);
  });
  const own = (name) => (id === "runs" ? name : id + "." + name);
  let ordered = every;
  let shown = every;
  let only = null;
  let from = 0;
  let lit = new Set();
  let texts = null;

  const rowOf = (row) => {
    if (!drawn.has(row)) drawn.set(row, source.make(row));
    const element = drawn.get(row);
    element.classList.toggle("lit", lit.has(row));
    return element;
  };

  const show = () => {
    const rows = shown.slice(from, from + PAGE);
    body.replaceChildren(...rows.map(rowOf));
    const last = from + rows.length;
    pager.querySelector("[data-place]").textContent =
      (rows.length ? from + 1 : 0).toLocaleString("en") + " to " + last.toLocaleString("en") + " of " + shown.length.toLocaleString("en");
    pager.querySelector("[data-turn=back]").disabled = from === 0;
    pager.querySelector("[data-turn=next]").disabled = last >= shown.length;
    pager.hidden = source.rows <= PAGE && shown.length === source.rows;
  };

  const choose = () => {
    const words = filter ? filter.value.toLowerCase() : "";
    if (words && !texts) texts = every.map((row) => source.text(row).toLowerCase());
    const among = only ? ordered.filter((row) => only.has(row)) : ordered;
    const found = (row) =>
      texts[row].includes(words) || (words.length >= DIGITS && source.digests(row).some((each) => each.startsWith(words)));
    shown = words ? among.filter(found) : among;
    from = 0;
    show();
  };

  const sort = (place, falling) => {
    heads.forEach((head, at) => {
      head.setAttribute("aria-sort", at !== place ? "none" : falling ? "descending" : "ascending");
    });
    if (place < 0) ordered = every;
    else {
      const values = ranked(every.map((row) => source.value(row, place)));
      ordered = every.slice().sort((a, b) => order(values[a], values[b], falling) || a - b);
    }
  };

  heads.forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      sort(place, falling);
      remember(own("sort"), (falling ? "-" : "") + slugs[place]);
      choose();
    });
  });
  if (filter) {
    filter.addEventListener("input", () => {
      remember(own("filter"), filter.value);
      choose();
    });
  }
  all("[data-turn]", pager).forEach((button) => {
    button.addEventListener("click", () => {
      from = Math.max(0, from + (button.dataset.turn === "next" ? PAGE : -PAGE));
      show();
    });
  });

  const restore = () => {
    const wanted = told(own("sort"));
    const words = told(own("filter"));
    const falling = wanted.startsWith("-");
    const place = slugs.indexOf(falling ? wanted.slice(1) : wanted);
    const sorted = heads.some((head) => head.getAttribute("aria-sort") !== "none");
    if (place < 0 && !sorted && (!filter || filter.value === words)) return;
    sort(place, falling);
    if (filter) filter.value = words;
    choose();
  };

  grids.set(id, {
    restore,
    // Rows that alone are shown; null for all
    restrict: (rows) => {
      if (!rows && !only) return;
      only = rows && new Set(rows);
      if (filter && rows) filter.value = "";
      choose();
    },
    light: (rows) => {
      lit = new Set(rows);
      show();
    },
    // Turns to a row's page; true if the table has it
    reveal: (row) => {
      if (shown.indexOf(row) < 0) {
        only = null;
        if (filter) filter.value = "";
        choose();
      }
      from = Math.floor(shown.indexOf(row) / PAGE) * PAGE;
      lit = new Set([row]);
      show();
    },
  });
};

// Tables of the study

const KINDS = { t: "text", n: "number", p: "paper", m: "measured", e: "empty" };
const cellPlaces = new Map(); // id of a measurement -> [table, row, cell]

const lostMark = (note) => {
  const mark = made("span", "lost", "!");
  mark.setAttribute("role", "img");
  mark.title = note;
  return mark;
};

const noteOf = (table, field) => field[3] || (field[0] === "m" && (table.cells[field[4]].absent || []).join("; "));

const tableRow = (table, row) => {
  const element = made("tr", table.quoted.includes(row) ? "quoted" : "");
  table.rows[row].forEach((field, place) => {
    const [kind, text, , , at] = field || ["e", ""];
    const note = noteOf(table, field || ["e"]);
    const cell = made("td", (table.columns[place].classes + " " + KINDS[kind]).trim());
    if (note && !(kind === "m" && table.cells[at].absent)) cell.title = note;
    if (kind === "m") {
      const about = table.cells[at];
      const space = text.indexOf(" ");
      cell.id = about.id;
      const link = linked("#" + runId(cellRuns(about)[0]), text.slice(0, space), "value");
      cell.append(link, " ", made("span", "spread", text.slice(space + 1)));
      if (about.absent) cell.append(" ", lostMark(note));
    } else cell.textContent = text;
    element.append(cell);
  });
  return element;
};

tablesData.tables.forEach((table) => {
  table.cells = records(table.cells);
  table.rows.forEach((fields, row) => {
    fields.forEach((field) => {
      if (field && field[0] === "m") cellPlaces.set(table.cells[field[4]].id, [table, row, table.cells[field[4]]]);
    });
  });
  grid(table.id, {
    rows: table.rows.length,
    titles: table.columns.map((column) => column.title),
    value: (row, place) => {
      const field = table.rows[row][place];
      if (!field) return null;
      return field[0] === "t" ? field[1] : field[2];
    },
    text: (row) => table.rows[row].map((field) => (field ? field[1] : "")).join(" "),
    digests: () => [],
    make: (row) => tableRow(table, row),
  });
});

// Runs

const runs = tablesData.runs;
runs.arm = unpacked(runs.arm);
const runColumns = new Map(); // place -> values, unpacked when they are asked for
const seedPlace = runs.columns.findIndex((column) => column.title === "seed");
const keyPlace = runs.columns.findIndex((column) => column.kind === "key");
const runPages = unpacked(runs.pages);

const runValue = (row, place) => {
  if (runs.columns[place].kind === "trial") {
    return row in runs.names ? runs.names[row] : runs.arms[runs.arm[row]] + ".s" + runValue(row, seedPlace);
  }
  if (!runColumns.has(place)) runColumns.set(place, unpacked(runs.columns[place].values));
  return runColumns.get(place)[row];
};

const runId = (row) => (row in runs.anchors ? runs.anchors[row] : "run-" + runValue(row, keyPlace));

let runRows = null;
const runRow = (id) => {
  if (!runRows) runRows = new Map(Array.from({ length: runs.rows }, (_, row) => [runId(row), row]));
  return runRows.get(id);
};

const DIGESTS = ["key", "mlflow", "digest"];

const formatted = (value, kind) => {
  if (value === null || value === "") return "";
  if (kind === "percent") return value.toFixed(2);
  if (kind === "cost") return value.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  return kind === "count" ? value.toLocaleString("en") : String(value);
};

const outward = (link) => {
  link.rel = "noopener noreferrer";
  return link;
};

const runField = (row, place) => {
  const kind = runs.columns[place].kind;
  const value = runValue(row, place);
  const text = formatted(value, kind);
  const cell = made("td", ["count", "percent", "cost"].includes(kind) ? "right" : DIGESTS.includes(kind) ? "code" : kind);
  if (kind === "trial") cell.append(linked(runPages[row] || "#" + runId(row), text));
  else if (kind === "key") cell.append(linked("#" + runId(row), ""));
  else if (kind === "mlflow" && text && runs.server && /^[A-Za-z0-9_-]+$/.test(text)) {
    cell.append(outward(linked(runs.server + "/#/runs/" + text, "")));
  }
  if (DIGESTS.includes(kind)) {
    const code = made("code", "", kind === "digest" ? text.slice(0, 12) : text);
    if (kind === "digest" && text) cell.title = text;
    (cell.firstChild || cell).append(code);
  } else if (kind !== "trial") cell.textContent = text;
  return cell;
};

grid("runs", {
  rows: runs.rows,
  titles: runs.columns.map((column) => column.title),
  value: (row, place) => runValue(row, place),
  text: (row) => runs.columns.map((column, place) => (DIGESTS.includes(column.kind) ? "" : runValue(row, place))).join(" "),
  digests: (row) =>
    runs.columns.flatMap((column, place) => (DIGESTS.includes(column.kind) ? [runValue(row, place) || ""] : [])),
  make: (row) => {
    const element = made("tr");
    element.id = runId(row);
    if (row in runs.notes) element.title = runs.notes[row];
    element.append(...runs.columns.map((_, place) => runField(row, place)));
    return element;
  },
});

// A measurement's runs, and the rows that a name stands for

const cellRuns = (cell) =>
  cell.runs.flatMap((first, place) =>
    place % 2 ? [] : Array.from({ length: cell.runs[place + 1] }, (_, number) => first + number),
  );

const rowsFor = (name) => {
  if (cellPlaces.has(name)) return cellRuns(cellPlaces.get(name)[2]);
  const arm = runs.armAnchors.indexOf(name);
  if (arm >= 0) return runs.arm.flatMap((each, row) => (each === arm ? [row] : []));
  const row = runRow(name);
  return row === undefined ? [] : [row];
};

const only = byId("runs-only");
const showOnly = (names) => {
  const rows = names.split(",").flatMap(rowsFor);
  grids.get("runs").restrict(rows.length ? rows : null);
  only.hidden = !rows.length;
  only.querySelector("[data-count]").textContent = rows.length === 1 ? "One run" : rows.length.toLocaleString("en") + " runs";
};
only.querySelector("button").addEventListener("click", () => {
  remember("show", "");
  showOnly("");
});

const goTo = (element, block) => element.scrollIntoView({ block, behavior: "instant" });

const showRunsOf = (name) => {
  remember("at", "runs");
  remember("show", name);
  showOnly(name);
  byId("runs").scrollIntoView();
};

// What is told of a measurement when it is asked

const card = byId("cell-card");

const facts = (cell, field) => {
  const row = (name, value, note) => {
    if (!value) return [];
    const told = made("dd", "", value);
    if (note) told.append(made("small", "", note));
    return [made("dt", "", name), told];
  };
  const digits = (value) => value.toFixed(2).replace("-", "−");
  const [gap, against] = (cell.gap || "").split(" (");
  return [
    ...row("mean ± deviation (n)", field[1]),
    ...row("95 % interval", cell.low === undefined ? "needs 2 seeds" : digits(cell.low) + " to " + digits(cell.high)),
    ...row("difference to the paper", gap, against && against.replace(/\)$/, "")),
    ...row("without a value", cell.absent && cell.absent.join("; ")),
  ];
};

const cardRuns = (cell) => {
  const place = runs.columns.findIndex((column) => column.metric === cell.metric);
  return cellRuns(cell).map((row) => {
    const item = made("li");
    item.append(linked("#" + runId(row), runValue(row, 0)));
    if (place >= 0) item.append(made("b", "", formatted(runValue(row, place), runs.columns[place].kind)));
    return item;
  });
};

const openCard = (link) => {
  const [table, row, cell] = cellPlaces.get(link.parentElement.id);
  const field = table.rows[row].find((each) => each && each[0] === "m" && table.cells[each[4]] === cell);
  card.querySelector("h3").textContent = cell.arm;
  card.querySelector("p").textContent = cell.what;
  card.querySelector("dl").replaceChildren(...facts(cell, field));
  card.querySelector("ul").replaceChildren(...cardRuns(cell));
  const show = card.querySelector("[data-show]");
  show.dataset.show = cell.id;
  show.textContent = cell.n === 1 ? "Show this run" : "Show these " + cell.n + " runs";
  card.querySelector("[data-permalink]").href = "#" + cell.id;
  card.showPopover();
  const at = link.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left - 12, root.clientWidth - card.offsetWidth - 8));
  const below = at.bottom + 6 + card.offsetHeight < window.innerHeight;
  card.style.left = left + "px";
  card.style.top = Math.max(8, below ? at.bottom + 6 : at.top - card.offsetHeight - 6) + "px";
  card.querySelector("a, button").focus({ preventScroll: true });
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.value, [data-show]");
  if (!link) return;
  if (link.dataset.show) {
    event.preventDefault();
    if (card.matches(":popover-open")) card.hidePopover();
    showRunsOf(link.dataset.show);
  } else if (card.showPopover) {
    event.preventDefault();
    openCard(link);
  }
});
card.addEventListener("click", (event) => {
  if (event.target.closest("a")) card.hidePopover();
});

// Claims by verdict

const verdictButtons = all("[data-verdict]");
const showVerdicts = (wanted) => {
  verdictButtons.forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === wanted));
  });
  all(".claim").forEach((claim) => {
    claim.hidden = Boolean(wanted) && claim.dataset.answer !== wanted;
  });
  all(".family").forEach((family) => {
    family.hidden = !family.querySelector(".claim:not([hidden])");
  });
};
verdictButtons.forEach((button) => {
  button.addEventListener("click", () => {
    remember("verdict", button.dataset.verdict);
    showVerdicts(button.dataset.verdict);
  });
});

// To the place that the address names

const arrive = () => {
  const at = told("at");
  all(".lit").forEach((element) => element.classList.remove("lit"));
  if (!at) return;
  if (cellPlaces.has(at)) {
    const [table, row] = cellPlaces.get(at);
    grids.get(table.id).reveal(row);
    grids.get(table.id).light([]);
    byId(at).classList.add("lit");
    goTo(byId(at), "center");
  } else if (runRow(at) !== undefined) {
    grids.get("runs").reveal(runRow(at));
    goTo(byId(at), "center");
  } else if (byId(at)) {
    const element = byId(at);
    if (element.hidden) showVerdicts("");
    if (element.matches(".claim")) element.classList.add("lit");
    goTo(element, "start");
  }
};

const restoreTables = (onlyPlace) => {
  if (!onlyPlace) {
    grids.forEach((each) => each.restore());
    showVerdicts(told("verdict"));
    showOnly(told("show"));
  }
  arrive();
};
followers.push(restoreTables);
if (address.size) restoreTables(false);
