// What one unit of a layer does, below the planes: its activity, what it speaks for, what it sees, its weights.

import { bytesOf } from "./answer.js";
import { signedPalette } from "./colors.js";
import { arrange, fieldOf, paint, positionOf } from "./planes.js";

const byId = (id) => document.getElementById(id);
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(Math.abs(value) < 0.1 ? 3 : 2)}`;

export class UnitPanel {
  // stage has the page's colors, image is the plane of the picture; ask(path) gives the JSON of an answer, or throws.
  constructor(stage, image, classNames, ask) {
    this.stage = stage;
    this.image = image;
    this.classNames = classNames;
    this.ask = ask;
    this.unit = null;
  }

  // Says what a unit does, or that one may be touched; data is null where nothing is drawn.
  tell(unit, data, answer) {
    this.unit = unit;
    byId("unit").hidden = !unit;
    byId("touch").hidden = Boolean(unit);
    if (!unit) return;
    const { plane } = unit;
    const isRow = plane.layer.shape.length === 1;
    const isAnswer = plane.layer.kind === "answers";
    const what = plane.layer.kind === "image" ? "" : isAnswer ? `, ${this.classNames[unit.map]}` : `, ${isRow ? "unit" : "map"} ${unit.map + 1} of ${plane.maps}`;
    byId("unit-name").textContent = `${plane.layer.name}${plane.layer.kind === "pooling" ? ", pooled" : ""}${what}${isRow ? "" : `, row ${unit.row + 1}, column ${unit.column + 1}`}`;
    byId("unit-says").textContent = data ? says(unit, data[plane.index], answer) : "Draw a digit to see what it does.";
    const [rows, columns] = fieldOf(unit);
    const sees = `${rows[1] - rows[0]} × ${columns[1] - columns[0]}`;
    byId("sees-text").textContent = `It sees ${sees} pixels of the picture.`;
    drawGray(byId("sees"), this.image, data?.[0], rows, columns);
  }

  async showWeights(unit) {
    const canvas = byId("weights");
    const figure = canvas.parentElement;
    figure.hidden = true;
    const { plane, map } = unit;
    if (plane.layer.kind === "image" || plane.layer.kind === "pooling") return;
    const weights = await this.ask(`api/weights?layer=${plane.index}&unit=${map}`).catch(() => null);
    if (!weights || this.unit?.plane !== plane || this.unit.map !== map) return;
    const [sheet] = arrange([{ kind: "weights", shape: [weights.height, weights.width, weights.channels] }]);
    const bytes = new Int8Array(bytesOf(weights).buffer);
    paint(sheet, signedPalette(this.stage, 1), (at) => bytes[at] + 128);
    [canvas.width, canvas.height] = [sheet.sheetWidth, sheet.sheetHeight];
    canvas.getContext("2d").putImageData(new ImageData(sheet.pixels, sheet.sheetWidth, sheet.sheetHeight), 0, 0);
    const inputs = weights.channels > 1 ? ` for each of ${weights.channels} inputs` : "";
    byId("weights-text").textContent = `Its weights: ${weights.height} × ${weights.width}${inputs}, the strongest ${weights.most.toFixed(2)}.`;
    figure.hidden = false;
  }
}

function says(unit, { values, speaks, strongest, most }, answer) {
  const at = positionOf(unit);
  if (unit.plane.layer.kind === "answers") return `Probability ${((100 * values[at] * strongest) / 255).toFixed(1)}%.`;
  const active = `Active at ${((values[at] * strongest) / 255).toFixed(2)}, where its layer reaches ${strongest.toFixed(2)}.`;
  const share = (position) => (speaks[position] * most) / 127;
  const own = `It speaks ${share(at) < 0 ? "against" : "for"} ${answer}: ${signed(share(at))} of its logit`;
  if (unit.plane.height * unit.plane.width === 1) return `${active} ${own}.`;
  let whole = 0;
  for (let place = unit.map; place < speaks.length; place += unit.plane.channels) whole += share(place);
  return `${active} ${own}, its whole map ${signed(whole)}.`;
}

function drawGray(canvas, plane, data, [top, bottom], [left, right]) {
  [canvas.width, canvas.height] = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
  const picture = new ImageData(canvas.width, canvas.height);
  for (let row = 0; row < canvas.height; row += 1) {
    for (let column = 0; column < canvas.width; column += 1) {
      const value = data ? data.values[((row + top) * plane.width + column + left) * plane.channels] : 0;
      picture.data.set([value, value, value, 255], 4 * (row * canvas.width + column));
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
