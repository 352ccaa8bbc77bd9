// Measures the texts of the page's picture, in its own units, and leaves them in the page as JSON.
const svg = document.querySelector('svg');
const paper = svg.viewBox.baseVal;
const outer = svg.getBoundingClientRect();
const scale = outer.width / paper.width;
const style = (selector) => getComputedStyle(svg.querySelector(selector)).fill;
const words = [...svg.querySelectorAll('text')].map((text) => {
  const box = text.getBoundingClientRect();
  const left = (box.left - outer.left) / scale;
  const top = (box.top - outer.top) / scale;
  return { text: text.textContent, left, right: left + box.width / scale, top, bottom: top + box.height / scale };
});
const result = document.createElement('script');
result.type = 'application/json';
result.textContent = JSON.stringify({
  words,
  width: paper.width,
  height: paper.height,
  background: style('.paper'),
  ink: style('text.head'),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
}).replaceAll('<', '\\u003c');
document.body.append(result);
