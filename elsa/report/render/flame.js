// What makes a flame graph answer: zoom, search and reset. Each bar has its place, width and level in
// the whole picture. A bar that is zoomed to is as wide as the picture, and so is all that is below
// it; bars on top of it grow alike, and all others are hidden.
const [width, margin, letter] = document.documentElement.dataset.sizes.split(" ").map(Number);
const bars = [...document.querySelectorAll(".f")].map(g => ({
  g, x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d, name: g.dataset.n,
  rect: g.querySelector("rect"), text: g.querySelector("text")
}));
const share = document.getElementById("share");
function zoom(to) {
  for (const b of bars) {
    const under = b.d < to.d && b.x <= to.x + 0.005 && b.x + b.w >= to.x + to.w - 0.005;
    const within = b.d >= to.d && b.x >= to.x - 0.005 && b.x + b.w <= to.x + to.w + 0.005;
    b.g.style.display = under || within ? "" : "none";
    b.g.classList.toggle("above", under);
    const x = under ? margin : margin + (b.x - to.x) / to.w * width;
    const w = under ? width : b.w / to.w * width;
    const letters = Math.floor((w - 4) / letter);
    b.rect.setAttribute("x", x);
    b.rect.setAttribute("width", w);
    b.text.setAttribute("x", x + 3);
    b.text.textContent = letters < 3 ? ""
      : b.name.length <= letters ? b.name : b.name.slice(0, letters - 1) + "+";
  }
}
function mark(pattern) {
  let matched = 0, until = 0;
  const found = pattern && new RegExp(pattern);
  for (const b of bars) b.g.classList.toggle("m", Boolean(found) && found.test(b.name));
  for (const b of bars.filter(b => b.g.classList.contains("m")).sort((a, b) => a.x - b.x)) {
    matched += Math.max(0, b.x + b.w - Math.max(until, b.x));
    until = Math.max(until, b.x + b.w);
  }
  share.textContent = found ? (matched / width * 100).toFixed(1) + "% match" : "";
}
function search() {
  const pattern = prompt("Commands that match this regular expression:");
  if (pattern === null) return;
  try { mark(pattern); } catch (error) { alert(error.message); }
}
function reset() {
  zoom({x: 0, w: width, d: 0});
  mark("");
}
for (const b of bars) b.g.addEventListener("click", () => zoom(b));
document.getElementById("search").addEventListener("click", search);
document.getElementById("reset").addEventListener("click", reset);
document.addEventListener("keydown", event => {
  if (event.key === "Escape") reset();
  if (event.key === "f" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    search();
  }
});
document.getElementById("bar").style.display = "inline";
