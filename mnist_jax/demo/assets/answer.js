// What the network answered: the verdict, the bars, what it was given, and the maps of its first layer.

const MOST_BARS = 12;

// What to do where there is no answer: for a drawing, for a picture.
const ADVICE = [
  [/^no single digit/, "Draw one digit, 0 to 9, alone on the pad.", "Cut the picture down to one digit, 0 to 9."],
  [/^unsure/, "Draw it once more, so that it can be only one of them.", "Try a sharper picture, or one closer up."],
  [/blank/, "Draw larger.", "Take dark ink on light paper, and let the digit fill most of the picture."],
  [/not a picture|damaged|cannot be/, "Draw it once more.", "Choose another file: PNG, JPEG, TIFF, WebP or BMP."],
  [/larger|too much|more than/, "Draw less.", "Save the picture smaller and try again."],
  [/does not answer/, "Start the demo again.", "Start the demo again."],
];

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}%`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);

let names = []; // of the classes
let shown = null; // the answer on the page
let spoken = ""; // what a screen reader is to be told of it

// Makes room for the answers of a model, as api/model describes it.
export function prepare(model) {
  names = model.class_names;
  byId("bars").classList.toggle("named", names.some((name) => name.length > 2));
  document.querySelector(".maps").hidden = !model.num_maps;
  for (let map = 0; map < model.num_maps; map += 1) byId("maps").appendChild(document.createElement("canvas"));
  showNothing();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showMaps(shown?.activations));
}

export function showNothing() {
  verdict("–", "Nothing drawn yet");
  spoken = "";
  showInside(null);
}

// Shows why there is no answer to what was drawn or uploaded.
export function showRefusal(message, isUpload) {
  const reason = message.replace(/^(the picture: )+/, "");
  verdict("?", `${capital(reason)}.`.replace(/([.?])\.$/, "$1"), advise(reason, isUpload));
  spoken = `${byId("confidence").textContent} ${byId("advice").textContent}`;
  showInside(null);
}

export function showAnswer(answer, isUpload) {
  const isDigit = !answer.reason.startsWith("no single digit");
  verdict(isDigit ? answer.label : "?", sentence(answer), answer.unsure ? advise(answer.reason, isUpload) : "");
  byId("label").classList.toggle("empty", answer.unsure);
  const said = `${byId("confidence").textContent} ${byId("advice").textContent}`.trim();
  spoken = isDigit ? `${answer.label}: ${said}` : said;
  showInside(answer);
}

// Shows the digits of a page, as api/digits has them.
export function showDigits(page) {
  const number = page.text.join("\n");
  const doubted = page.digits.filter((digit) => digit.unsure).length;
  const lines = page.text.length > 1 ? ` in ${page.text.length} lines` : "";
  verdict(number, `${page.digits.length} digits${lines}, read one by one.`, doubted ? `${doubted} of them unsure.` : "");
  spoken = `${page.text.join(", ")}: ${byId("confidence").textContent} ${byId("advice").textContent}`.trim();
  showInside(null);
}

// Tells screen readers what is shown; an empty text lets the same answer be told again.
export function announce(isSettled) {
  byId("spoken").textContent = isSettled ? spoken : "";
}

function verdict(label, text, advice = "") {
  byId("label").textContent = label;
  byId("label").classList.toggle("empty", label === "–" || label === "?");
  byId("label").classList.toggle("long", label.length > 2);
  byId("confidence").textContent = text;
  byId("advice").textContent = advice;
}

function advise(reason, isUpload) {
  const found = ADVICE.find(([pattern]) => pattern.test(reason));
  return found ? found[isUpload ? 2 : 1] : "";
}

function sentence(answer) {
  const [best, second] = ranking(answer.probabilities);
  const first = percent(answer.probabilities[best]);
  if (answer.reason.startsWith("no single digit")) {
    return `${capital(answer.reason)}. The nearest is ${answer.label} (${first}).`;
  }
  if (answer.unsure) return capital(answer.reason);
  const next = answer.probabilities[second];
  return next >= 0.005 ? `${first} sure, else ${names[second]} (${percent(next)})` : `${first} sure`;
}

function ranking(probabilities) {
  return probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
}

function showInside(answer) {
  shown = answer;
  showBars(answer?.probabilities ?? names.map(() => 0));
  for (const id of ["given", "preview"]) showPicture(byId(id), answer?.image);
  byId("preview").hidden = !answer;
  showMaps(answer?.activations);
}

function showBars(probabilities) {
  const list = byId("bars");
  const order = ranking(probabilities);
  const rows = names.length > MOST_BARS ? order.slice(0, MOST_BARS) : names.map((_, index) => index);
  while (list.children.length < rows.length) {
    const row = list.appendChild(document.createElement("li"));
    for (const part of ["name", "track", "value"]) row.appendChild(document.createElement("span")).className = part;
    row.children[1].appendChild(document.createElement("div")).className = "bar";
  }
  rows.forEach((index, position) => {
    const [name, track, value] = list.children[position].children;
    const share = probabilities[index];
    name.textContent = names[index];
    track.firstChild.style.transform = `scaleX(${share})`;
    value.textContent = share ? percent(share) : "";
    list.children[position].classList.toggle("best", share > 0 && index === order[0]);
  });
}

export function bytesOf(pixels) {
  return Uint8Array.from(atob(pixels.base64), (character) => character.charCodeAt(0));
}

export function showPicture(canvas, image) {
  canvas.setAttribute("aria-label", image ? `The picture, ${image.width} by ${image.height} pixels` : "Nothing yet");
  if (!image) {
    canvas.width = 1; // empties it
    return;
  }
  canvas.width = image.width;
  canvas.height = image.height;
  const bytes = bytesOf(image);
  const picture = new ImageData(image.width, image.height);
  for (let pixel = 0; pixel < image.width * image.height; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      picture.data[4 * pixel + channel] = bytes[image.channels * pixel + (image.channels === 3 ? channel : 0)];
    }
    picture.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function showMaps(activations) {
  const grid = byId("maps");
  grid.setAttribute("aria-label", activations ? `${activations.channels} activation maps` : "Nothing yet");
  if (!activations) {
    for (const canvas of grid.children) canvas.width = 1; // empties it
    return;
  }
  const { height, width, channels } = activations;
  const bytes = bytesOf(activations);
  const [red, green, blue] = getComputedStyle(grid).color.match(/\d+/g).map(Number);
  for (let map = 0; map < channels; map += 1) {
    const canvas = grid.children[map];
    canvas.width = width;
    canvas.height = height;
    const picture = new ImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel += 1) {
      picture.data.set([red, green, blue, bytes[pixel * channels + map]], 4 * pixel);
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }
}
