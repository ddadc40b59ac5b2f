// A flash says "look here". Many at once say nothing, and each repaints the page while it lasts: while much happens
// there is none. All of them fade in the same steps, because only a step is painted: five times a second, however many
// there are. On so pale a ground it looks smooth.

const MOST_A_SECOND = 20;
const STEP_MS = 200;
const FADE = { duration: 6 * STEP_MS, easing: "steps(6)" };

let unforgotten = 0; // changes of the last second or two, whether they flashed or not
setInterval(() => { unforgotten = Math.max(0, Math.min(unforgotten, 2 * MOST_A_SECOND) - MOST_A_SECOND); }, 1000);

const still = matchMedia("(prefers-reduced-motion: reduce)");
const running = new WeakMap();

/** Show that `node` is new or has just changed, unless too much does. */
export function flash(node) {
  if (++unforgotten > MOST_A_SECOND || still.matches) return;
  running.get(node)?.cancel();
  const fade = node.animate([{ backgroundColor: "var(--flash)" }, {}], FADE);
  const now = document.timeline.currentTime;
  fade.startTime = now - (now % STEP_MS);
  running.set(node, fade);
}
