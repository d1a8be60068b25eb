// The page: asks the network while something is drawn, and shows what it says.
import { Pad } from "./pad.js";

const LARGEST_FILE = 16 * 2 ** 20;
const PAUSE_MS = 40;
const MOST_BARS = 12;

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}%`;

let names = [];
let last = null; // the last answer shown
let upload = null; // the file that is being shown, instead of strokes
let question = 0; // counts what was asked; an answer to an older question is not shown
let wanted = false;
let busy = false;

const pad = new Pad(byId("pad"), (settled) => {
  upload = null;
  refreshPad();
  say(pad.pen, true);
  if (pad.isEmpty) {
    question += 1;
    show(null);
  } else {
    ask();
  }
  if (settled) announce();
});

function refreshPad() {
  document.body.classList.toggle("drawn", !pad.isEmpty);
  byId("clear").disabled = byId("undo").disabled = pad.isEmpty;
}

function say(text, calm = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("calm", calm);
}

// One question at a time; what is drawn meanwhile is asked about next.
async function ask() {
  question += 1;
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const mine = question;
    try {
      const answer = await post(upload ?? (await pad.toBlob()));
      if (mine === question || (!pad.isEmpty && !upload)) show(answer);
    } catch (error) {
      if (mine === question) {
        show(null);
        say(error.message);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    if (pad.isEmpty) wanted = false;
  }
  busy = false;
  announce();
}

async function post(picture) {
  let response;
  try {
    response = await fetch("api/recognise", { method: "POST", body: picture });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function show(answer) {
  last = answer;
  const label = byId("label");
  label.textContent = answer ? answer.label : "–";
  label.classList.toggle("empty", !answer || answer.unsure);
  label.classList.toggle("long", Boolean(answer) && answer.label.length > 2);
  byId("confidence").textContent = answer ? sentence(answer) : "Nothing drawn yet";
  showBars(answer?.probabilities ?? names.map(() => 0));
  showGiven(answer?.image);
  showMaps(answer?.activations);
}

function ranking(probabilities) {
  return probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
}

function sentence(answer) {
  if (answer.unsure) return answer.reason[0].toUpperCase() + answer.reason.slice(1);
  const [best, second] = ranking(answer.probabilities);
  const first = `${percent(answer.probabilities[best])} sure`;
  const next = answer.probabilities[second];
  return next >= 0.005 ? `${first}, else ${names[second]} (${percent(next)})` : first;
}

// For screen readers: only when the pen is up and the answer is that to the whole drawing.
function announce() {
  if (busy || pad.open.size || pad.cursor.down) return;
  byId("spoken").textContent = last ? `${last.label}: ${sentence(last)}` : "";
}

function showBars(probabilities) {
  const list = byId("bars");
  const order = ranking(probabilities);
  const shown = names.length > MOST_BARS ? order.slice(0, MOST_BARS) : names.map((_, index) => index);
  while (list.children.length < shown.length) {
    const row = list.appendChild(document.createElement("li"));
    for (const part of ["name", "track", "value"]) row.appendChild(document.createElement("span")).className = part;
    row.children[1].appendChild(document.createElement("div")).className = "bar";
  }
  shown.forEach((index, position) => {
    const [name, track, value] = list.children[position].children;
    const share = probabilities[index];
    name.textContent = names[index];
    track.firstChild.style.transform = `scaleX(${share})`;
    value.textContent = share ? percent(share) : "";
    list.children[position].classList.toggle("best", share > 0 && index === order[0]);
  });
}

function bytesOf(pixels) {
  return Uint8Array.from(atob(pixels.base64), (character) => character.charCodeAt(0));
}

function showGiven(image) {
  const canvas = byId("given");
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

async function load(file) {
  if (!file) return;
  if (file.size > LARGEST_FILE) {
    say("This file is larger than the 16 MiB accepted.");
    return;
  }
  // A format that the browser cannot show may still be one that the server reads, such as TIFF.
  pad.show(await createImageBitmap(file).catch(() => new ImageData(1, 1)).then((picture) => createImageBitmap(picture)));
  upload = file;
  refreshPad();
  say(file.name, true);
  ask();
}

async function start() {
  let model;
  try {
    model = await (await fetch("api/model")).json();
  } catch {
    say("The server does not answer. Is it still running?");
    return;
  }
  names = model.class_names;
  if (!names.every((name) => /^\d$/.test(name))) {
    document.title = document.querySelector("h1").textContent = "Draw or upload a picture";
    byId("given-caption").textContent = "Your picture in the form of those that the network was trained on.";
  }
  byId("bars").classList.toggle("named", names.some((name) => name.length > 2));
  const accuracy =
    model.test_accuracy === null
      ? ""
      : `; ${(100 * model.test_accuracy).toFixed(2)}% of ${model.num_test.toLocaleString("en")} test images right`;
  byId("model").textContent = `Run ${model.run}: ${model.dataset}, ${model.step.toLocaleString("en")} steps${accuracy}`;
  byId("notice").textContent = model.notice;
  document.querySelector(".maps").hidden = !model.num_maps;
  for (let map = 0; map < model.num_maps; map += 1) byId("maps").appendChild(document.createElement("canvas"));
  show(null);
}

byId("clear").addEventListener("click", () => pad.clear());
byId("undo").addEventListener("click", () => pad.undo());
byId("upload").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  load(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  load(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => load(event.clipboardData.files[0]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => last && showMaps(last.activations));
refreshPad();
start();
