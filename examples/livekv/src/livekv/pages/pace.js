// When to render: inside an animation frame and, however much the stream says, with a pause between two renderings.
// A change ten times a second is "at once" to whoever looks on; fifty more frames would only cost their processor.

export const PAUSE_MS = 100;

export class Pace {
  /** `render()` puts all that is new on the page in one go, so that the browser lays it out once. */
  constructor(render) {
    this.render = render;
    this.last = -PAUSE_MS;
    this.timer = 0;
    this.frame = 0;
  }

  /** The stream said something: in the next frame, or when the pause after the last rendering is over. */
  soon() {
    if (this.timer || this.frame) return;
    const left = this.last + PAUSE_MS - performance.now();
    if (left > 0) this.timer = setTimeout(() => this.now(), Math.ceil(left));
    else this.now();
  }

  /** The person did something: in the next frame. */
  now() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
      this.last = performance.now();
    });
  }
}

/** Set a text if it differs: the same text anew would be laid out and painted anew. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
