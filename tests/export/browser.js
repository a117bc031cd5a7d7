// The page in node: its own script, on a document that remembers what it is told.
// node browser.js PAGE.html SCRIPT.js LATENTS.json  ->  JSON on stdout
"use strict";

const fs = require("fs");

class Element {
  constructor(tag) {
    Object.assign(this, { tag, children: [], dataset: {}, hidden: false, value: "0", pixels: null, drawn: 0 });
    const names = new Set();
    this.classList = {
      add: (name) => names.add(name),
      contains: (name) => names.has(name),
      toggle: (name) => (names.has(name) ? names.delete(name) : names.add(name)),
    };
    this.style = { setProperty: () => {} };
  }
  append(...made) { this.children.push(...made); }
  replaceChildren(...made) { this.children = made; }
  setAttribute(name, value) { this[name] = value; }
  getBoundingClientRect() { return { left: 0, top: 0, width: 100, height: 100 }; }
  getContext() {
    const ignore = () => {};
    const drawn = () => this.drawn++;
    return {
      putImageData: (image) => (this.pixels = Array.from(image.data)),
      ...{ clearRect: ignore, fillRect: ignore, beginPath: ignore, fill: drawn, stroke: drawn, arc: ignore },
    };
  }
}

const text = fs.readFileSync(process.argv[2], "utf8");
const ids = new Map([...text.matchAll(/<(\w+)[^>]* id="(\w+)"/g)].map(([, tag, id]) => [id, new Element(tag)]));
ids.get("heat").value = "1";
global.document = { getElementById: (id) => ids.get(id) ?? null, createElement: (tag) => new Element(tag) };
global.ImageData = class { constructor(width, height) { this.data = new Uint8ClampedArray(4 * width * height); } };
global.getComputedStyle = () => ({ color: "#000" });
global.matchMedia = () => ({ addEventListener: () => {} });

const page = JSON.parse(/<script type="application\/json" id="page">(.*?)<\/script>/s.exec(text)[1]);
const { decoder, encoder, start } = require(fs.realpathSync(process.argv[3]));
const decode = decoder(page);
const latents = JSON.parse(fs.readFileSync(process.argv[4], "utf8"));
start(page);

const find = (id) => ids.get(id);
const current = () => find("current").pixels;
const before = current();
const inputs = find("sliders").children.map((row) => row.children[1]);
inputs[0].value = String(page.high[page.order[0]]);
inputs[0].oninput();
const moved = current();
find("near").children[0].onclick();
const neighbour = current();
find("map").onclick({ clientX: 50, clientY: 50 });
find("zero").onclick();
const centre = current();
find("walk").value = "1";
find("walk").oninput();
const cold = Object.assign(find("heat"), { value: "0" });
find("samples").children.length && cold.onchange();

process.stdout.write(JSON.stringify({
  decoded: latents.map((z) => Array.from(decode(z))),
  encoded: page.encoder && latents.map((z) => encoder(page)(decode(z))),
  ...{ before, moved, neighbour, centre, end: current(), sliders: inputs.length, points: find("map").drawn },
  path: find("path").children.length,
  samples: find("samples").children.map((canvas) => canvas.pixels),
  near: find("near").children.length,
  options: find("first").children.length,
  sampling: !find("sampling").hidden,
  legend: find("legend").children.length,
}));
