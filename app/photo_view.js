// A photo with the skeletons of its people. `props.value` is JSON: `photo` (address), `size` [height, width], `people`
// (18 points [y, x] in pixels each, -1 for a missing point), and `number` of the chosen person, from 1.
// A click on a person triggers `select` with its `number`.
const SVG = "http://www.w3.org/2000/svg";

const missing = (point) => point[0] === -1 || point[1] === -1;

function shape(kind, attributes) {
  const node = document.createElementNS(SVG, kind);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
}

function figure(points, number, chosen, unit) {
  const node = shape("g", { class: chosen ? "person chosen" : "person", "data-number": number });
  const color = (i) => (chosen ? props.colors[i] : "white");
  const found = points.filter((point) => !missing(point));
  const [top, left] = [0, 1].map((axis) => Math.min(...found.map((point) => point[axis])) - 8 * unit);
  const [bottom, right] = [0, 1].map((axis) => Math.max(...found.map((point) => point[axis])) + 8 * unit);
  node.append(shape("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  props.bones.forEach(([a, b], i) => {
    if (missing(points[a]) || missing(points[b])) return;
    const ends = { x1: points[a][1], y1: points[a][0], x2: points[b][1], y2: points[b][0] };
    node.append(shape("line", { ...ends, stroke: color(i), "stroke-width": 1.6 * unit }));
  });
  points.forEach((point, i) => {
    if (missing(point)) return;
    node.append(shape("circle", { cx: point[1], cy: point[0], r: 1.6 * unit, fill: color(i) }));
  });
  return node;
}

function draw() {
  const svg = element.querySelector("svg");
  const { photo, size, people, number } = JSON.parse(props.value || "{}");
  svg.replaceChildren();
  if (!photo) return;
  svg.setAttribute("class", people.length > 1 ? "several" : "");
  const [height, width] = size;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const image = shape("image", { width, height });
  image.setAttribute("href", photo);
  svg.append(image);
  const unit = Math.max(height, width) / 256; // lines of the same width in every photo
  people.forEach((points, i) => svg.append(figure(points, i + 1, i + 1 === number, unit)));
  if (people.length < 2) return;
  svg.querySelectorAll(".person:not(.chosen)").forEach((person) => {
    person.setAttribute("role", "button");
    person.setAttribute("tabindex", "0");
    person.setAttribute("aria-label", `choose person ${person.dataset.number}`);
  });
}

function choose(event) {
  const person = event.target.closest?.(".several .person:not(.chosen)");
  if (person) trigger("select", { number: Number(person.dataset.number) });
}

element.addEventListener("click", choose);
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") choose(event);
});
watch("value", draw);
draw();
