// The canvas on which an image is shown: fitted, zoomed, moved, turned.

const LEAST_ZOOM = 0.02;
const MOST_ZOOM = 64;

/** A canvas that fills its element and shows one image. */
export class Stage {
  #source = null;
  #width = 1;
  #height = 1;
  #frame = 0;

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.reset();
    this.onresize = () => {};
    this.watching = new ResizeObserver(() => this.#resized());
    this.watching.observe(canvas);
  }

  close() {
    this.watching.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  /** Everything as it was at first. */
  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, turns: 0, mirrored: false, fitted: true });
    this.draw();
  }

  /** Show `source`, which has so many columns and rows of pixels; `aspect` is their height by their width. */
  show(source, width, height, aspect = 1) {
    this.#source = source;
    const changed = width !== this.#width || height !== this.#height;
    Object.assign(this, { aspect });
    this.#width = width;
    this.#height = height;
    if (changed && !this.fitted) this.fit();
    this.draw();
  }

  clear() {
    this.#source = null;
    this.draw();
  }

  /** As large as it can be with all of it in sight. */
  fit() {
    Object.assign(this, { fitted: true, x: 0, y: 0 });
    this.draw();
  }

  /** One pixel of the image on one of the screen. */
  actual() {
    Object.assign(this, { fitted: false, zoom: 1, x: 0, y: 0 });
    this.draw();
  }

  /** Zoom by a factor about a point of the canvas, its middle if none is given. */
  zoomBy(factor, at = null) {
    const before = this.scale;
    const zoom = Math.min(Math.max(before * factor, LEAST_ZOOM), MOST_ZOOM);
    const ratio = devicePixelRatio;
    const [px, py] = at
      ? [at.x * ratio - this.canvas.width / 2, at.y * ratio - this.canvas.height / 2]
      : [0, 0];
    this.x = px - ((px - this.x) * zoom) / before;
    this.y = py - ((py - this.y) * zoom) / before;
    Object.assign(this, { zoom, fitted: false });
    this.draw();
  }

  /** Move the image by so many pixels of the page. */
  moveBy(x, y) {
    this.zoom = this.scale;
    this.fitted = false;
    this.x += x * devicePixelRatio;
    this.y += y * devicePixelRatio;
    this.draw();
  }

  /** Turn it clockwise by a quarter. */
  turn() {
    this.turns = (this.turns + 1) % 4;
    this.draw();
  }

  /** Have left and right on the screen change places. */
  mirror() {
    this.mirrored = !this.mirrored;
    this.turns = (4 - this.turns) % 4;
    this.draw();
  }

  /** Have top and bottom on the screen change places. */
  upsideDown() {
    this.mirrored = !this.mirrored;
    this.turns = (6 - this.turns) % 4;
    this.draw();
  }

  /** Pixels of the screen for a pixel of the image. */
  get scale() {
    if (!this.fitted) return this.zoom;
    const [wide, high] = [this.#width, this.#height * this.aspect];
    const [across, down] = this.turns % 2 ? [high, wide] : [wide, high];
    return Math.min(this.canvas.width / across, this.canvas.height / down) || 1;
  }

  /** The column and row of the image at a point of the canvas; null outside of it. */
  pixelAt({ x, y }) {
    if (!this.#source) return null;
    const inverse = this.#matrix().inverse();
    const point = inverse.transformPoint(new DOMPoint(x * devicePixelRatio, y * devicePixelRatio));
    const [column, row] = [Math.floor(point.x), Math.floor(point.y)];
    return column >= 0 && row >= 0 && column < this.#width && row < this.#height ? { column, row } : null;
  }

  /** Draw at the next chance; several changes are one drawing. */
  draw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  /** From pixels of the image to those of the canvas. */
  #matrix() {
    const scale = this.scale;
    const [middleX, middleY] = [this.canvas.width / 2 + this.x, this.canvas.height / 2 + this.y];
    const matrix = new DOMMatrix()
      .translate(middleX, middleY)
      .rotate(90 * this.turns)
      .scale(this.mirrored ? -scale : scale, scale * this.aspect);
    matrix.translateSelf(-this.#width / 2, -this.#height / 2);
    if (scale >= 1) {
      // On whole pixels, so that nothing is smeared.
      matrix.e = Math.round(matrix.e);
      matrix.f = Math.round(matrix.f);
    }
    return matrix;
  }

  #paint() {
    const { context, canvas } = this;
    context.resetTransform();
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.#source) return;
    context.imageSmoothingEnabled = this.scale !== 1;
    context.imageSmoothingQuality = "high";
    context.setTransform(this.#matrix());
    context.drawImage(this.#source, 0, 0);
  }

  #resized() {
    const box = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(Math.round(box.width * devicePixelRatio), 1);
    this.canvas.height = Math.max(Math.round(box.height * devicePixelRatio), 1);
    this.#paint();
    this.onresize();
  }
}
