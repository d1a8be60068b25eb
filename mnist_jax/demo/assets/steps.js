// From the picture to what the network was given, step by step: asked for only while it is unfolded.

import { showPicture } from "./answer.js";

const byId = (id) => document.getElementById(id);

export class Steps {
  // ask(path, picture) gives the JSON of an answer, or throws; refresh() has the picture that is shown looked at.
  constructor(ask, refresh) {
    this.ask = ask;
    this.asked = 0;
    byId("steps").addEventListener("toggle", () => {
      if (byId("steps").open) refresh();
    });
  }

  async look(picture) {
    if (!byId("steps").open) return;
    this.asked += 1;
    const mine = this.asked;
    const answer = await this.ask("api/steps", picture).catch((error) => ({ steps: [], error: error.message }));
    // Cleared meanwhile.
    if (mine === this.asked) this.show(answer.steps, answer.error);
  }

  show(steps, text = "Nothing yet.") {
    const row = byId("steps-row");
    while (row.children.length > steps.length) row.lastChild.remove();
    while (row.children.length < steps.length) {
      const item = row.appendChild(document.createElement("li"));
      item.appendChild(document.createElement("canvas")).setAttribute("role", "img");
      item.appendChild(document.createElement("span"));
    }
    steps.forEach((step, index) => {
      const [canvas, name] = row.children[index].children;
      showPicture(canvas, step);
      canvas.classList.toggle("small", step.width < 64);
      name.textContent = step.name;
    });
    row.hidden = steps.length === 0;
    byId("steps-say").hidden = !row.hidden;
    byId("steps-say").textContent = text;
  }

  clear() {
    this.asked += 1;
    this.show([]);
  }
}
