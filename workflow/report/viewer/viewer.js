// The viewer's page: slides.js says which slides there are, data/<slide>.js what is known of each.
"use strict";
const byId = (id) => document.getElementById(id);
window.SLIDE_DATA = window.SLIDE_DATA || {};
let slide = null, method = null, chosen = null, layer = null, outlines = {}, frame = null, start = null, closeUp = null, asked = 0;

const options = {
  drawer: "canvas", showNavigationControl: false, showNavigator: true, navigatorPosition: "BOTTOM_RIGHT", animationTime: 0.4,
  gestureSettingsMouse: { clickToZoom: false }, maxZoomPixelRatio: 4, visibilityRatio: 0.2, crossOriginPolicy: false,
};
const viewer = OpenSeadragon({ id: "slide", ...options });
const close = OpenSeadragon({ id: "tile", drawer: "canvas", showNavigationControl: false, mouseNavEnabled: false, maxZoomPixelRatio: 8, keyboardNavEnabled: false });
byId("tile").querySelectorAll("[tabindex]").forEach((part) => part.setAttribute("tabindex", "-1"));

function text(tag, words, cls) {
  const element = document.createElement(tag);
  element.textContent = words;
  if (cls) element.className = cls;
  return element;
}

function number(value) { return value === null || value === undefined ? "–" : Number(value).toPrecision(3); }

function error(one) {
  const p = one.probability[method];
  return one.label === null || p === undefined ? -1 : Math.abs(one.label - p);
}

function list() {
  const by = byId("sort").value, slides = [...SLIDES.slides];
  if (by === "name") slides.sort((a, b) => a.slide.localeCompare(b.slide, "en", { numeric: true }));
  if (by === "probability") slides.sort((a, b) => (b.probability[method] ?? -1) - (a.probability[method] ?? -1));
  if (by === "error") slides.sort((a, b) => error(b) - error(a));
  byId("slides").replaceChildren(...slides.map((one) => {
    const item = document.createElement("li"), link = document.createElement("a"), picture = document.createElement("img");
    link.href = "#slide=" + encodeURIComponent(one.slide) + "&method=" + encodeURIComponent(method);
    picture.src = one.thumbnail; picture.alt = ""; picture.loading = "lazy";
    link.append(picture, text("div", one.slide));
    const p = one.probability[method], label = one.label === null ? "" : one.label ? "tumour" : "normal";
    const wrong = one.label !== null && p !== undefined && (p >= 0.5) !== Boolean(one.label);
    link.append(text("div", [label, p === undefined ? "" : "p = " + p.toFixed(3)].filter(Boolean).join(", "), wrong ? "wrong" : ""));
    if (slide && slide.slide === one.slide) link.setAttribute("aria-current", "true");
    item.append(link);
    return item;
  }));
}

function load(name) {
  return new Promise((done, failed) => {
    const known = SLIDES.slides.find((one) => one.slide === name);
    if (!known) return failed(new Error("no slide " + name));
    if (SLIDE_DATA[name]) return done(SLIDE_DATA[name]);
    const script = document.createElement("script");
    script.src = known.data;
    script.onload = () => done(SLIDE_DATA[name]);
    script.onerror = () => failed(new Error(known.data + " is missing"));
    document.head.append(script);
  });
}

const side = () => slide.extent / slide.width;  // of a tile, in widths of the slide
const place = (i) => new OpenSeadragon.Rect(slide.x[i] / slide.width, slide.y[i] / slide.width, side(), side());

function drawScores() {
  if (layer) viewer.removeOverlay(layer);
  const scores = slide.scores[method], [low, full] = SLIDES.scale[method];
  layer = document.createElement("canvas");
  layer.className = "scores";
  layer.width = slide.columns; layer.height = slide.rows;
  const context = layer.getContext("2d"), image = context.createImageData(slide.columns, slide.rows);
  slide.index = new Map();
  for (let i = 0; i < slide.x.length; i++) {
    const column = Math.round(slide.x[i] / slide.extent), row = Math.round(slide.y[i] / slide.extent), at = 4 * (row * slide.columns + column);
    slide.index.set(row * slide.columns + column, i);
    const value = Math.min(1, Math.max(0, (scores[i] - low) / (full - low || 1)));
    image.data.set([200, 20, 20, Math.round(255 * value)], at);
  }
  context.putImageData(image, 0, 0);
  layer.style.opacity = byId("opacity").value / 100;
  const rectangle = new OpenSeadragon.Rect(0, 0, slide.columns * side(), slide.rows * side());
  viewer.addOverlay({ element: layer, location: rectangle });
}

