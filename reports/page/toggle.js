(function () {
  "use strict";
  var root = document.documentElement;
  var media = window.matchMedia("(prefers-color-scheme: dark)");
  var toggle = document.getElementById("theme");
  var isDark = function () {
    return root.dataset.theme ? root.dataset.theme === "dark" : media.matches;
  };
  var show = function () {
    toggle.setAttribute("aria-pressed", String(isDark()));
  };
  toggle.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("ablate-theme", root.dataset.theme);
    } catch (error) {
      // A page from disk may have no storage; the choice then lasts as long as the page.
    }
    show();
  });
  media.addEventListener("change", show);
  show();
})();
