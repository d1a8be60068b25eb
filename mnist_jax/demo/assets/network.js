// The network at work: all its layers as planes in space, lit by the drawing, turned and touched.

import { bytesOf } from "./answer.js";
import { GRAYS, signedPalette, strengthPalette } from "./colors.js";
import { arrange, fieldOf, inSpace, onSheet, paint, unitAt } from "./planes.js";
import { Scene } from "./scene.js";
import { Still } from "./still.js";
import { UnitPanel } from "./unit.js";
import { View } from "./view.js";

const KEY_TURN = 0.09; // radians
const KEY_ZOOM = 1.12;
const TAP_PIXELS = 6;
const NAMED_ANSWERS = 12;

const byId = (id) => document.getElementById(id);

export class Network {
  // ask(path, body) gives the JSON of an answer, or throws.
  constructor(layers, classNames, ask) {
    this.ask = ask;
    this.classNames = classNames;
    this.planes = arrange(layers);
    this.data = null; // of each layer values, speaks, strongest and most
    this.answer = "";
    this.unit = null;
    this.pointers = new Map();
    this.stage = byId("space");
    this.panel = new UnitPanel(this.stage, this.planes[0], classNames, ask);
    this.isScheduled = false;
    this.#start(hasWebGL() ? Scene : Still);
    this.#label();
    this.#listen();
    this.#light();
    this.#resize();
  }

  // Lights the planes by a picture.
  async look(picture) {
    const answer = await this.ask("api/layers", picture);
    this.answer = answer.label;
    this.data = answer.layers.map((layer) => ({
      ...layer,
      values: bytesOf({ base64: layer.values }),
      speaks: new Int8Array(bytesOf({ base64: layer.speaks }).buffer),
    }));
    this.#light();
    this.#tell();
  }

  // Nothing is drawn.
  darken() {
    this.data = null;
    this.#light();
    this.#tell();
  }

