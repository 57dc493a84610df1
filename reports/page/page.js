(function () {
  "use strict";

  var root = document.documentElement;
  var read = function (id) {
    return JSON.parse(document.getElementById(id).textContent);
  };

  // Theme

  var media = window.matchMedia("(prefers-color-scheme: dark)");
  var isDark = function () {
    return root.dataset.theme ? root.dataset.theme === "dark" : media.matches;
  };
  var toggle = document.getElementById("theme");
  var showTheme = function () {
    toggle.setAttribute("aria-pressed", String(isDark()));
  };
  toggle.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("ablate-theme", root.dataset.theme);
    } catch (error) {
      // A page from disk may have no storage; the choice then lasts as long as the page.
    }
    showTheme();
    drawAll();
  });
  media.addEventListener("change", function () {
    showTheme();
    drawAll();
  });
  showTheme();

  // Charts

  var drawn = read("charts-data");
  var state = {}; // figure -> { view, paper, train }

  var recolour = function (value) {
    if (typeof value === "string") return isDark() && drawn.dark[value] ? drawn.dark[value] : value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(recolour);
    if (value === null || typeof value !== "object") return value;
    var copy = {};
    Object.keys(value).forEach(function (name) {
      copy[name] = recolour(value[name]);
    });
    return copy;
  };

  var stateOf = function (figure) {
    if (!state[figure]) state[figure] = { view: null, paper: true, train: true };
    return state[figure];
  };

  var visible = function (trace, now) {
    if (trace.meta.role === "paper" && !now.paper) return false;
    return trace.meta.metric !== "train_error" || now.train;
  };

  var withView = function (layout, view) {
    if (!view) return layout;
    layout.yaxis.type = view["yaxis.type"];
    layout.yaxis.range = view["yaxis.range"].slice();
    layout.annotations = view.annotations;
    return layout;
  };

  var drawChart = function (chart) {
    var now = stateOf(chart.figure);
    var data = chart.data.map(function (trace) {
      var copy = recolour(trace);
      copy.visible = visible(trace, now);
      return copy;
    });
    var layout = recolour(withView(JSON.parse(JSON.stringify(chart.layout)), chart.views[now.view]));
    return window.Plotly.react(chart.id, data, layout, drawn.config);
  };

  var drawAll = function () {
    drawn.charts.forEach(drawChart);
  };

  var drawFigure = function (figure) {
    drawn.charts.filter(function (chart) { return chart.figure === figure; }).forEach(drawChart);
  };

  document.querySelectorAll(".controls[data-figure]").forEach(function (controls) {
    var figure = controls.dataset.figure;
    controls.addEventListener("click", function (event) {
      var button = event.target.closest("button");
      if (!button) return;
      var now = stateOf(figure);
      if (button.dataset.view) {
        now.view = button.dataset.view;
        controls.querySelectorAll("[data-view]").forEach(function (each) {
          each.setAttribute("aria-pressed", String(each === button));
        });
      } else if (button.dataset.role) {
        var on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        now[button.dataset.role === "paper" ? "paper" : "train"] = on;
      } else {
        return;
      }
      drawFigure(figure);
    });
  });
  drawAll();

  // Sorting: numbers before texts, the empty last in either direction

  var order = function (a, b, falling) {
    var emptyA = a === null || a === "";
    var emptyB = b === null || b === "";
    if (emptyA || emptyB) return emptyA - emptyB;
    var result = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return falling ? -result : result;
  };

  var mark = function (heads, chosen) {
    var falling = chosen.getAttribute("aria-sort") === "ascending";
    heads.forEach(function (head) {
      head.setAttribute("aria-sort", "none");
    });
    chosen.setAttribute("aria-sort", falling ? "descending" : "ascending");
    return falling;
  };

  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    var heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
    var valueOf = function (row, place) {
      var cell = row.cells[place];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      return cell.classList.contains("text") ? cell.textContent.trim() : null;
    };
    heads.forEach(function (head, place) {
      head.querySelector("button").addEventListener("click", function () {
        var falling = mark(heads, head);
        var rows = Array.from(body.rows);
        rows.sort(function (a, b) {
          return order(valueOf(a, place), valueOf(b, place), falling);
        });
        body.append.apply(body, rows);
      });
    });
  });

  document.querySelectorAll("[data-filter]").forEach(function (input) {
    var rows = Array.from(document.getElementById(input.dataset.filter).tBodies[0].rows);
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase();
      rows.forEach(function (row) {
        row.hidden = !row.textContent.toLowerCase().includes(words);
      });
    });
  });

  // Runs: a hundred rows at a time, from the data

  var runs = read("runs-data");
  var PAGE = 100;
  var runsTable = document.getElementById("runs-rows");
  var runsFilter = document.getElementById("runs-filter");
  var all = runs.rows.map(function (_, index) { return index; });
  var texts = runs.rows.map(function (row) { return row.join(" ").toLowerCase(); });
  var view = { order: all.slice(), shown: all, from: 0, lit: null };

  var format = function (value, kind) {
    if (value === null || value === "") return "";
    if (kind === "percent") return value.toFixed(2);
    if (kind === "seconds") return value.toFixed(1);
    return kind === "number" ? value.toLocaleString("en") : String(value);
  };

  var element = function (name, text, kind) {
    var made = document.createElement(name);
    made.textContent = text;
    if (kind !== "text" && kind !== "code") made.className = "right";
    return made;
  };

  var runRow = function (index) {
    var row = document.createElement("tr");
    row.id = runs.anchors[index];
    if (view.lit && (view.lit === runs.anchors[index] || view.lit === runs.arms[index])) row.className = "lit";
    runs.columns.forEach(function (column, place) {
      var cell = element("td", "", column.kind);
      var text = format(runs.rows[index][place], column.kind);
      if (column.kind === "code") cell.appendChild(element("code", text, "code"));
      else cell.textContent = text;
      row.appendChild(cell);
    });
    if (runs.notes[row.id]) row.title = runs.notes[row.id].join("\n");
    return row;
  };

  var showRuns = function () {
    var shown = view.shown.slice(view.from, view.from + PAGE);
    runsTable.tBodies[0].replaceChildren.apply(runsTable.tBodies[0], shown.map(runRow));
    var last = view.from + shown.length;
    document.getElementById("runs-place").textContent =
      (shown.length ? view.from + 1 : 0) + " to " + last + " of " + view.shown.length;
    document.getElementById("runs-back").disabled = view.from === 0;
    document.getElementById("runs-next").disabled = last >= view.shown.length;
  };

  var filterRuns = function () {
    var words = runsFilter.value.toLowerCase();
    view.shown = view.order.filter(function (index) { return texts[index].includes(words); });
    view.from = 0;
    showRuns();
  };

  var heads = runs.columns.map(function (column, place) {
    var head = element("th", "", column.kind);
    var button = element("button", column.title, "text");
    button.type = "button";
    head.scope = "col";
    head.setAttribute("aria-sort", "none");
    head.appendChild(button);
    button.addEventListener("click", function () {
      var falling = mark(heads, head);
      view.order = all.slice().sort(function (a, b) {
        return order(runs.rows[a][place], runs.rows[b][place], falling);
      });
      filterRuns();
    });
    return head;
  });
  var headRow = document.createElement("tr");
  headRow.append.apply(headRow, heads);
  runsTable.tHead.appendChild(headRow);
  runsFilter.addEventListener("input", filterRuns);
  document.getElementById("runs-back").addEventListener("click", function () {
    view.from = Math.max(0, view.from - PAGE);
    showRuns();
  });
  document.getElementById("runs-next").addEventListener("click", function () {
    view.from += PAGE;
    showRuns();
  });
  showRuns();

  // A link to a run: turn to its page, light its row, and with it all rows of the arm it came from

  var reveal = function (target, lit) {
    var index = runs.anchors.indexOf(target);
    if (index < 0) return;
    runsFilter.value = "";
    view.shown = view.order;
    view.lit = lit;
    view.from = Math.floor(view.shown.indexOf(index) / PAGE) * PAGE;
    showRuns();
    document.getElementById(target).scrollIntoView({ block: "center" });
  };
  document.addEventListener("click", function (event) {
    var link = event.target.closest("a[data-runs]");
    if (!link) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    reveal(link.getAttribute("href").slice(1), link.dataset.runs);
  });
  var follow = function () {
    var target = decodeURIComponent(location.hash.slice(1));
    if (target.indexOf("run-") === 0) reveal(target, target);
  };
  window.addEventListener("hashchange", follow);
  follow();

  // Downloads

  var field = function (value) {
    var text = value === null || value === undefined ? "" : String(value);
    if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text) && !/^[+-]?\d+(\.\d+)?$/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  };

  var save = function (name, rows) {
    var text = rows.map(function (row) { return row.map(field).join(","); }).join("\r\n") + "\r\n";
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name + ".csv";
    link.click();
    URL.revokeObjectURL(link.href);
  };

  var tableRows = function (table) {
    return Array.from(table.rows).map(function (row) {
      return Array.from(row.cells).flatMap(function (cell) {
        return [cell.textContent.trim()].concat(Array(cell.colSpan - 1).fill(""));
      });
    });
  };

  var figureRows = function (figure) {
    var rows = [["panel", "line", "iteration", "error_percent"]];
    drawn.charts.filter(function (chart) { return chart.figure === figure; }).forEach(function (chart) {
      chart.data.filter(function (trace) { return trace.meta.role !== "band"; }).forEach(function (trace) {
        trace.customdata.forEach(function (at, place) {
          rows.push([chart.id, trace.name, Number(at.replace(/,/g, "")), trace.y[place]]);
        });
      });
    });
    return rows;
  };

  document.querySelectorAll("[data-download]").forEach(function (button) {
    button.addEventListener("click", function () {
      var what = button.dataset.download;
      if (what === "runs") {
        save("runs", [runs.columns.map(function (column) { return column.title; })].concat(runs.rows));
      } else if (what === "figure") {
        var figure = button.closest("[data-figure]").dataset.figure;
        save(figure, figureRows(figure));
      } else if (what === "drawing") {
        var wanted = button.closest("[data-figure]").dataset.figure;
        drawn.charts.filter(function (chart) { return chart.figure === wanted; }).forEach(function (chart) {
          window.Plotly.downloadImage(chart.id, { format: "svg", filename: chart.id, width: 640, height: 420 });
        });
      } else {
        save(what, tableRows(document.getElementById(what)));
      }
    });
  });
})();
