(function () {
  "use strict";
  var chart = JSON.parse(document.getElementById("chart-data").textContent);
  var place = document.getElementById("chart");
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function draw() {
    var ink = dark.matches ? "#C9C7C1" : "#3A3A3A";
    var rule = dark.matches ? "#2E3137" : "#ECEAE6";
    var size = Math.max(8, Math.min(22, 4000 / chart.rows.length));
    Plotly.react(
      place,
      chart.data,
      {
        barmode: "overlay",
        bargap: 0.12,
        height: 110 + size * chart.rows.length,
        margin: { l: 110, r: 16, t: 8, b: 44 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: ink, size: 12 },
        hovermode: "closest",
        showlegend: true,
        legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
        xaxis: { title: { text: "hours" }, gridcolor: rule, zeroline: false, rangemode: "tozero" },
        yaxis: {
          type: "category",
          categoryorder: "array",
          categoryarray: chart.rows,
          autorange: "reversed",
          gridcolor: "rgba(0,0,0,0)",
        },
      },
      { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true, displayModeBar: false }
    );
  }
  draw();
  dark.addEventListener("change", draw);
})();
