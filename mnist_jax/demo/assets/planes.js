// The layers as planes in space: where each lies, and its maps on one sheet of pixels. A unit is { plane, map, row, column }.

const LENGTH = 9; // from the picture to the answer, in units of space
const LARGEST = 2.7; // side of a plane
const SMALLEST = 1.3;

// Lays out the layers that api/layers describes, along z from the picture to the answer.
export function arrange(layers) {
  return layers.map((layer, index) => {
    const isRow = layer.shape.length === 1;
    const [height, width, channels] = isRow ? [1, 1, layer.shape[0]] : layer.shape;
    const isImage = layer.kind === "image";
    const maps = isImage ? 1 : channels;
    const inTwoRows = layer.kind === "answers" && maps <= 12;
    const columns = Math.ceil(inTwoRows ? maps / 2 : Math.sqrt((maps * height) / width));
    const cell = Math.max(1, Math.ceil(4 / width)); // pixels of a unit's side
    const gap = Math.max(1, Math.round((width * cell) / 10));
    const sheetWidth = columns * (width * cell + gap) + gap;
    const sheetHeight = Math.ceil(maps / columns) * (height * cell + gap) + gap;
    const side = Math.min(Math.max(0.62 * Math.log10(height * width * channels), SMALLEST), LARGEST);
    const scale = (layer.kind === "answers" ? 0.8 * LARGEST : side) / Math.max(sheetWidth, sheetHeight);
    return {
      layer, index, height, width, channels, maps, columns, cell, gap, sheetWidth, sheetHeight, scale,
      z: layers.length > 1 ? LENGTH * (index / (layers.length - 1) - 0.5) : 0,
      pixels: new Uint8ClampedArray(4 * sheetWidth * sheetHeight),
    };
  });
}

// Corners of a rectangle of a sheet's pixels in space, counterclockwise from the lower left.
export function inSpace(plane, left = 0, top = 0, right = plane.sheetWidth, bottom = plane.sheetHeight) {
  const x = (pixel) => (pixel - plane.sheetWidth / 2) * plane.scale;
  const y = (pixel) => (plane.sheetHeight / 2 - pixel) * plane.scale;
  return [[left, bottom], [right, bottom], [right, top], [left, top]].map(([u, v]) => [x(u), y(v), plane.z]);
}

// Rectangle of rows and columns of a map, in pixels of the sheet: left, top, right, bottom.
export function onSheet(plane, map, [top, bottom] = [0, plane.height], [left, right] = [0, plane.width]) {
  const x = plane.gap + (map % plane.columns) * (plane.width * plane.cell + plane.gap);
  const y = plane.gap + Math.floor(map / plane.columns) * (plane.height * plane.cell + plane.gap);
  return [x + left * plane.cell, y + top * plane.cell, x + right * plane.cell, y + bottom * plane.cell];
}

// The unit at a point of a plane in space, or null between the maps.
export function unitAt(plane, x, y) {
  const place = (pixel, units, total) => {
    const pitch = units * plane.cell + plane.gap;
    const map = Math.floor((pixel - plane.gap / 2) / pitch);
    const inside = Math.floor((pixel - plane.gap - map * pitch) / plane.cell);
    return map >= 0 && map < total ? [map, Math.min(Math.max(inside, 0), units - 1)] : null;
  };
  const across = place(x / plane.scale + plane.sheetWidth / 2, plane.width, plane.columns);
  const down = place(plane.sheetHeight / 2 - y / plane.scale, plane.height, Math.ceil(plane.maps / plane.columns));
  if (!across || !down) return null;
  const map = down[0] * plane.columns + across[0];
  return map < plane.maps ? { plane, map, row: down[1], column: across[1] } : null;
}

// Position of a unit among the values of its layer.
export function positionOf({ plane, map, row, column }) {
  return (row * plane.width + column) * plane.channels + map;
}

// Colors every unit of a plane by a palette of 256 RGBA colors; values(position) gives the color's number.
export function paint(plane, palette, numberAt) {
  const { pixels, sheetWidth, cell } = plane;
  pixels.fill(0);
  for (let map = 0; map < plane.maps; map += 1) {
    const [left, top] = onSheet(plane, map);
    for (let row = 0; row < plane.height; row += 1) {
      for (let column = 0; column < plane.width; column += 1) {
        const color = palette[numberAt((row * plane.width + column) * plane.channels + map)];
        for (let v = 0; v < cell; v += 1) {
          let at = 4 * ((top + row * cell + v) * sheetWidth + left + column * cell);
          for (let u = 0; u < cell; u += 1) {
            pixels[at++] = color[0];
            pixels[at++] = color[1];
            pixels[at++] = color[2];
            pixels[at++] = color[3];
          }
        }
      }
    }
  }
}

// What a unit sees of the picture, as rectangle on the picture's plane: [top, bottom], [left, right].
export function fieldOf({ plane, row, column }) {
  return [plane.layer.rows[Math.min(row, plane.layer.rows.length - 1)],
    plane.layer.columns[Math.min(column, plane.layer.columns.length - 1)]];
}
