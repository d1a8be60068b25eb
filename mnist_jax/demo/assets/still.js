// The planes drawn as a still image, where there is no WebGL.

import { inSpace } from "./planes.js";

export class Still {
  isFlat = true;

  constructor(planes) {
    this.canvas = document.createElement("canvas");
    this.planes = planes;
    this.sheets = planes.map((plane) => {
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [plane.sheetWidth, plane.sheetHeight];
      return sheet;
    });
  }

  resize(width, height) {
    this.ratio = Math.min(devicePixelRatio, 2);
    [this.canvas.width, this.canvas.height] = [width, height].map((side) => Math.round(side * this.ratio));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  relight() {
    this.planes.forEach((plane, index) => {
      const picture = new ImageData(plane.pixels, plane.sheetWidth, plane.sheetHeight);
      this.sheets[index].getContext("2d").putImageData(picture, 0, 0);
    });
  }

  draw(view, lines, color) {
    const context = this.canvas.getContext("2d");
    const { ratio } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const order = this.planes.map((plane, index) => [view.project([0, 0, plane.z])[2], index]);
    for (const [, index] of order.sort((a, b) => a[0] - b[0])) {
      const plane = this.planes[index];
      const [lowerLeft, , upperRight, upperLeft] = inSpace(plane).map((corner) => view.project(corner));
      const across = [0, 1].map((axis) => ((upperRight[axis] - upperLeft[axis]) / plane.sheetWidth) * ratio);
      const down = [0, 1].map((axis) => ((lowerLeft[axis] - upperLeft[axis]) / plane.sheetHeight) * ratio);
      context.setTransform(...across, ...down, upperLeft[0] * ratio, upperLeft[1] * ratio);
      context.imageSmoothingEnabled = Math.hypot(...across) < 1;
      context.drawImage(this.sheets[index], 0, 0);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [from, to] of lines) {
      context.moveTo(...view.project(from).slice(0, 2));
      context.lineTo(...view.project(to).slice(0, 2));
    }
    context.stroke();
  }

  dispose() {
    this.canvas.remove();
  }
}