function drawOutlines() {
  for (const name of Object.keys(outlines)) viewer.removeOverlay(outlines[name]);
  outlines = {};
  for (const [name, kinds] of [["lesions", { lesion: slide.lesions, excluded: slide.excluded }], ["tissue", { tissue: slide.tissue }]]) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${slide.width} ${slide.height}`);
    svg.setAttribute("class", "outline");
    svg.setAttribute("preserveAspectRatio", "none");
    for (const [kind, rings] of Object.entries(kinds)) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", rings.map((ring) => "M" + ring.map((point) => point.join(" ")).join("L") + "Z").join(""));
      svg.append(path);
    }
    svg.style.visibility = byId(name).checked ? "visible" : "hidden"; // OpenSeadragon sets display
    outlines[name] = svg;
    viewer.addOverlay({ element: svg, location: new OpenSeadragon.Rect(0, 0, 1, slide.height / slide.width) });
  }
}

function ranked() {
  if (!slide.order) slide.order = {};
  if (!slide.order[method]) {
    const scores = slide.scores[method];
    slide.order[method] = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
  }
  return slide.order[method];
}

// The close-up shows the tile that is chosen now, which may not be the one for which its pyramid was opened.
function fit() {
  if (chosen === null || !close.isOpen() || closeUp !== slide.pyramid) return;
  close.viewport.fitBounds(place(chosen), true);
  close.forceRedraw();
}
close.addHandler("open", () => { close.forceResize(); fit(); });

function choose(i, move) {
  chosen = i;
  const rank = ranked().indexOf(i) + 1;
  byId("where").textContent = `Tile ${rank} of ${slide.x.length}`;
  byId("what").textContent = `Score ${number(slide.scores[method][i])} by ${SLIDES.titles[method]}, at x = ${slide.x[i]}, y = ${slide.y[i]} px of level 0.`;
  byId("values").replaceChildren(...SLIDES.methods.map((name) => {
    const row = document.createElement("tr"), head = text("th", SLIDES.titles[name]);
    head.scope = "row";
    row.append(head, text("td", number(slide.scores[name][i])));
    return row;
  }));
  if (!frame) { frame = document.createElement("div"); frame.className = "chosen"; }
  viewer.removeOverlay(frame);
  viewer.addOverlay({ element: frame, location: place(i) });
  if (closeUp === slide.pyramid) fit();
  else { closeUp = slide.pyramid; close.open(closeUp); }
  if (move) {
    const box = place(i), wide = 8 * side();
    viewer.viewport.fitBounds(new OpenSeadragon.Rect(box.x + side() / 2 - wide / 2, box.y + side() / 2 - wide / 2, wide, wide));
  }
}

function link() {
  if (!slide || !viewer.viewport) return;
  const centre = viewer.viewport.getCenter(), parts = {
    slide: slide.slide, method, x: Math.round(centre.x * slide.width), y: Math.round(centre.y * slide.width),
    zoom: viewer.viewport.getZoom().toPrecision(4),
  };
  history.replaceState(null, "", "#" + new URLSearchParams(parts));
}

async function open() {
  const wanted = new URLSearchParams(location.hash.slice(1)), name = wanted.get("slide") || (SLIDES.slides[0] || {}).slide;
  if (SLIDES.methods.includes(wanted.get("method"))) method = wanted.get("method");
  byId("method").value = method;
  try {
    const mine = ++asked, next = await load(name);
    if (mine !== asked) return; // another slide was asked for meanwhile
    const same = slide === next;
    slide = next;
    start = wanted.has("x") ? wanted : null;
    if (same) { drawScores(); goTo(); } else { chosen = closeUp = null; close.close(); viewer.open(slide.pyramid); }
    list();
  } catch (problem) {
    byId("what").textContent = problem.message;
  }
}

function goTo() {
  if (!start) return;
  const zoom = Number(start.get("zoom")) || 8;
  viewer.viewport.panTo(new OpenSeadragon.Point(start.get("x") / slide.width, start.get("y") / slide.width), true);
  viewer.viewport.zoomTo(zoom, null, true);
  start = null;
}

viewer.addHandler("open", () => {
  layer = null; outlines = {}; frame = null;
  viewer.forceResize(); // the page may have got another layout since the viewer was made
  viewer.viewport.goHome(true);
  drawScores(); drawOutlines(); goTo();
  byId("where").textContent = "No tile chosen";
  byId("what").textContent = "Click on a tile, or use Next highest tile.";
  byId("values").replaceChildren();
  document.body.dataset.ready = slide.slide;
});
viewer.addHandler("animation-finish", link);
viewer.addHandler("canvas-click", (event) => {
  if (!event.quick || !slide) return;
  const point = viewer.viewport.pointFromPixel(event.position);
  const column = Math.floor(point.x / side()), row = Math.floor(point.y / side());
  const i = slide.index.get(row * slide.columns + column);
  if (i !== undefined) choose(i, false);
});
byId("opacity").addEventListener("input", () => { if (layer) layer.style.opacity = byId("opacity").value / 100; });
for (const name of ["lesions", "tissue"]) {
  byId(name).addEventListener("change", () => { if (outlines[name]) outlines[name].style.visibility = byId(name).checked ? "visible" : "hidden"; });
}
byId("method").addEventListener("change", () => {
  method = byId("method").value;
  drawScores(); list(); link();
  if (chosen !== null) choose(chosen, false);
});
byId("sort").addEventListener("change", list);
byId("in").addEventListener("click", () => viewer.viewport.zoomBy(1.5));
byId("out").addEventListener("click", () => viewer.viewport.zoomBy(1 / 1.5));
byId("home").addEventListener("click", () => viewer.viewport.goHome());
byId("best").addEventListener("click", () => {
  if (!viewer.isOpen()) return;
  const order = ranked(), at = chosen === null ? 0 : (order.indexOf(chosen) + 1) % order.length;
  choose(order[at], true);
});
window.addEventListener("hashchange", open);

document.title = byId("title").textContent = SLIDES.title;
byId("note").textContent = SLIDES.note;
method = SLIDES.methods.includes(SLIDES.method) ? SLIDES.method : SLIDES.methods[0];
byId("method").replaceChildren(...SLIDES.methods.map((name) => { const one = text("option", SLIDES.titles[name]); one.value = name; return one; }));
list();
open();
