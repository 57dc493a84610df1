// Where the reader stands, in the address: `#cell-...` is a place, `#sort=...&show=...&at=...` a state of the page.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const all = (selector, within) => Array.from((within || document).querySelectorAll(selector));
const read = (id) => JSON.parse(byId(id).textContent);
const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return text;
  }
};

const parsed = () => {
  const text = location.hash.slice(1);
  return text.includes("=") ? new Map(new URLSearchParams(text)) : new Map(text ? [["at", decoded(text)]] : []);
};

let address = parsed();
const followers = []; // each is told of a new address

const told = (name) => address.get(name) || "";

const remember = (name, value) => {
  if (value) address.set(name, value);
  else address.delete(name);
  const at = told("at");
  const plain = address.size === 1 && at && !at.includes("=");
  const text = plain ? at : new URLSearchParams(Array.from(address)).toString();
  history.replaceState(history.state, "", text ? "#" + text : location.pathname + location.search);
};

const follow = () => {
  const found = parsed();
  const onlyPlace = found.size === 1 && found.has("at");
  if (onlyPlace) address.set("at", found.get("at"));
  else address = found;
  followers.forEach((each) => each(onlyPlace));
};
window.addEventListener("hashchange", follow);

// Theme

const media = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
const toggle = byId("theme");
const recoloured = []; // each is told of new colours

const showTheme = () => {
  toggle.setAttribute("aria-pressed", String(isDark()));
  recoloured.forEach((each) => each());
};
toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("ablate-theme", root.dataset.theme);
  } catch (error) {
    // A page from disk may have no storage; the choice then lasts as long as the page.
  }
  showTheme();
});
media.addEventListener("change", showTheme);
showTheme();
