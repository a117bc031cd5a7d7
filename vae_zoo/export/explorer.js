"use strict";

/** Numbers of base64 text: half or single precision, or bytes. */
function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (kind === "uint8") return bytes;
  if (kind === "float32") return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  return Float32Array.from(halves, (half) => {
    const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return exponent === 31 ? (fraction ? NaN : sign * Infinity) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

/** Error function, to 1.2e-7 (Numerical Recipes, erfc by Chebyshev). */
function erf(x) {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const c = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
    -0.82215223, 0.17087277];
  const series = c.reduceRight((sum, term) => term + t * sum, 0);
  const tail = t * Math.exp(-x * x + series);
  return x >= 0 ? 1 - tail : tail - 1;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS = {
  ReLU: () => (x) => (x > 0 ? x : 0),
  LeakyReLU: (at) => (x) => (x > 0 ? x : at.slope * x),
  ELU: () => (x) => (x > 0 ? x : Math.expm1(x)),
  Tanh: () => Math.tanh,
  Sigmoid: () => sigmoid,
  SiLU: () => (x) => x * sigmoid(x),
  Softplus: () => (x) => (x > 20 ? x : Math.log1p(Math.exp(x))),
  GELU: () => (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
};

function linear(at, x, weights) {
  const out = new Float32Array(at.out);
  for (let o = 0; o < at.out; o++) {
    let sum = at.bias < 0 ? 0 : weights[at.bias + o];
    const row = at.weight + o * x.length;
    for (let i = 0; i < x.length; i++) sum += weights[row + i] * x[i];
    out[o] = sum;
  }
  return out;
}

/** A linear layer multiplied by a gate, which is another. */
function gated(at, x, weights) {
  const gate = linear(at.gate, x, weights);
  return linear(at.value, x, weights).map((value, i) => value * sigmoid(gate[i]));
}

/** Transposed convolution: each input is spread over the outputs that its kernel covers. */
function transposed(at, x, weights) {
  const [channels, height, width] = at.in, [outputs, tall, wide] = at.out, [kh, kw] = at.kernel;
  const out = new Float32Array(outputs * tall * wide);
  if (at.bias >= 0) for (let o = 0; o < outputs; o++) out.fill(weights[at.bias + o], o * tall * wide, (o + 1) * tall * wide);
  for (let c = 0; c < channels; c++)
    for (let h = 0; h < height; h++)
      for (let w = 0; w < width; w++) {
        const value = x[(c * height + h) * width + w];
        if (value === 0) continue;
        for (let o = 0; o < outputs; o++)
          for (let i = 0; i < kh; i++) {
            const row = h * at.stride[0] - at.padding[0] + i;
            if (row < 0 || row >= tall) continue;
            const from = at.weight + ((c * outputs + o) * kh + i) * kw, to = (o * tall + row) * wide;
            for (let j = 0; j < kw; j++) {
              const column = w * at.stride[1] - at.padding[1] + j;
              if (column >= 0 && column < wide) out[to + column] += value * weights[from + j];
            }
          }
      }
  return out;
}

function convolution(at, x, weights) {
  const [channels, height, width] = at.in, [outputs, tall, wide] = at.out, [kh, kw] = at.kernel;
  const out = new Float32Array(outputs * tall * wide);
  for (let o = 0; o < outputs; o++)
    for (let h = 0; h < tall; h++)
      for (let w = 0; w < wide; w++) {
        let sum = at.bias < 0 ? 0 : weights[at.bias + o];
        for (let c = 0; c < channels; c++)
          for (let i = 0; i < kh; i++) {
            const row = h * at.stride[0] - at.padding[0] + i;
            if (row < 0 || row >= height) continue;
            for (let j = 0; j < kw; j++) {
              const column = w * at.stride[1] - at.padding[1] + j;
              if (column < 0 || column >= width) continue;
              sum += weights[at.weight + ((o * channels + c) * kh + i) * kw + j] * x[(c * height + row) * width + column];
            }
          }
        out[(o * tall + h) * wide + w] = sum;
      }
  return out;
}

const STEPS = { linear, gated, transposed, convolution };

/** A function from inputs to outputs of a network, as the page holds it. */
function network({ layers, weights, kind }) {
  const numbers = unpack(weights, kind);
  return (input) =>
    layers.reduce(
      (x, at) => (STEPS[at.type] ? STEPS[at.type](at, x, numbers) : x.map(ACTIVATIONS[at.type](at))),
      Float32Array.from(input),
    );
}

/** A function from a latent to the mean of p(x|z). */
function decoder(page) {
  const run = network(page.decoder), size = page.shape.reduce((a, b) => a * b, 1);
  return (z) => {
    const x = run(z).subarray(0, size);
    return page.mean === "sigmoid" ? x.map(sigmoid) : x;
  };
}

/** A function from an example to the mean of q(z|x). */
function encoder(page) {
  const run = network(page.encoder);
  return (x) => Array.from(run(x).subarray(0, page.dims));
}

const mix = (a, b, t) => Array.from(a, (value, i) => (1 - t) * value + t * b[i]);

/** Indices of the stored latents next to a latent, the nearest first. */
function nearest(latents, dims, z, num) {
  const distance = [];
  for (let n = 0; n * dims < latents.length; n++) {
    let sum = 0;
    for (let d = 0; d < dims; d++) sum += (latents[n * dims + d] - z[d]) ** 2;
    distance.push([sum, n]);
  }
  return distance.sort((a, b) => a[0] - b[0]).slice(0, num).map(([, n]) => n);
}

function gaussian() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** Pixels (C, H, W) in [0, 1] on a canvas of their size. */
function paint(canvas, pixels, [channels, height, width]) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), plane = height * width;
  for (let at = 0; at < plane; at++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[(channels < 3 ? 0 : c) * plane + at];
      image.data[4 * at + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
    }
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Pixels (C, H, W) in [0, 1] of a canvas of their size. */
function pixelsOf(canvas, [channels, height, width]) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height), plane = height * width;
  const grey = (at) => 0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2];
  return Float32Array.from({ length: channels * plane }, (_, i) => {
    const at = i % plane;
    return (channels < 3 ? grey(at) : data[4 * at + Math.floor(i / plane)]) / 255;
  });
}

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#a6761d", "#737373", "#c9b400"];

