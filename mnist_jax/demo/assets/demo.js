// The page: asks the network while something is drawn, and shows what it says.
import { announce, prepare, showAnswer, showDigits, showNothing, showRefusal } from "./answer.js";
import { Pad } from "./pad.js";
import { Steps } from "./steps.js";

const LARGEST_FILE = 16 * 2 ** 20;
const PAUSE_MS = 40;

const byId = (id) => document.getElementById(id);

let names = []; // of the classes
let readsPages = false; // whether several digits in a picture are read
let upload = null; // the file that is being shown, instead of strokes
let question = 0; // counts what was asked; an answer to an older question is not shown
let wanted = false;
let busy = false;
let network = null; // the view in space, once it is opened
const steps = new Steps(request, () => (pad.isEmpty ? steps.clear() : ask()));

const pad = new Pad(byId("pad"), (settled) => {
  upload = null;
  refreshPad();
  say(pad.pen);
  if (pad.isEmpty) {
    question += 1;
    showNothing();
    steps.clear();
    network?.darken();
  } else {
    ask();
  }
  if (settled) tell();
});

function refreshPad() {
  document.body.classList.toggle("drawn", !pad.isEmpty);
  byId("clear").disabled = byId("undo").disabled = pad.isEmpty;
}

function say(text) {
  byId("status").textContent = text;
}

// For screen readers: only when the pen is up and the answer is that to the whole drawing.
function tell() {
  if (!busy && !pad.open.size && !pad.cursor.down) announce(true);
  else announce(false);
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
    const isUpload = Boolean(upload);
    let picture = upload;
    try {
      picture ??= await pad.toBlob();
      const answer = await request("api/recognise", picture);
      if (mine === question || (!pad.isEmpty && !upload)) showAnswer(answer, isUpload);
      if (mine === question && readsPages && answer.reason === "no single digit") await askForDigits(mine);
      await network?.look(picture);
      if (pad.isEmpty) network?.darken();
    } catch (error) {
      if (mine === question) showRefusal(error.message, isUpload);
      network?.darken();
    }
    if (mine === question) await steps.look(picture);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    if (pad.isEmpty) wanted = false;
  }
  busy = false;
  tell();
}

// What is no single digit may be several.
async function askForDigits(mine) {
  const page = await request("api/digits", upload ?? (await pad.toPage())).catch(() => null);
  if (!page || mine !== question) return;
  const read = page.text.join("").replaceAll("?", "").length;
  if (read < 2 || read < page.digits.length / 2) return;
  showDigits(page);
  pad.mark(page.digits, page.height, page.width);
}

// Sends a picture, or asks without one.
async function request(path, picture) {
  let response;
  try {
    response = await fetch(path, picture ? { method: "POST", body: picture } : {});
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function load(file) {
  if (!file) return;
  if (file.size > LARGEST_FILE) {
    showRefusal("This file is larger than the 16 MiB accepted.", true);
    tell();
    return;
  }
  // A format that the browser cannot show may still be one that the server reads, such as TIFF.
  pad.show(await createImageBitmap(file).catch(() => new ImageData(1, 1)).then((picture) => createImageBitmap(picture)));
  upload = file;
  refreshPad();
  say(file.name);
  ask();
}

// The view in space is fetched, and the network made ready for it, when somebody wants to see it.
async function openNetwork() {
  const button = byId("open-network");
  button.disabled = true;
  button.textContent = "Making it ready …";
  try {
    const [{ Network }, { layers }] = await Promise.all([import("./network.js"), request("api/layers")]);
    byId("network").hidden = false;
    button.setAttribute("aria-expanded", "true");
    button.parentElement.hidden = true;
    network = new Network(layers, names, request);
    byId("space").focus({ preventScroll: true });
    if (!pad.isEmpty) ask();
  } catch (error) {
    button.textContent = `${error.message} Try again`;
    button.disabled = false;
  }
}

// The width is kept from one visit to the next, where the browser keeps anything.
function setPen(value) {
  const slider = byId("pen");
  slider.value = value; // within its limits
  pad.setWidth(slider.value / 100);
  slider.setAttribute("aria-valuetext", `${slider.value}% of the usual width`);
  try {
    localStorage.setItem("pen", slider.value);
  } catch {} // kept for this visit only
}

function rememberedPen() {
  try {
    return localStorage.getItem("pen") ?? 100;
  } catch {
    return 100;
  }
}

async function start() {
  let model;
  try {
    model = await (await fetch("api/model")).json();
  } catch {
    showRefusal("The server does not answer. Is it still running?", false);
    return;
  }
  if (!model.class_names.every((name) => /^\d$/.test(name))) {
    document.title = document.querySelector("h1").textContent = "Draw or upload a picture";
    byId("given-caption").textContent = "Your picture in the form of those that the network was trained on.";
  }
  const accuracy =
    model.test_accuracy === null
      ? ""
      : `; ${(100 * model.test_accuracy).toFixed(2)}% of ${model.num_test.toLocaleString("en")} test images right`;
  byId("model").textContent = `Run ${model.run}: ${model.dataset}, ${model.step.toLocaleString("en")} steps${accuracy}`;
  byId("notice").textContent = model.notice;
  names = model.class_names;
  readsPages = model.reads_pages;
  prepare(model);
}

byId("clear").addEventListener("click", () => pad.clear());
byId("undo").addEventListener("click", () => pad.undo());
for (const [button, input] of [["upload", "file"], ["photograph", "camera"]]) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", (event) => {
    load(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  load(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => load(event.clipboardData.files[0]));
byId("open-network").addEventListener("click", openNetwork);
byId("pen").addEventListener("input", () => setPen(byId("pen").value));
byId("help").open = !matchMedia("(max-width: 46rem)").matches;
setPen(rememberedPen());
refreshPad();
start();
