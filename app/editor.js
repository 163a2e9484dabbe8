// Skeleton editor. `props.value` is JSON of 18 points [y, x] in editor units, -1 for a missing point.
// Drag a joint to move it; double-click or double-tap to remove it. Every change triggers `input`.
const SVG = "http://www.w3.org/2000/svg";
const past = [];
let points = [];
let dragged = null;
let before = null;

const missing = (point) => point[0] === -1 || point[1] === -1;
const clamp = (value, most) => Math.min(Math.max(value, 0), most);

function shape(kind, attributes) {
  const node = document.createElementNS(SVG, kind);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
}

function draw() {
  const svg = element.querySelector("svg");
  svg.replaceChildren();
  props.bones.forEach(([a, b], i) => {
    if (missing(points[a]) || missing(points[b])) return;
    svg.append(shape("line", {
      x1: points[a][1], y1: points[a][0], x2: points[b][1], y2: points[b][0], stroke: props.colours[i],
    }));
  });
  points.forEach((point, i) => {
    if (missing(point)) return;
    const joint = shape("g", { class: i === dragged ? "joint held" : "joint", "data-joint": i });
    joint.append(shape("circle", { cx: point[1], cy: point[0], r: 7, class: "reach" }));
    joint.append(shape("circle", { cx: point[1], cy: point[0], r: 2.8, fill: props.colours[i] }));
    const title = shape("title", {});
    title.textContent = props.names[i];
    joint.append(title);
    svg.append(joint);
  });
  element.querySelector(".joint-name").textContent = dragged === null ? "" : props.names[dragged];
}

function read() {
  points = JSON.parse(props.value || "[]");
  draw();
}

function change(next) {
  past.push(JSON.stringify(before ?? points));
  points = next;
  props.value = JSON.stringify(points);
  draw();
  trigger("input");
}

function place(event) {
  const svg = element.querySelector("svg");
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const [height, width] = props.frame;
  return [Math.round(clamp(at.y, height - 1) * 10) / 10, Math.round(clamp(at.x, width - 1) * 10) / 10];
}

const edits = {
  undo() {
    if (!past.length) return;
    points = JSON.parse(past.pop());
    props.value = JSON.stringify(points);
    draw();
    trigger("input");
  },
  mirror() {
    const [, width] = props.frame;
    const flipped = points.map((point) => (missing(point) ? point : [point[0], width - 1 - point[1]]));
    change(props.twins.map((twin) => flipped[twin]));
  },
  complete() { // add missing joints next to their neighbors in the skeleton
    const next = points.map((point) => [...point]);
    if (next.every(missing)) next[1] = [props.frame[0] / 4, props.frame[1] / 2];
    for (let round = 0; round < next.length; round++) {
      props.bones.forEach(([a, b]) => {
        const [from, to] = missing(next[a]) ? [b, a] : [a, b];
        if (missing(next[to]) && !missing(next[from])) {
          next[to] = [clamp(next[from][0] + 12, props.frame[0] - 1), clamp(next[from][1] + 6, props.frame[1] - 1)];
        }
      });
    }
    change(next);
  },
};

element.addEventListener("pointerdown", (event) => {
  const joint = event.target.closest?.(".joint");
  if (!joint) return;
  event.preventDefault();
  dragged = Number(joint.dataset.joint);
  before = points.map((point) => [...point]);
  element.querySelector("svg").setPointerCapture(event.pointerId);
  draw();
});

element.addEventListener("pointermove", (event) => {
  if (dragged === null) return;
  points[dragged] = place(event);
  draw();
});

for (const end of ["pointerup", "pointercancel"]) {
  element.addEventListener(end, () => {
    if (dragged === null) return;
    const moved = points[dragged].some((value, axis) => value !== before[dragged][axis]);
    dragged = null;
    if (moved) change(points);
    else {
      draw();
      adopt();
    }
    before = null;
  });
}

let tapped = { joint: null, at: 0 };
element.addEventListener("click", (event) => {
  const edit = event.target.closest?.("[data-edit]");
  if (edit) edits[edit.dataset.edit]();
});
element.addEventListener("pointerdown", (event) => {
  const joint = event.target.closest?.(".joint")?.dataset.joint ?? null;
  const twice = joint !== null && joint === tapped.joint && event.timeStamp - tapped.at < 350;
  tapped = { joint, at: event.timeStamp };
  if (!twice) return;
  event.stopPropagation(); // no drag begins
  dragged = null;
  before = null;
  change(points.map((point, i) => (i === Number(joint) ? [-1, -1] : point)));
}, true);

// A value that arrives during a drag waits for its end.
function adopt() {
  if (dragged !== null || JSON.stringify(points) === props.value) return;
  if (points.length) past.push(JSON.stringify(points));
  read();
}
watch("value", adopt);
read();
