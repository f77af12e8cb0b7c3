// A score map (grey PNG, 127.5 is the threshold) as a veil over a picture.
// What lies above the threshold is also outlined, so that it shows without colours.

const WIDEST = 480; // a map of an event has the size of its picture, which may be large
const CANVAS = 640;

/** Paint the map `image` into `canvas`, which takes the shape of `picture`. */
export function paintHeat(canvas, image, picture) {
  const shrink = Math.min(1, WIDEST / image.naturalWidth);
  const width = Math.max(1, Math.round(image.naturalWidth * shrink));
  const height = Math.max(1, Math.round(image.naturalHeight * shrink));
  const map = new OffscreenCanvas(width, height);
  const pen = map.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  const above = new Uint8Array(width * height);
  for (let i = 0; i < above.length; i++) {
    const margin = (pixels.data[4 * i] - 127.5) / 127.5;
    above[i] = margin > 0 ? 1 : 0;
    pixels.data.set(veil(margin), 4 * i);
  }
  pen.putImageData(pixels, 0, 0);
  canvas.width = CANVAS;
  canvas.height = Math.max(1, Math.round((CANVAS * picture.naturalHeight) / picture.naturalWidth));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
  outline(context, above, width, height);
}

/** Red, green, blue, alpha for a margin of -1..1 over the threshold. */
function veil(margin) {
  if (margin <= -0.6) return [0, 0, 0, 0];
  if (margin <= 0) return [255, 214, 92, Math.round(80 * (margin + 0.6))];
  return [255, Math.round(150 - 110 * margin), 40, Math.round(60 + 50 * margin)];
}

function outline(context, above, width, height) {
  const [wide, high] = [context.canvas.width / width, context.canvas.height / height];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && above[y * width + x] === 1;
  const lines = new Path2D();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!at(x, y)) continue;
      const [left, top, right, bottom] = [x * wide, y * high, (x + 1) * wide, (y + 1) * high];
      if (!at(x, y - 1)) { lines.moveTo(left, top); lines.lineTo(right, top); }
      if (!at(x, y + 1)) { lines.moveTo(left, bottom); lines.lineTo(right, bottom); }
      if (!at(x - 1, y)) { lines.moveTo(left, top); lines.lineTo(left, bottom); }
      if (!at(x + 1, y)) { lines.moveTo(right, top); lines.lineTo(right, bottom); }
    }
  }
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 0.75)";
  context.stroke(lines);
  context.lineWidth = 2;
  context.strokeStyle = "rgb(255 240 200)";
  context.stroke(lines);
}

/** Load a picture of ours; rejects if it is not there any more. */
export async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}
