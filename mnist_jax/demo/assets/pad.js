// The drawing surface: strokes by mouse, finger, pen or keyboard, kept as points in [0, 1] x [0, 1] and a width.

// Of the pad's side, for a pen of width 1. About the width of MNIST's strokes where the digit fills three fifths of the pad.
const LINE_WIDTH = 0.075;

// What is sent: the paths scaled to this many pixels, the larger side of their bounding box to MNIST's 20 of 28.
// A pen of width 1 leaves as much ink as is usual there, whatever the size the paths were drawn in.
const SENT_SIDE = 168;
const SENT_BOX = 20 / 28;
const SENT_LINE_WIDTH = 2.6 / 28;
const LARGEST_ZOOM = 6;

// Digits narrower than this share of their height are widened, for thick strokes would fill their loops.
const NARROWEST = 0.45;
const MOST_WIDENED = 1.8;

// Of a page of several digits: strokes as usual in MNIST for their height, at most those of the pad.
const PAGE_SIDE = 420;
const PAGE_LINE = 0.12;
const THINNEST_PAGE_LINE = 0.012; // for a dot, which has no height

const KEY_STEP = 1 / 56;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad {
  // onChange(settled) is called whenever something changes; settled is false while a stroke is being drawn.
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = (settled) => {
      if (this.marked) {
        this.marked = null;
        this.paint();
      }
      onChange(settled);
    };
    this.strokes = []; // each { points, width }
    this.width = 1; // of the pen; 1 is usual
    this.picture = null;
    this.marked = null; // the digits of a page; forgotten at the next change
    this.open = new Map(); // the stroke that each pointer is drawing
    this.cursor = { x: 0.5, y: 0.25, shown: false, down: false };
    this.held = new Set();
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(type, (event) => this.#up(event));
    }
    canvas.addEventListener("keydown", (event) => this.#keyDown(event));
    canvas.addEventListener("keyup", (event) => this.held.delete(event.key));
    canvas.addEventListener("blur", () => this.#leave());
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get isEmpty() {
    return !this.strokes.length && !this.picture;
  }

  // For those who draw by keyboard: what the pen does.
  get pen() {
    if (!this.cursor.shown) return "";
    return this.cursor.down ? "Pen down" : "Pen up";
  }

  // For the strokes to come, as a multiple of the usual width.
  setWidth(width) {
    this.width = width;
    this.paint();
  }

  clear() {
    this.strokes = [];
    this.picture = null;
    this.open.clear();
    this.cursor.down = false;
    this.paint();
    this.onChange(true);
  }

  undo() {
    if (this.picture) {
      this.picture = null;
    } else {
      const gone = this.strokes.pop();
      for (const [pointer, stroke] of this.open) {
        if (stroke === gone) this.open.delete(pointer);
      }
      this.cursor.down = false;
    }
    this.paint();
    this.onChange(true);
  }

  // Shows an uploaded picture (an ImageBitmap) in place of what was drawn.
  show(picture) {
    this.strokes = [];
    this.open.clear();
    this.cursor.down = false;
    this.picture = picture;
    this.marked = null;
    this.paint();
  }

  // What was drawn, black on white, as a PNG.
  async toBlob() {
    const context = sheet(SENT_SIDE);
    const points = this.strokes.flatMap((stroke) => stroke.points);
    const pen = SENT_LINE_WIDTH * Math.max(...this.strokes.map((stroke) => stroke.width));
    const bounds = (axis) => [Math.min(...points.map((p) => p[axis])), Math.max(...points.map((p) => p[axis]))];
    const [left, right] = bounds("x");
    const [top, bottom] = bounds("y");
    const zoom = Math.min((SENT_BOX - pen) / Math.max(right - left, bottom - top, 1e-3), LARGEST_ZOOM);
    const widened = Math.min(Math.max((NARROWEST * (bottom - top)) / Math.max(right - left, 1e-3), 1), MOST_WIDENED);
    const place = (point) => ({
      x: 0.5 + (point.x - (left + right) / 2) * zoom * widened,
      y: 0.5 + (point.y - (top + bottom) / 2) * zoom,
    });
    for (const { points, width } of this.strokes) trace(context, points.map(place), SENT_SIDE, SENT_LINE_WIDTH * width);
    return new Promise((resolve) => context.canvas.toBlob(resolve, "image/png"));
  }

  // All of the pad, for several digits: black on white, as a PNG.
  async toPage() {
    const context = sheet(PAGE_SIDE);
    const heights = this.strokes.map(({ points }) => points.map((point) => point.y)).map((y) => Math.max(...y) - Math.min(...y));
    const line = Math.max(Math.min(LINE_WIDTH, PAGE_LINE * Math.max(...heights)), THINNEST_PAGE_LINE);
    for (const { points, width } of this.strokes) {
      // Away from the border, where ink is taken for what surrounds a page.
      const inner = points.map((point) => ({ x: 0.05 + 0.9 * point.x, y: 0.05 + 0.9 * point.y }));
      trace(context, inner, PAGE_SIDE, line * width);
    }
    return new Promise((resolve) => context.canvas.toBlob(resolve, "image/png"));
  }

  // Shows which digits were read where: each { box, label }, the box in pixels of a picture of this size.
  mark(digits, height, width) {
    this.marked = { digits, height, width };
    this.paint();
  }

  paint() {
    const { canvas } = this;
    const side = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    if (canvas.width !== side || canvas.height !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    if (this.picture) {
      const scale = side / Math.max(this.picture.width, this.picture.height);
      const [width, height] = [this.picture.width * scale, this.picture.height * scale];
      context.drawImage(this.picture, (side - width) / 2, (side - height) / 2, width, height);
    }
    const style = getComputedStyle(canvas);
    context.strokeStyle = style.color;
    if (this.marked) this.#paintMarks(context, style, side);
    for (const { points, width } of this.strokes) trace(context, points, side, LINE_WIDTH * width);
    if (this.cursor.shown) {
      context.strokeStyle = context.fillStyle = style.getPropertyValue("--accent");
      context.lineWidth = 2 * devicePixelRatio;
      context.beginPath();
      context.arc(this.cursor.x * side, this.cursor.y * side, (LINE_WIDTH / 2) * this.width * side, 0, 2 * Math.PI);
      if (this.cursor.down) context.fill();
      else context.stroke();
    }
  }

  #paintMarks(context, style, side) {
    const { digits, height, width } = this.marked;
    const scale = side / Math.max(height, width);
    // Strokes were sent with a margin around them, pictures are shown in the middle.
    const place = this.picture
      ? (across, down) => [across * scale + (side - width * scale) / 2, down * scale + (side - height * scale) / 2]
      : (across, down) => [across, down].map((pixel) => ((pixel / PAGE_SIDE - 0.05) / 0.9) * side);
    context.save();
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--accent");
    context.lineWidth = 1.5 * devicePixelRatio;
    context.font = `600 ${Math.round(side / 26)}px system-ui, sans-serif`;
    context.textBaseline = "bottom";
    for (const { box, label } of digits) {
      const [left, top] = place(box[1], box[0]);
      const [right, bottom] = place(box[3], box[2]);
      const margin = this.picture ? side / 90 : (LINE_WIDTH / 3) * side;
      context.strokeRect(left - margin, top - margin, right - left + 2 * margin, bottom - top + 2 * margin);
      context.fillText(label, left - margin, Math.max(top - margin - side / 120, side / 24));
    }
    context.restore();
  }

  #begin(point) {
    this.picture = null;
    const stroke = { points: [point], width: this.width };
    this.strokes.push(stroke);
    return stroke;
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const clip = (value) => Math.min(1, Math.max(0, value));
    return { x: clip((event.clientX - box.left) / box.width), y: clip((event.clientY - box.top) / box.height) };
  }

  #down(event) {
    if (event.button !== 0) return;
    this.cursor.shown = this.cursor.down = false;
    this.canvas.setPointerCapture(event.pointerId);
    this.open.set(event.pointerId, this.#begin(this.#point(event)));
    this.paint();
    this.onChange(false);
  }

  #move(event) {
    const stroke = this.open.get(event.pointerId);
    if (!stroke) return;
    const events = event.getCoalescedEvents?.() ?? [];
    stroke.points.push(...(events.length ? events : [event]).map((each) => this.#point(each)));
    this.paint();
    this.onChange(false);
  }

  #up(event) {
    if (this.open.delete(event.pointerId)) this.onChange(true);
  }

  #keyDown(event) {
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    } else if (event.key in ARROWS) {
      this.held.add(event.key);
      this.#steer(event.shiftKey ? 4 * KEY_STEP : KEY_STEP);
    } else if (event.key === " " || event.key === "Enter") {
      if (!event.repeat) this.#togglePen();
    } else if (event.key === "Backspace" || event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  // Two arrow keys held together move diagonally, though only the last of them repeats.
  #steer(step) {
    const { cursor } = this;
    for (const key of this.held) {
      cursor.x = Math.min(1, Math.max(0, cursor.x + ARROWS[key][0] * step));
      cursor.y = Math.min(1, Math.max(0, cursor.y + ARROWS[key][1] * step));
    }
    cursor.shown = true;
    if (cursor.down) {
      this.strokes.at(-1).points.push({ x: cursor.x, y: cursor.y });
      this.onChange(false);
    }
    this.paint();
  }

  #togglePen() {
    const { cursor } = this;
    cursor.shown = true;
    cursor.down = !cursor.down;
    if (cursor.down) this.#begin({ x: cursor.x, y: cursor.y });
    this.paint();
    this.onChange(!cursor.down);
  }

  #leave() {
    this.held.clear();
    const wasDown = this.cursor.down;
    this.cursor.shown = this.cursor.down = false;
    this.paint();
    if (wasDown) this.onChange(true);
  }
}

// An empty sheet to draw on in black: the context of a square canvas.
function sheet(side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "#000";
  return context;
}

function trace(context, points, side, width) {
  // A line of no length draws nothing; a tap must leave a dot.
  context.fillStyle = context.strokeStyle;
  context.beginPath();
  context.arc(points[0].x * side, points[0].y * side, (width / 2) * side, 0, 2 * Math.PI);
  context.fill();
  context.lineWidth = width * side;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (const point of points) context.lineTo(point.x * side, point.y * side);
  context.stroke();
}
