(function () {
  "use strict";
  var chosen = null;
  try {
    chosen = localStorage.getItem("ablate-theme");
  } catch (error) {
    chosen = null;
  }
  if (chosen === "dark" || chosen === "light") {
    document.documentElement.dataset.theme = chosen;
  }
  document.documentElement.classList.add("script");
})();
