// From where the planes are looked at, and where a point in space is on the page.

import { inSpace } from "./planes.js";

const FOCAL = 16; // distance over half of the height in sight there: a view of 7 degrees
const STEEPEST = 1.5; // radians
const LARGEST_DISTANCE = 1000;
const LANDSCAPE = { azimuth: -1.13, elevation: 0.24 };
const PORTRAIT = { azimuth: 0.42, elevation: 0.55 };

// Pixels left free around the planes for their names: left, top, right, bottom.
const LANDSCAPE_MARGINS = [36, 14, 36, 46];
const PORTRAIT_MARGINS = [10, 26, 100, 22];

export class View {
  constructor(planes, isFlat) {
    this.planes = planes;
    this.isFlat = isFlat; // without perspective, so that a plane stays a parallelogram
    this.resize(1, 1);
    this.reset();
  }

  // Where the page is taller than wide the planes lie on top of each other, the picture below.
  resize(width, height) {
    const wasPortrait = this.isPortrait;
    [this.width, this.height] = [width, height];
    this.isPortrait = width < 1.1 * height;
    if (wasPortrait !== this.isPortrait) this.reset();
    else this.#fit();
  }

  reset() {
    Object.assign(this, this.isPortrait ? PORTRAIT : LANDSCAPE, { zoom: 1 });
    this.#fit();
  }

  turn(right, up) {
    this.azimuth += right;
    this.elevation = Math.min(Math.max(this.elevation + up, -STEEPEST), STEEPEST);
  }

  magnify(factor) {
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 6);
  }

  get distance() {
    return this.fitted / this.zoom;
  }

  // Where the camera is, as seen from the center.
  get direction() {
    const { azimuth, elevation } = this;
    return [Math.cos(elevation) * Math.sin(azimuth), Math.sin(elevation), Math.cos(elevation) * Math.cos(azimuth)];
  }

  // Pixels from the left and from the top, and how near the point is.
  project(point) {
    const [x, y, z] = this.#turned(point);
    const scale = ((this.height / 2) * FOCAL) / (this.isFlat ? this.distance : Math.max(this.distance - z, 0.01));
    return [this.width / 2 + this.shift[0] + x * scale, this.height / 2 + this.shift[1] - y * scale, z];
  }

  // The plane at a pixel that is nearest, and the point on it: [plane, x, y], or null.
  hit(left, top) {
    const [right, up, out] = this.#axes();
    const [across, down] = [left - this.width / 2 - this.shift[0], top - this.height / 2 - this.shift[1]];
    const [x, y] = [across, -down].map((p) => p / ((this.height / 2) * FOCAL));
    const mix = (a, b, c) => [0, 1, 2].map((i) => a * right[i] + b * up[i] + c * out[i]);
    const d = this.distance;
    const [from, along] = this.isFlat ? [mix(x * d, y * d, 0), mix(0, 0, -1)] : [mix(0, 0, d), mix(x, y, -1)];
    let best = null;
    for (const plane of this.planes) {
      const way = (plane.z - from[2]) / along[2];
      const at = [from[0] + way * along[0], from[1] + way * along[1]];
      const inside = Math.abs(at[0]) <= (plane.sheetWidth / 2) * plane.scale
        && Math.abs(at[1]) <= (plane.sheetHeight / 2) * plane.scale;
      if (inside && (this.isFlat || way > 0) && (!best || way < best[3])) best = [plane, ...at, way];
    }
    return best?.slice(0, 3) ?? null;
  }

  // The page's right and up and the way to the camera, in the space of the planes.
  #axes() {
    const { azimuth: a, elevation: e } = this;
    const axes = [
      [Math.cos(a), 0, -Math.sin(a)],
      [-Math.sin(e) * Math.sin(a), Math.cos(e), -Math.sin(e) * Math.cos(a)],
      this.direction,
    ];
    return this.isPortrait ? axes.map(([x, y, z]) => [x, -z, y]) : axes;
  }

  #turned(point) {
    return this.#axes().map((axis) => axis[0] * point[0] + axis[1] * point[1] + axis[2] * point[2]);
  }

  // The nearest distance from which everything is in sight, and the shift that brings it to the middle.
  #fit() {
    const [left, top, right, bottom] = this.isPortrait ? PORTRAIT_MARGINS : LANDSCAPE_MARGINS;
    const corners = this.planes.flatMap((plane) => inSpace(plane));
    const room = [Math.max(this.width - left - right, 50), Math.max(this.height - top - bottom, 50)];
    const { zoom } = this;
    this.zoom = 1;
    this.shift = [0, 0];
    let [near, far] = [1, LARGEST_DISTANCE];
    let extent;
    for (let step = 0; step < 24; step += 1) {
      this.fitted = (near + far) / 2;
      const places = corners.map((corner) => this.project(corner));
      extent = [0, 1].map((axis) => places.map((place) => place[axis])).map((all) => [Math.min(...all), Math.max(...all)]);
      if (extent.every(([from, to], axis) => to - from <= room[axis])) far = this.fitted;
      else near = this.fitted;
    }
    this.shift = [left, top].map((margin, axis) => margin + (room[axis] - extent[axis][0] - extent[axis][1]) / 2);
    this.zoom = zoom;
  }
}

export { FOCAL };
