// Events per second over the last minute, as two SVG paths, drawn once a second.

import { write } from "./pace.js";

const SECONDS = 60;
const WIDTH = 120;
const HEIGHT = 28;

export class Chart {
  constructor(svg, number) {
    this.area = svg.querySelector(".area");
    this.line = svg.querySelector(".line");
    this.number = number;
    this.counts = new Array(SECONDS).fill(0);
    this.now = 0;
    this.draw();
    setInterval(() => this.tick(), 1000);
  }

  count(events = 1) {
    this.now += events;
  }

  tick() {
    this.counts.shift();
    this.counts.push(this.now);
    write(this.number, this.now.toLocaleString("en"));
    this.now = 0;
    if (!document.hidden) this.draw();
  }

  draw() {
    const most = Math.max(4, ...this.counts);
    const points = this.counts.map((count, n) => {
      const x = (n / (SECONDS - 1)) * WIDTH;
      const y = HEIGHT - 2 - (count / most) * (HEIGHT - 5);
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
  }
}
