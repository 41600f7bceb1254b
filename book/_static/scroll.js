// What is wider than the page scrolls in a box of its own; such a box can be reached by keyboard.
function reachable() {
  const boxes = ".output, .pst-scrollable-table-container, div.math, pre";
  for (const box of document.querySelectorAll(`.bd-content :is(${boxes})`)) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (scrolls) {
      box.tabIndex = 0;
    } else {
      box.removeAttribute("tabindex");
    }
  }
}
window.addEventListener("load", reachable);
window.addEventListener("resize", reachable);
// Formulas are drawn after the page, and folded tables have no size before they are opened.
document.addEventListener("toggle", reachable, true);
window.addEventListener("load", () => window.MathJax?.startup?.promise?.then(reachable));
// The list of references calls itself a list, and its entries no items of one.
window.addEventListener("load", () => {
  document.querySelectorAll(".citation-list").forEach((list) => list.removeAttribute("role"));
});
