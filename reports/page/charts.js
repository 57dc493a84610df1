// Figures: drawings that are there at once, and plotly's charts in their place once a reader reaches for one.

const unpackedText = (id) => {
  const packed = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};

let drawings = null; // what plotly needs: { charts, config, dark }
let drawingsLoading = null;
const loadDrawings = () => {
  if (!drawingsLoading) {
    drawingsLoading = unpackedText("charts-packed").then((text) => {
      drawings = JSON.parse(text);
    });
  }
  return drawingsLoading;
};
const chartsOf = (figure) => drawings.charts.filter((chart) => chart.figure === figure.id);

const figureSettings = new Map(); // figure's id -> { view, paper, train, all, live }

const settingsOf = (figure) => {
  if (!figureSettings.has(figure.id)) {
    figureSettings.set(figure.id, { view: "", paper: true, train: true, all: false, live: false });
  }
  return figureSettings.get(figure.id);
};

const inColour = (value) => {
  if (typeof value === "string") return isDark() && drawings.dark[value] ? drawings.dark[value] : value;
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(inColour);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, inColour(part)]));
};

const isVisible = (trace, now) => {
  if (trace.meta.role === "paper" && !now.paper) return false;
  if (!trace.meta.shown && !now.all) return false;
  return trace.meta.metric !== "train_error" || now.train;
};

// Letters and lines as large as in the drawing, which grows with its box
const SIZES = ["size", "width", "standoff", "xshift", "l", "r", "t", "b"];
const scaled = (value, by, name) => {
  if (typeof value === "number") return SIZES.includes(name) ? value * by : value;
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((part) => scaled(part, by));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, scaled(part, by, key)]));
};

const scaleOf = (chart) => {
  const svg = byId(chart.id).parentElement.querySelector("svg");
  return svg.clientWidth / svg.viewBox.baseVal.width || 1;
};

// The axes stand where the drawing has them
const marginsOf = (chart) => {
  const svg = byId(chart.id).parentElement.querySelector("svg");
  const inside = svg.querySelector("clipPath rect");
  if (!inside) return chart.layout.margin;
  const [left, top, width, height] = ["x", "y", "width", "height"].map((name) => Number(inside.getAttribute(name)));
  const { width: right, height: bottom } = svg.viewBox.baseVal;
  return { l: left, t: top, r: right - left - width, b: bottom - top - height };
};

const layoutOf = (chart, now) => {
  const layout = JSON.parse(JSON.stringify(chart.layout));
  layout.margin = marginsOf(chart);
  const view = chart.views[now.view];
  if (view) {
    layout.yaxis.type = view["yaxis.type"];
    layout.yaxis.range = view["yaxis.range"].slice();
    layout.annotations = view.annotations;
  }
  return scaled(inColour(layout), scaleOf(chart));
};

const drawChart = (chart, now) => {
  const by = scaleOf(chart);
  const data = chart.data.map((trace) => ({ ...scaled(inColour(trace), by), visible: isVisible(trace, now) }));
  return window.Plotly.react(chart.id, data, layoutOf(chart, now), drawings.config);
};

let plotlyLoading = null;
const loadPlotly = () => {
  if (!plotlyLoading) {
    plotlyLoading = unpackedText("plotly-packed").then((text) => {
      const script = document.createElement("script");
      script.textContent = text;
      document.head.appendChild(script);
    });
  }
  return plotlyLoading;
};

const rested = () => new Promise((resolve) => setTimeout(resolve, 0));

// One chart after another, so that the page answers between them. Without DecompressionStream the drawings stay.
const enliven = async (figure) => {
  if (!window.DecompressionStream) return;
  await Promise.all([loadDrawings(), loadPlotly()]);
  const now = settingsOf(figure);
  now.live = true;
  for (const chart of chartsOf(figure)) {
    await drawChart(chart, now);
    byId(chart.id).parentElement.classList.add("live");
    await rested();
  }
};

// The drawing follows at once; the chart, where it is wanted, a moment later
const showFigure = (figure) => {
  const now = settingsOf(figure);
  figure.classList.toggle("without-paper", !now.paper);
  figure.classList.toggle("without-train", !now.train);
  all("[data-view]", figure).forEach((button, place) => {
    button.setAttribute("aria-pressed", String(now.view ? button.dataset.view === now.view : place === 0));
  });
  all("[data-role]", figure).forEach((button) => {
    button.setAttribute("aria-pressed", String(now[button.dataset.role]));
  });
};

const changed = (figure, now) => {
  const first = figure.querySelector("[data-view]");
  const view = first && now.view !== first.dataset.view ? slug(now.view) : "";
  remember(figure.id + ".y", view);
  remember(figure.id + ".hide", ["paper", "train"].filter((role) => !now[role]).join(","));
  remember(figure.id + ".lines", now.all ? "all" : "");
};

all("figure").forEach((figure) => {
  const wake = () => {
    if (!settingsOf(figure).live) enliven(figure);
  };
  all(".chart", figure).forEach((box) => {
    box.addEventListener("pointerenter", wake);
    box.addEventListener("click", wake);
  });
  all(".controls button", figure).forEach((button) => {
    if (!button.dataset.view && !button.dataset.role) return;
    button.addEventListener("click", () => {
      const now = settingsOf(figure);
      if (button.dataset.view) now.view = button.dataset.view;
      else now[button.dataset.role] = !now[button.dataset.role];
      showFigure(figure);
      changed(figure, now);
      enliven(figure);
    });
  });
});

recoloured.push(() => {
  all("figure").forEach((figure) => {
    if (settingsOf(figure).live) enliven(figure);
  });
});

// A figure that the address asks for otherwise is enlivened when it comes near
const near = new IntersectionObserver(
  (entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      enliven(entry.target);
    });
  },
  { rootMargin: "300px" },
);

const restoreFigures = (onlyPlace) => {
  if (onlyPlace) return;
  all("figure").forEach((figure) => {
    const now = settingsOf(figure);
    const wanted = told(figure.id + ".y") || told("y");
    const hidden = told(figure.id + ".hide").split(",");
    const view = all("[data-view]", figure).find((button) => slug(button.dataset.view) === wanted);
    const before = JSON.stringify(now);
    now.view = view ? view.dataset.view : "";
    now.paper = !hidden.includes("paper");
    now.train = !hidden.includes("train");
    now.all = told(figure.id + ".lines") === "all";
    if (JSON.stringify(now) === before) return;
    showFigure(figure);
    near.observe(figure);
  });
};
followers.push(restoreFigures);
restoreFigures(false);
