// What pointers do on the image: one drags with the chosen tool, two zoom and move, the wheel scrolls.

const ZOOM_PER_PIXEL = 1.01;
const WHEEL_STEP = 100;
const PIXELS_A_SLICE = 12;

/** Have pointers on `element` call `act`: `window(x, y)`, `zoom(factor, at)`, `pan(x, y)`, `scroll(steps)`, `probe(at)`. */
export function watch(element, act, tool) {
  const down = new Map();
  let wheel = 0;
  let scrolled = 0;
  const at = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { ...at(event), button: event.button });
    scrolled = 0;
    act.begin(toolOf(event.button, tool()));
  });
  const up = (event) => {
    if (down.delete(event.pointerId) && !down.size) act.end();
  };
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("pointerleave", () => act.probe(null));
  element.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    const now = at(event);
    if (!before) {
      act.probe(now);
      return;
    }
    if (down.size === 2) pinch(down, event.pointerId, now, act);
    else drag(toolOf(before.button, tool()), now.x - before.x, now.y - before.y, now);
    down.set(event.pointerId, { ...now, button: before.button });
  });
  function drag(name, x, y, point) {
    if (name === "window") act.window(x, y);
    else if (name === "pan") act.pan(x, y);
    else if (name === "zoom") act.zoom(ZOOM_PER_PIXEL ** -y, null);
    else {
      scrolled += y;
      const steps = Math.trunc(scrolled / PIXELS_A_SLICE);
      scrolled -= steps * PIXELS_A_SLICE;
      if (steps) act.scroll(steps);
    }
    act.probe(point);
  }
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels =
        event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * WHEEL_STEP;
      if (event.ctrlKey || event.metaKey) {
        act.zoom(1.0015 ** -pixels, at(event));
        return;
      }
      // A notch of a mouse wheel is one image, however many pixels it counts; a touchpad adds up.
      const notch = Math.abs(pixels) >= 50;
      wheel = notch ? Math.sign(pixels) * WHEEL_STEP : wheel + pixels * 4;
      const steps = Math.trunc(wheel / WHEEL_STEP);
      wheel -= steps * WHEEL_STEP;
      if (steps) act.scroll(steps);
    },
    { passive: false },
  );
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", () => act.fit());
}

function toolOf(button, chosen) {
  return { 1: "pan", 2: "zoom" }[button] ?? chosen;
}

function pinch(down, moving, now, act) {
  const [other] = [...down].filter(([id]) => id !== moving).map(([, point]) => point);
  const before = down.get(moving);
  const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
  const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
  act.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  act.zoom(apart(now, other) / apart(before, other), middle);
}
