// The colors of the planes: palettes of 256 RGBA colors, made of those of the page.

const FAINTNESS = 0.65; // below 1: little activity is seen, too

export const GRAYS = Array.from({ length: 256 }, (_, value) => [value, value, value, 255]);

// From 0, nothing, to 255.
export function strengthPalette(stage) {
  const { track, accent } = colorsOf(stage);
  return Array.from({ length: 256 }, (_, value) => mixed(track, accent, (value / 255) ** FAINTNESS));
}

// From 1, all against, over 128, nothing, to 255.
export function signedPalette(stage, exponent = FAINTNESS) {
  const { track, accent, against } = colorsOf(stage);
  return Array.from({ length: 256 }, (_, value) => mixed(track, value < 128 ? against : accent, (Math.abs(value - 128) / 127) ** exponent));
}

function colorsOf(stage) {
  const style = getComputedStyle(stage);
  return Object.fromEntries(["track", "accent", "against"].map((name) => [name, parse(style.getPropertyValue(`--${name}`))]));
}

function parse(color) {
  return color.trim().match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16));
}

// Faint where there is nothing, so that what lies behind is seen.
function mixed(from, to, share) {
  return [...from.map((value, channel) => value + (to[channel] - value) * share), 120 + 135 * Math.min(1, 2 * share)];
}
