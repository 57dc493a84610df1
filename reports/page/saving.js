// Files made from the page's own data: CSV, LaTeX, JSON and SVG, without a network.

const TYPES = { csv: "text/csv", tex: "application/x-tex", json: "application/json", svg: "image/svg+xml" };

const save = (name, kind, text) => {
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([text], { type: TYPES[kind] }));
  link.download = name + "." + kind;
  link.click();
  URL.revokeObjectURL(link.href);
};

// A text that a spreadsheet would run is marked as a text
const csvField = (value) => {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text) && !/^[+-]?\d+(\.\d+)?$/.test(text)) text = "'" + text;
  return /[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
};
const csv = (rows) => rows.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";

const LATEX = {
  "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", $: "\\$", "&": "\\&", "#": "\\#", "%": "\\%", _: "\\_",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": "\\textasciigrave{}",
  "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "·": "$\\cdot$", "≤": "$\\le$", "≥": "$\\ge$", "“": "``", "”": "''", "’": "'",
  "…": "\\ldots{}", "–": "--", "<": "\\textless{}", ">": "\\textgreater{}", "-": "{-}", '"': "\\textquotedbl{}",
};
const latexText = (text) =>
  Array.from(text, (letter) => {
    if (letter in LATEX) return LATEX[letter];
    const plain = /[\x20-\x7eÀ-ÖØ-öø-ÿ]/.test(letter);
    return plain ? letter : "{[}U+" + letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "{]}";
  }).join("");

// Tables

const tableNamed = (id) => tablesData.tables.find((table) => table.id === id);
const fullTitle = (column) => (column.group ? column.group + ": " + column.title : column.title);
const isMeasured = (table, place) => table.rows.some((row) => row[place] && row[place][0] === "m");
const keysOf = (cell) => cellRuns(cell).map((row) => runValue(row, keyPlace));

const plainValue = (field) => {
  if (!field) return "";
  return field[0] === "n" && field[2] !== null ? field[2] : field[1];
};

const MEASURED = ["mean", "standard deviation", "n", "95 % low", "95 % high", "runs", "why not"];
const measuredValues = (table, field) => {
  if (!field || field[0] !== "m") return ["", "", "", "", "", "", field ? field[1] : ""];
  const cell = table.cells[field[4]];
  return [field[2], cell.sd, cell.n, cell.low, cell.high, keysOf(cell).join(" "), (cell.absent || []).join("; ")];
};

const tableCsv = (table) => {
  const titles = table.columns.flatMap((column, place) =>
    isMeasured(table, place) ? MEASURED.map((what) => fullTitle(column) + ", " + what) : [fullTitle(column)],
  );
  const rows = table.rows.map((row) =>
    row.flatMap((field, place) => (isMeasured(table, place) ? measuredValues(table, field) : [plainValue(field)])),
  );
  return csv([titles, ...rows]);
};

const tableJson = (table) => {
  const entry = (field) => {
    if (!field) return { text: "" };
    const found = { text: field[1], kind: KINDS[field[0]], value: field[2] };
    const note = noteOf(table, field);
    if (note) found.note = note;
    if (field[0] !== "m") return found;
    const { id, arm, metric, n, planned, sd, low, high } = table.cells[field[4]];
    return { ...found, id, arm, metric, n, planned, sd, low, high, runs: keysOf(table.cells[field[4]]) };
  };
  const rows = table.rows.map((row, place) => ({ quoted: table.quoted.includes(place), entries: row.map(entry) }));
  const columns = table.columns.map(({ title, group }) => ({ title, group }));
  const { title, caption, notes } = table;
  return JSON.stringify({ study: document.querySelector(".bar strong").textContent, title, caption, notes, columns, rows }, null, 1) + "\n";
};

const latexGroups = (columns) => {
  if (!columns.some((column) => column.group)) return [];
  const cells = [];
  const rules = [];
  for (let from = 0; from < columns.length; ) {
    let to = from;
    while (to < columns.length && columns[to].group === columns[from].group) to += 1;
    cells.push(to - from === 1 && !columns[from].group ? "" : `\\multicolumn{${to - from}}{c}{${latexText(columns[from].group)}}`);
    if (columns[from].group) rules.push(`\\cmidrule(lr){${from + 1}-${to}}`);
    from = to;
  }
  return [cells.join(" & ") + " \\\\", rules.join(" ")];
};