  #start(Renderer) {
    this.renderer?.dispose();
    try {
      this.renderer = new Renderer(this.planes);
    } catch {
      this.renderer = new Still(this.planes);
    }
    this.view = new View(this.planes, this.renderer.isFlat);
    this.stage.prepend(this.renderer.canvas);
    byId("still").hidden = !this.renderer.isFlat;
    this.renderer.canvas.addEventListener("webglcontextlost", () => {
      this.#start(Still);
      this.#light();
      this.#resize();
    });
  }

  #label() {
    this.labels = this.planes.map((plane) => {
      const label = byId("names").appendChild(document.createElement("span"));
      const [name, size] = ["b", "span"].map((kind) => label.appendChild(document.createElement(kind)));
      name.textContent = plane.layer.kind === "pooling" ? "pooled" : plane.layer.name;
      size.textContent = plane.layer.shape.length === 1 ? `${plane.channels}` : `${plane.maps} × ${plane.height} × ${plane.width}`;
      return label;
    });
    const answers = this.planes.at(-1);
    const names = answers.channels <= NAMED_ANSWERS ? this.classNames : [];
    this.answers = names.map((name) => {
      const label = byId("names").appendChild(document.createElement("span"));
      label.className = "class";
      label.textContent = name;
      return label;
    });
  }

  #listen() {
    const { stage } = this;
    new ResizeObserver(() => this.#resize()).observe(stage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#light());
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel"]) stage.addEventListener(type, (event) => this.#up(event));
    stage.addEventListener("keydown", (event) => this.#key(event));
    // Turning the wheel scrolls the page; a pinch on a touchpad comes with Ctrl.
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.#magnify(Math.exp(-event.deltaY / 200));
    }, { passive: false });
    byId("nearer").addEventListener("click", () => this.#magnify(1.25));
    byId("farther").addEventListener("click", () => this.#magnify(0.8));
    byId("straight").addEventListener("click", () => this.#reset());
    for (const choice of document.querySelectorAll("[name=light]")) choice.addEventListener("change", () => this.#light());
  }

  #magnify(factor) {
    this.view.magnify(factor);
    this.#schedule();
  }

  #reset() {
    this.view.reset();
    this.#schedule();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    this.view.resize(width, height);
    this.renderer.resize(width, height);
    this.#schedule();
  }

  // Colors the sheets anew: by activity, or by what speaks for the answer and against it.
  #light() {
    const bySpeech = document.querySelector("[name=light]:checked").value === "speaks";
    const lit = strengthPalette(this.stage);
    const spoken = signedPalette(this.stage);
    this.planes.forEach((plane, index) => {
      const data = this.data?.[index];
      const isPlain = !bySpeech || plane.layer.kind === "answers";
      if (!data) paint(plane, plane.layer.kind === "image" ? GRAYS : lit, () => 0);
      else if (isPlain) paint(plane, plane.layer.kind === "image" ? GRAYS : lit, (at) => data.values[at]);
      else paint(plane, spoken, (at) => data.speaks[at] + 128);
    });
    const best = this.data ? this.classNames.indexOf(this.answer) : -1;
    this.answers.forEach((label, index) => label.classList.toggle("best", index === best));
    this.renderer.relight();
    this.#schedule();
  }

  // At most once a frame, and only when something has changed.
  #schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => {
      this.isScheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const mark = getComputedStyle(this.stage).getPropertyValue("--mark").trim();
    this.renderer.draw(this.view, this.unit ? marks(this.planes[0], this.unit) : [], mark);
    this.planes.forEach((plane, index) => {
      const corners = inSpace(plane).map((corner) => this.view.project(corner));
      const right = Math.max(...corners.map((corner) => corner[0]));
      const [x, y] = this.view.isPortrait
        ? [right + 8, corners.find((corner) => corner[0] === right)[1]]
        : [(Math.min(...corners.map((corner) => corner[0])) + right) / 2, Math.max(...corners.map((corner) => corner[1])) + 6];
      this.labels[index].style.transform = `translate(${x}px, ${y}px) translate(${this.view.isPortrait ? "0, -50%" : "-50%, 0"})`;
    });
    const plane = this.planes.at(-1);
    this.answers.forEach((label, index) => {
      const [left, top, right, bottom] = onSheet(plane, index);
      const middle = inSpace(plane, (left + right) / 2, (top + bottom) / 2)[3];
      const [x, y] = this.view.project(middle);
      label.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    });
  }

  #place(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { at: this.#place(event), moved: 0 });
  }

  // One finger turns, two bring nearer.
  #move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const at = this.#place(event);
    const step = [at[0] - pointer.at[0], at[1] - pointer.at[1]];
    const others = [...this.pointers.values()].filter((other) => other !== pointer);
    if (others.length) {
      const apart = (point) => Math.hypot(point[0] - others[0].at[0], point[1] - others[0].at[1]);
      this.view.magnify(apart(at) / Math.max(apart(pointer.at), 1));
    } else {
      this.view.turn(-step[0] / 160, step[1] / 160);
    }
    pointer.at = at;
    pointer.moved += Math.hypot(...step) + (others.length ? TAP_PIXELS : 0);
    this.#schedule();
  }

  #up(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (event.type !== "pointerup" || !pointer || pointer.moved > TAP_PIXELS) return;
    const hit = this.view.hit(...pointer.at);
    this.#choose(hit && unitAt(...hit));
  }

  #key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in arrows && event.shiftKey) this.#step(...arrows[event.key]);
    else if (event.key in arrows) this.view.turn(KEY_TURN * arrows[event.key][0], -KEY_TURN * arrows[event.key][1]);
    else if (event.key === "+" || event.key === "=") this.view.magnify(KEY_ZOOM);
    else if (event.key === "-") this.view.magnify(1 / KEY_ZOOM);
    else if (event.key === "0") this.view.reset();
    else if (event.key === "PageUp" || event.key === "PageDown") this.#change(event.key === "PageUp" ? 1 : -1);
    else if (event.key === "Escape") this.#choose(null);
    else return;
    event.preventDefault();
    this.#schedule();
  }

  // Moves the chosen unit on its sheet, from map to map at their borders.
  #step(right, down) {
    if (!this.unit) return this.#change(0);
    const { plane, map, row, column } = this.unit;
    const [left, top] = onSheet(plane, map, [row, row + 1], [column, column + 1]);
    const pitch = plane.cell;
    const across = right * (column + right < 0 || column + right >= plane.width ? pitch + plane.gap : pitch);
    const under = down * (row + down < 0 || row + down >= plane.height ? pitch + plane.gap : pitch);
    const x = (left + across + pitch / 2 - plane.sheetWidth / 2) * plane.scale;
    const y = (plane.sheetHeight / 2 - (top + under + pitch / 2)) * plane.scale;
    const next = unitAt(plane, x, y);
    if (next) this.#choose(next);
  }

  // Chooses the strongest unit of a layer that is so many layers away.
  #change(layers) {
    const from = this.unit ? this.unit.plane.index : 1 - layers;
    const plane = this.planes[Math.min(Math.max(from + layers, 0), this.planes.length - 1)];
    const { values } = this.data?.[plane.index] ?? { values: [0] };
    let best = 0;
    for (let at = 0; at < values.length; at += 1) if (values[at] > values[best]) best = at;
    const place = Math.floor(best / plane.channels);
    this.#choose({
      plane, map: Math.min(best % plane.channels, plane.maps - 1), row: Math.floor(place / plane.width), column: place % plane.width,
    });
  }

  #choose(unit) {
    const isSameMap = unit && this.unit && unit.plane === this.unit.plane && unit.map === this.unit.map;
    this.unit = unit;
    this.#schedule();
    this.#tell();
    if (unit && !isSameMap) this.panel.showWeights(unit);
  }

  #tell() {
    this.panel.tell(this.unit, this.data, this.answer);
  }
}

function hasWebGL() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

// Around the unit, around what it sees, and between the two.
function marks(image, unit) {
  const around = (corners) => corners.map((corner, index) => [corner, corners[(index + 1) % 4]]);
  const { plane, map, row, column } = unit;
  const own = inSpace(plane, ...onSheet(plane, map, [row, row + 1], [column, column + 1]));
  const seen = inSpace(image, ...onSheet(image, 0, ...fieldOf(unit)));
  const between = plane === image ? [] : own.map((corner, index) => [corner, seen[index]]);
  return [...around(inSpace(plane, ...onSheet(plane, map))), ...around(own), ...around(seen), ...between];
}