function start(page) {
  const decode = decoder(page), dims = page.dims, shape = page.shape;
  const latents = unpack(page.latents, "float32"), stored = unpack(page.examples, "uint8");
  const num = latents.length / dims, size = shape.reduce((a, b) => a * b, 1);
  const find = (id) => document.getElementById(id);
  const latent = (n) => Array.from(latents.subarray(n * dims, (n + 1) * dims));
  const example = (n) => Float32Array.from(stored.subarray(n * size, (n + 1) * size), (byte) => byte / 255);
  const named = (n) => (page.labels ? `${n}: ${page.names[page.labels[n]]}` : `${n}`);
  let z = latent(0);

  const make = (tag, parent, text) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const picture = (parent, pixels, what, act) => {
    const canvas = make("canvas", parent);
    paint(canvas, pixels, shape);
    canvas.title = what;
    canvas.setAttribute("role", act ? "button" : "img");
    canvas.setAttribute("aria-label", what);
    if (act) {
      canvas.tabIndex = 0;
      canvas.onclick = act;
      canvas.onkeydown = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), act());
    }
    return canvas;
  };

  const sliders = page.order.map((d, rank) => {
    const row = make("label", find("sliders"));
    row.className = "slider";
    if (rank >= 12) row.classList.add("more");
    make("span", row, page.rates ? `z${d}, ${page.rates[d].toFixed(2)} nats` : `z${d}`);
    const input = make("input", row);
    Object.assign(input, { type: "range", min: page.low[d], max: page.high[d], step: "any" });
    const value = make("output", row);
    input.oninput = () => {
      z[d] = Number(input.value);
      show();
    };
    return { d, input, value };
  });
  find("all").hidden = sliders.length <= 12;
  find("all").onclick = () => {
    find("sliders").classList.toggle("whole");
    find("all").textContent = find("sliders").classList.contains("whole") ? "Fewer dimensions" : "All dimensions";
  };

  const map = find("map");
  const place = (v) => page.axes.map((axis) => axis.reduce((sum, weight, d) => sum + weight * (v[d] - page.centre[d]), 0));
  const points = Array.from({ length: num }, (_, n) => place(latent(n)));
  const span = Math.max(...points.flat().map(Math.abs)) * 1.08 || 1;
  const draw = () => {
    const side = map.width, context = map.getContext("2d");
    const at = ([a, b]) => [(side * (a / span + 1)) / 2, (side * (1 - b / span)) / 2];
    context.clearRect(0, 0, side, side);
    points.forEach((point, n) => {
      context.fillStyle = COLOURS[(page.labels ? page.labels[n] : 0) % COLOURS.length];
      context.beginPath();
      context.arc(...at(point), side / 130, 0, 2 * Math.PI);
      context.fill();
    });
    context.strokeStyle = getComputedStyle(map).color;
    context.lineWidth = side / 200;
    context.beginPath();
    context.arc(...at(place(z)), side / 60, 0, 2 * Math.PI);
    context.stroke();
  };
  map.onclick = (event) => {
    const box = map.getBoundingClientRect();
    const a = (2 * (event.clientX - box.left)) / box.width - 1, b = 1 - (2 * (event.clientY - box.top)) / box.height;
    const gap = ([x, y]) => (x / span - a) ** 2 + (y / span - b) ** 2;
    set(latent(points.reduce((best, point, n) => (gap(point) < gap(points[best]) ? n : best), 0)));
  };
  if (page.labels) {
    [...new Set(page.labels)].sort((a, b) => a - b).forEach((label) => {
      const key = make("span", find("legend"), page.names[label]);
      key.style.setProperty("--colour", COLOURS[label % COLOURS.length]);
    });
  }

  const show = () => {
    paint(find("current"), decode(z), shape);
    sliders.forEach(({ d, input, value }) => {
      input.value = z[d];
      value.textContent = z[d].toFixed(2);
    });
    find("near").replaceChildren();
    nearest(latents, dims, z, 6).forEach((n) => picture(find("near"), example(n), `example ${named(n)}`, () => set(latent(n))));
    draw();
  };
  const set = (next) => {
    z = next;
    show();
  };

  const ends = ["first", "last"].map((id) => {
    const choice = find(id);
    for (let n = 0; n < num; n++) make("option", choice, named(n)).value = n;
    choice.onchange = () => path();
    return choice;
  });
  ends[1].value = Math.max(0, page.labels ? page.labels.findIndex((label) => label !== page.labels[0]) : num - 1);
  const path = () => {
    const [a, b] = ends.map((choice) => Number(choice.value));
    find("path").replaceChildren();
    picture(find("path"), example(a), `example ${named(a)}`);
    for (let step = 0; step <= 8; step++) {
      const v = mix(latent(a), latent(b), step / 8);
      picture(find("path"), decode(v), `${step} of 8 steps`, () => set(v));
    }
    picture(find("path"), example(b), `example ${named(b)}`);
  };
  find("walk").oninput = () => set(mix(...ends.map((choice) => latent(Number(choice.value))), Number(find("walk").value)));

  const sample = () => {
    const heat = Number(find("heat").value);
    find("degree").textContent = heat.toFixed(2);
    find("samples").replaceChildren();
    for (let k = 0; k < 16; k++) {
      const v = page.prior.loc.map((loc, d) => loc + heat * page.prior.scale[d] * gaussian());
      picture(find("samples"), decode(v), "a sample", () => set(v));
    }
  };
  find("sampling").hidden = !page.prior;
  if (page.prior) {
    find("heat").onchange = find("draw").onclick = sample;
    find("heat").oninput = () => (find("degree").textContent = Number(find("heat").value).toFixed(2));
    sample();
  }
  const own = () => {
    const encode = encoder(page), canvas = find("own"), [, height, width] = shape;
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    let last = null;
    const read = () => {
      const v = encode(pixelsOf(canvas, shape));
      paint(find("again"), decode(v), shape);
      set(v);
    };
    const clear = () => {
      context.fillStyle = "#000";
      context.fillRect(0, 0, width, height);
      paint(find("again"), new Float32Array(size), shape);
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(width * (event.clientX - box.left)) / box.width, (height * (event.clientY - box.top)) / box.height];
    };
    const stroke = (event) => {
      const to = place(event);
      context.strokeStyle = find("colour").value;
      context.lineWidth = Math.max(1, width / 12);
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(...(last || to));
      context.lineTo(...to);
      context.stroke();
      last = to;
      read();
    };
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = null;
      stroke(event);
    };
    canvas.onpointermove = (event) => last && stroke(event);
    canvas.onpointerup = canvas.onpointercancel = () => (last = null);
    find("clear").onclick = clear;
    find("colour").hidden = shape[0] < 3;
    find("file").onchange = async () => {
      const [chosen] = find("file").files;
      if (!chosen) return;
      try {
        const image = await createImageBitmap(chosen);
        const scale = Math.min(width / image.width, height / image.height);
        const [w, h] = [image.width * scale, image.height * scale];
        clear();
        context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
        find("trouble").textContent = "";
        read();
      } catch {
        find("trouble").textContent = `${chosen.name} is no picture that this browser reads`;
      }
    };
    clear();
  };
  find("owned").hidden = !page.encoder;
  if (page.encoder) own();
  find("zero").onclick = () => set(Array.from(page.centre));
  find("random").onclick = () => set(latent(Math.floor(num * Math.random())));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  path();
  show();
}

if (typeof module !== "undefined") module.exports = { decoder, encoder, mix, nearest, start, unpack };
else start(JSON.parse(document.getElementById("page").textContent));