const tableLatex = (table) => {
  const line = (cells) => cells.join(" & ") + " \\\\";
  const rows = table.rows.map((row, place) => {
    const texts = row.map((field) => latexText(field ? field[1] : ""));
    return line(table.quoted.includes(place) ? texts.map((text) => (text ? `\\textit{${text}}` : "")) : texts);
  });
  return [
    "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}",
    "\\begin{table}\n\\centering",
    `\\caption{${latexText(table.title + ". " + table.caption)}}`,
    `\\begin{tabular}{${table.columns.map((column) => (column.numeric ? "r" : "l")).join("")}}`,
    "\\toprule",
    ...latexGroups(table.columns),
    line(table.columns.map((column) => latexText(column.title))),
    "\\midrule",
    ...rows,
    "\\bottomrule\n\\end{tabular}\n\\end{table}\n",
  ].join("\n");
};

// Runs

const runTitles = runs.columns.map((column) => column.title);
const everyRun = () => Array.from({ length: runs.rows }, (_, row) => runs.columns.map((_, place) => runValue(row, place)));
const runsJson = () => {
  const named = everyRun().map((values) => Object.fromEntries(values.map((value, place) => [runTitles[place], value])));
  return JSON.stringify(named, null, 1) + "\n";
};

// Figures

const unescaped = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

const traceRows = (chart, trace) => {
  const scale = /1e4/.test(chart.layout.xaxis.title.text) ? 1e4 : 1;
  const bar = trace.type === "bar";
  return (bar ? trace.x : trace.y).map((value, place) => {
    const x = trace.x ? trace.x[place] : trace.x0 + place * trace.dx;
    const name = trace.text && trace.text[place] ? trace.text[place] : trace.name;
    return [chart.id, unescaped(name), trace.meta.role, bar ? "" : Math.round(x * scale * 1e6) / 1e6, value];
  });
};

const figureCsv = async (figure) => {
  await loadDrawings();
  const lines = chartsOf(figure).flatMap((chart) =>
    chart.data.filter((trace) => trace.meta.role !== "band").flatMap((trace) => traceRows(chart, trace)),
  );
  return csv([["panel", "line", "source", "x", "value"], ...lines]);
};

// A figure's drawings side by side under their titles, with the colours that the reader sees
const TITLE = 26;
const figureSvg = (figure) => {
  const colours = getComputedStyle(root);
  let width = 0;
  let height = 0;
  const parts = all(".panel", figure).map((panel) => {
    const svg = panel.querySelector(".chart > svg");
    const box = svg.viewBox.baseVal;
    const copy = svg.cloneNode(true);
    if (!settingsOf(figure).paper) all(".paper", copy).forEach((line) => line.remove());
    if (!settingsOf(figure).train) all("[data-metric=train_error]", copy).forEach((line) => line.remove());
    copy.setAttribute("x", width);
    copy.setAttribute("y", TITLE);
    copy.setAttribute("width", box.width);
    copy.setAttribute("height", box.height);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "text");
    title.setAttribute("x", width + 48);
    title.setAttribute("y", 18);
    title.setAttribute("font-size", 14);
    title.setAttribute("font-weight", 600);
    title.setAttribute("font-family", "sans-serif");
    title.setAttribute("style", "fill:var(--c-text,#3A3A3A)");
    title.textContent = panel.querySelector("h4").textContent;
    width += box.width;
    height = Math.max(height, box.height + TITLE);
    return [title, copy].map((each) => new XMLSerializer().serializeToString(each)).join("");
  });
  const text =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    `<rect width="100%" height="100%" style="fill:var(--c-paper,#FFFFFF)"/>${parts.join("")}</svg>\n`;
  return text.replace(/var\((--c-[a-z]+),\s*(#[0-9A-Fa-f]+)\)/g, (_, name, fallback) => colours.getPropertyValue(name).trim() || fallback);
};

const WRITERS = {
  table: { csv: tableCsv, tex: tableLatex, json: tableJson },
  runs: { csv: () => csv([runTitles, ...everyRun()]), json: runsJson },
  figure: { csv: figureCsv, svg: figureSvg },
};

all("[data-save]").forEach((button) => {
  const [what, kind] = button.dataset.save.split(".");
  const id = button.dataset.of;
  const subject = what === "table" ? tableNamed(id) : byId(id);
  button.addEventListener("click", async () => save(id, kind, await WRITERS[what][kind](subject)));
});
