// The parts of the page that respond at once: the photo, its maps side by side, and the brush.
// Each function fills one element of the page; `props.value` is what the server gets of it.
window.seewhy ??= (() => {
  "use strict";

  const LEVELS = 65535; // of a map's values
  const BRUSHED = 512; // pixels of the longer side of what is brushed
  // What is on the page is there again after a reload, as long as the server remembers it.
  const kept = {
    get: (name) => JSON.parse(sessionStorage.getItem(`seewhy-${name}`) ?? "null"),
    set: (name, value) => sessionStorage.setItem(`seewhy-${name}`, JSON.stringify(value)),
  };
  if (!kept.get("visitor")) {
    kept.set("visitor", [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16)).join(""));
  }
  const visitor = { "x-visitor": kept.get("visitor") };
  let current = null; // the photo: {photo, name, width, height}
  const waiting = []; // who wants to know of a new photo
  const fitting = []; // who wants to know of another network
  const named = []; // who wants to know when its classes are there
  let names = []; // the classes of the network, by index
  let likeliest = []; // the indices of those that it sees in the photo
  let network = null; // its label
  const labels = []; // of all networks, in the server's order
  const looking = {}; // the texts of each text-image network, by its label: they are its classes

  // Small helpers -----------------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function slider(label, attributes) {
    const shown = make("output");
    const input = make("input", { type: "range", ...attributes });
    const show = () => (shown.textContent = `${input.value} %`);
    input.addEventListener("input", show);
    show();
    return [make("label", {}, label, input, shown), input];
  }

  function select(label, options, name) {
    const made = make("select", { name });
    for (const [value, text] of options) made.append(make("option", { value }, text));
    return [make("label", {}, label, made), made];
  }

  async function picture(address) {
    const image = new Image();
    image.src = address;
    await image.decode();
    return image;
  }

  // Gradio puts the page's parts in one by one.
  function whenThere(selector, use) {
    const found = document.querySelector(selector);
    found ? use(found) : requestAnimationFrame(() => whenThere(selector, use));
  }

  // Where the pointer is on a canvas, in the canvas's own pixels.
  function pointed(event, canvas) {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * canvas.width,
      ((event.clientY - box.top) / box.height) * canvas.height,
    ];
  }

  const fileName = (...parts) =>
    parts.map((part) => part.replace(/[^\w.+-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60)).join(".");

  // A long name may break before each refinement.
  const breakable = (name) =>
    name.split("+").flatMap((part, place) => (place ? [make("wbr"), `+${part}`] : [part]));

  const stem = (name) => name.replace(/\.[^.]*$/, "") || "photo";

  // The photo ---------------------------------------------------------------------------------

  function photo(element, props) {
    const root = element.querySelector(".seewhy-photo");
    const input = make("input", { type: "file", accept: `image/*,${props.suffixes}` });
    const shown = make("div", { class: "shown" }, "Drop a photo here, paste it, or click to choose");
    const drop = make("label", { class: "drop", "aria-label": "Photo" }, input, shown);
    const error = make("p", { class: "error", role: "alert" });
    const about = make("p", { class: "about" });
    const samples = make("div", { class: "samples", role: "group", "aria-label": "Samples" });
    props.samples.forEach(([kind, title], number) => {
      const image = make("img", { src: `samples/${number}.png`, alt: title });
      const take = () => given(fetch(`samples/${number}`, { method: "POST", headers: visitor }));
      samples.append(make("button", { type: "button", title, onclick: take, "data-kind": kind }, image));
    });
    root.replaceChildren(drop, error, about, samples);
    // A network is offered the samples that it was made for.
    fitting.push(() => {
      for (const one of samples.children) one.hidden = one.dataset.kind != props.fits[network];
    });
    labels.push(...Object.keys(props.fits));
    fit(network ?? labels[0]);
    let newest = null; // the request for the photo that was given last
    let wanted = null; // the button that was pressed while that photo was on its way
    if (kept.get("photo")) show(kept.get("photo"), newest).catch(() => kept.set("photo", null));
    // What is asked in the meantime is asked about that photo.
    whenThere("#explain", (button) => button.addEventListener("click", (event) => {
      if (!drop.classList.contains("busy")) return;
      event.stopImmediatePropagation();
      wanted = button;
    }, true));

    async function given(asked) {
      [newest, wanted] = [asked, null];
      let words = "";
      error.textContent = "";
      drop.classList.add("busy");
      try {
        const response = await asked;
        const answer = await response.json().catch(() => ({}));
        if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
        await show(answer, asked);
      } catch (problem) {
        words = `${problem.message}.`;
      }
      if (asked !== newest) return; // another photo was given since
      drop.classList.remove("busy");
      input.value = "";
      words ? (error.textContent = words) : wanted?.click();
    }

    async function show(answer, asked) {
      const image = await picture(`photos/${answer.photo}.png`);
      if (asked !== newest) return;
      image.alt = "The photo";
      shown.replaceChildren(image);
      const download = fileName(stem(answer.name)) + ".png";
      about.replaceChildren(
        make("span", {}, answer.name),
        ` ${answer.width} × ${answer.height} `,
        make("a", { href: `photos/${answer.photo}/full.png`, download }, "save"),
      );
      current = { ...answer, image };
      kept.set("photo", answer);
      likeliest = [];
      props.value = answer.photo;
      waiting.forEach((tell) => tell());
    }

    function upload(file) {
      if (!file) return;
      if (file.size > props.megabytes * 1e6) {
        const size = (file.size / 1e6).toFixed(1);
        error.textContent = `The photo has ${size} MB; the limit is ${props.megabytes} MB.`;
        return;
      }
      const name = encodeURIComponent(file.name || "photo.png");
      given(fetch(`photos?name=${name}`, { method: "POST", body: file, headers: visitor }));
    }

    input.addEventListener("change", () => upload(input.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
        if (kind === "drop") upload(event.dataTransfer.files[0]);
      });
    }
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      upload(file);
    });
  }

  // The classes -------------------------------------------------------------------------------

  const SHOWN = 60; // classes of a list at a time

  async function fit(label) {
    if (label === network || !labels.includes(label)) return;
    network = label;
    names = [];
    likeliest = [];
    fitting.forEach((tell) => tell());
    if (looking[label]) return setNames(looking[label]);
    const response = await fetch(`networks/${labels.indexOf(label)}/classes.json`);
    const given = response.ok ? await response.json() : [];
    if (network === label && !looking[label]) setNames(given);
  }

  function setNames(classes) {
    names = classes;
    named.forEach((tell) => tell());
  }

  // Exact names come first, then those that begin so, then those of which a word does.
  function found(words) {
    const wanted = words.trim().toLowerCase();
    const rank = (name, index) => {
      const text = name.toLowerCase();
      if (text === wanted || String(index) === wanted) return 0;
      if (text.startsWith(wanted)) return 1;
      if (text.split(/[^a-z0-9]+/).some((word) => word.startsWith(wanted))) return 2;
      return text.includes(wanted) ? 3 : 4;
    };
    const ranked = names.map((name, index) => [rank(name, index), index]).filter(([one]) => one < 4);
    const length = (one) => names[one[1]].length; // the shorter, the nearer
    return ranked.sort((a, b) => a[0] - b[0] || length(a) - length(b) || a[1] - b[1]).map(([, index]) => index);
  }

  function classes(element, props) {
    const root = element.querySelector(".seewhy-classes");
    const [none, nothing] = props.none;
    const list = make("ul", { role: "listbox", hidden: true });
    const input = make("input", { type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-expanded": "false" });
    root.replaceChildren(make("label", {}, make("span", {}, props.label), input), list);
    let at = 0; // the option that Enter takes
    let typed = ""; // what the open list was searched for
    const nameOf = (value) => (value === nothing ? none : names[value]);

    function choose(value) {
      props.value = value;
      input.value = nameOf(value);
      close();
      kept.set(props.label, { network, value, name: nameOf(value) });
    }

    function close() {
      list.hidden = true;
      input.setAttribute("aria-expanded", "false");
    }

    function option(value, kind = "") {
      const index = value === nothing ? [] : [make("small", {}, `${value}`)];
      const one = make("li", { role: "option", class: kind }, make("span", {}, nameOf(value)), ...index);
      one.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        choose(value);
      });
      one.value = value;
      return one;
    }

    function open(words) {
      typed = words;
      const searched = words !== "";
      const hits = searched ? found(words) : names.map((_, index) => index).filter((one) => !likeliest.includes(one));
      const first = searched ? [] : [option(nothing), ...likeliest.map((one) => option(one, "seen"))];
      const shown = hits.slice(0, SHOWN).map((one) => option(one));
      if (searched && none.startsWith(words.trim().toLowerCase())) shown.push(option(nothing));
      const rest = hits.length > SHOWN ? [make("li", { class: "rest" }, `${hits.length - SHOWN} more: type to search`)] : [];
      if (!first.length && !shown.length) rest.push(make("li", { class: "rest" }, "no class with this name"));
      list.replaceChildren(...first, ...shown, ...rest);
      list.hidden = false;
      input.setAttribute("aria-expanded", "true");
      mark(0);
    }

    function mark(place) {
      const options = list.querySelectorAll("[role=option]");
      at = Math.max(0, Math.min(place, options.length - 1));
      options.forEach((one, index) => one.setAttribute("aria-selected", index === at));
      input.ariaActiveDescendantElement = options[at] ?? null; // what a screen reader reads
      options[at]?.scrollIntoView({ block: "nearest" });
    }

    input.addEventListener("focus", () => {
      input.select();
      open("");
    });
    input.addEventListener("click", () => list.hidden && open(""));
    input.addEventListener("input", () => open(input.value));
    input.addEventListener("blur", () => {
      close();
      input.value = nameOf(props.value);
    });
    input.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        list.hidden ? open("") : mark(at + step);
      } else if (event.key === "Enter" && !list.hidden) {
        event.preventDefault();
        const one = list.querySelectorAll("[role=option]")[at];
        if (one) choose(one.value);
      } else if (event.key === "Escape") close();
    });
    function begin() {
      props.value = nothing;
      input.value = none;
    }
    function restore() {
      const before = kept.get(props.label);
      if (before?.network === network) {
        // Of texts that come and go the same one may have another index.
        const there = before.name === nameOf(before.value) ? before.value : names.indexOf(before.name);
        choose(there < 0 ? nothing : there);
      } else if (!list.hidden) open(typed); // opened before the names came
    }
    fitting.push(begin);
    named.push(restore);
    begin();
    if (names.length) restore();
  }

  // What a text-image network looks for -------------------------------------------------------

  function texts(element, props) {
    const root = element.querySelector(".seewhy-texts");
    const list = make("ul", { "aria-label": "Looked for" });
    const input = make("input", { type: "text", autocomplete: "off", placeholder: "a photo of a dog" });
    const label = make("label", {}, make("span", {}, "What do you look for?"), input);
    const add = make("button", { type: "button", onclick: take }, "Add");
    const error = make("p", { class: "error", role: "alert" });
    root.replaceChildren(make("div", { class: "entry" }, label, add), error, list);
    const before = kept.get("texts") ?? {};
    for (const [label, first] of Object.entries(props.first)) looking[label] = before[label] ?? first;

    function show() {
      const mine = looking[network] ?? [];
      root.hidden = !looking[network];
      props.value = mine;
      list.replaceChildren(...mine.map((text) => {
        const remove = () => change(mine.filter((one) => one !== text));
        return make("li", {}, make("span", {}, text), make("button", { type: "button", "aria-label": `Remove ${text}`, onclick: remove }, "×"));
      }));
    }

    function change(now) {
      looking[network] = now;
      kept.set("texts", looking);
      error.textContent = "";
      likeliest = [];
      show();
      setNames(now);
    }

    // What is typed becomes one of the texts.
    function take() {
      const text = input.value.trim().replace(/\s+/g, " ");
      const mine = looking[network];
      if (!text || !mine) return;
      if (text.length > props.longest) error.textContent = `This text has ${text.length} characters; the limit is ${props.longest}.`;
      else if (mine.includes(text)) error.textContent = "This text is there already.";
      else if (mine.length >= props.most) error.textContent = `${props.most} texts are the limit; remove one first.`;
      else {
        change([...mine, text]);
        input.value = "";
      }
    }

    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      take();
    });
    // What is still being typed is asked for, too.
    whenThere("#explain", (button) => button.addEventListener("click", take, true));
    fitting.push(show);
    show();
    if (looking[network]) setNames(looking[network]);
  }

  // Maps over the photo -----------------------------------------------------------------------

  // As `seewhy.draw.overlay` does it: the photo is a little darker, and what is salient opaque, with
  // the photo's fine light and shade.
  const WEAKEST = 0.3;
  const BRIGHTNESS = 0.95;
  const RELIEF = 32;
  const darker = (pixels) => pixels.map((value) => Math.trunc(value * BRIGHTNESS)); // its opacity is not read

  const greyOf = (pixels, i) => (pixels[i] * 19595 + pixels[i + 1] * 38470 + pixels[i + 2] * 7471 + 32768) >> 16;

  // How much lighter each pixel is than those around it.
  function relief(pixels, width, height) {
    const grey = Float32Array.from({ length: width * height }, (_, k) => greyOf(pixels, 4 * k));
    const radius = Math.max(2, Math.round(Math.min(width, height) / RELIEF));
    let coarse = grey;
    for (let times = 0; times < 2; times++) {
      coarse = blurred(coarse, radius, height, width, width, 1);
      coarse = blurred(coarse, radius, width, height, 1, width);
    }
    return grey.map((value, k) => value - coarse[k]);
  }

  // The mean of the 2 radius + 1 values around each one of so many lines; ends count repeatedly.
  function blurred(values, radius, lines, length, lineStep, step) {
    const out = new Float32Array(values.length);
    for (let line = 0; line < lines; line++) {
      const at = (place) => values[line * lineStep + Math.min(length - 1, Math.max(0, place)) * step];
      let sum = 0;
      for (let place = -radius; place <= radius; place++) sum += at(place);
      for (let place = 0; place < length; place++) {
        out[line * lineStep + place * step] = sum / (2 * radius + 1);
        sum += at(place + radius + 1) - at(place - radius);
      }
    }
    return out;
  }

  // What the network never saw: the bleached photo under diagonal lines.
  function hatched(pixels, width, height) {
    const out = new Uint8ClampedArray(pixels.length);
    const period = Math.max(8, Math.max(width, height) / 40);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i += 4) {
        const away = Math.abs(((x + y) % period) - period / 2) / Math.SQRT2;
        const line = Math.min(1, Math.max(0, 0.07 * period + 0.5 - away)) * 0.28;
        const grey = greyOf(pixels, i);
        const pale = grey + 0.7 * (255 - grey);
        out.fill(pale + line * (92 - pale), i, i + 3);
      }
    }
    return out;
  }

  // For each level of a map: red, green, blue and opacity.
  function paint(map, palette, alpha, threshold) {
    const table = new Float32Array(4 * (LEVELS + 1));
    const step = (map.high - map.low) / LEVELS;
    for (let level = 0; level <= LEVELS; level++) {
      const share = shareOf(map, map.low + step * level);
      const size = Math.abs(share) ** map.power;
      const place = map.signed ? (Math.sign(share) * size + 1) / 2 : WEAKEST + (1 - WEAKEST) * size;
      const colour = 3 * Math.round(255 * place);
      table[4 * level] = palette[colour];
      table[4 * level + 1] = palette[colour + 1];
      table[4 * level + 2] = palette[colour + 2];
      table[4 * level + 3] = Math.abs(share) < threshold ? 0 : alpha * (map.signed ? size : size ** 0.7);
    }
    return table;
  }

  function shareOf(map, value) {
    return Math.min(1, Math.max(map.signed ? -1 : 0, (value - map.zero) / map.full));
  }

  // Whether the network saw the middle of a pixel; `box` is left, top, right, bottom.
  const isSeen = (box, x, y) => x + 0.5 > box[0] && x + 0.5 < box[2] && y + 0.5 > box[1] && y + 0.5 < box[3];

  const valueOf = (map, index) => map.low + ((map.high - map.low) * map.levels[index]) / LEVELS;

  function maps(element, props, watch) {
    const root = element.querySelector(".seewhy-maps");
    const palettes = Object.fromEntries(
      Object.entries(props.palettes).map(([name, text]) => [
        name,
        Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)),
      ]),
    );
    const [opacity, alpha] = slider("Opacity", { min: 0, max: 100, value: 85, name: "opacity" });
    const [hidden, threshold] = slider("Threshold", { min: 0, max: 99, value: 0, name: "threshold" });
    const [colours, palette] = select("Colours", [["", "automatic"], ...Object.keys(palettes).map((n) => [n, n])], "colours");
    const [layout, mode] = select("View", [["side", "side by side"], ["own", "own size"], ["swipe", "swipe"]], "view");
    const [leftLabel, left] = select("Left", [], "left");
    const [rightLabel, right] = select("Right", [], "right");
    const swipes = make("span", { class: "swipes", hidden: true }, leftLabel, rightLabel);
    const tools = make("div", { class: "tools", hidden: true }, opacity, hidden, colours, layout, swipes);
    const stage = make("div", { class: "stage" });
    const welcome = make(
      "div",
      { class: "welcome" },
      make("p", {}, "Choose a photo or a sample, methods and a class, and press Explain."),
      make("p", {}, "The maps appear here, side by side."),
    );
    const reading = make("p", { class: "reading", "aria-live": "off" });
    const failed = make("p", { class: "failed", role: "alert" });
    const notes = make("p", { class: "notes" });
    const waits = make("p", { class: "waits", role: "status" });
    const legend = make("p", { class: "legend" });
    root.replaceChildren(waits, tools, failed, notes, stage, legend, reading);
    stage.append(welcome);
    let view = null; // what is shown: the server's view, with photo, pixels and levels
    let nextFrame = 0;

    async function load(next) {
      const image = await picture(`photos/${next.photo}.png`);
      const canvas = make("canvas", { width: next.width, height: next.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, next.width, next.height).data;
      const loaded = await Promise.all(
        next.maps.map(async (map, index) => {
          const response = await fetch(`results/${next.result}/${index}.map`);
          if (!response.ok) throw new Error("a map is no longer there; press Explain again");
          return { ...map, index, levels: new Uint16Array(await response.arrayBuffer()) };
        }),
      );
      return {
        ...next,
        pixels,
        darker: darker(pixels),
        relief: relief(pixels, next.width, next.height),
        hatched: hatched(pixels, next.width, next.height),
        name: current?.photo === next.photo ? current.name : "photo.png",
        maps: loaded,
      };
    }

    function drawn(map) {
      const { width, height } = view;
      const out = new ImageData(width, height);
      const name = palette.value || (map.signed ? "coolwarm" : "inferno");
      const table = paint(map, palettes[name], alpha.value / 100, threshold.value / 100);
      for (let y = 0, k = 0; y < height; y++) {
        for (let x = 0; x < width; x++, k++) {
          const i = 4 * k;
          const seen = isSeen(map.seen, x, y);
          const t = 4 * map.levels[k];
          const opaque = seen ? table[t + 3] : 0;
          const base = seen ? view.darker : view.hatched;
          for (let c = 0; c < 3; c++) {
            const colour = Math.min(255, Math.max(0, table[t + c] + view.relief[k]));
            out.data[i + c] = base[i + c] + opaque * (colour - base[i + c]);
          }
          out.data[i + 3] = 255;
        }
      }
      return out;
    }

    // At the next frame, once for all that changes until then.
    function draw() {
      cancelAnimationFrame(nextFrame);
      nextFrame = requestAnimationFrame(drawNow);
    }

    function drawNow() {
      if (!view) return;
      const looks = [alpha.value, threshold.value, palette.value].join();
      const swiping = mode.value === "swipe";
      const needed = swiping ? [view.maps[left.value], view.maps[right.value]] : view.maps;
      for (const map of needed) {
        if (map.looks !== looks) [map.looks, map.drawn] = [looks, drawn(map)];
      }
      if (swiping) {
        const canvas = stage.querySelector("canvas");
        const context = canvas.getContext("2d");
        const split = Math.round((stage.querySelector(".split").value / 100) * view.width);
        context.putImageData(needed[0].drawn, 0, 0);
        context.putImageData(needed[1].drawn, 0, 0, split, 0, view.width - split, view.height);
        const line = Math.max(1, Math.round(view.width / 300));
        context.fillStyle = "#fff";
        context.fillRect(split - line / 2, 0, line, view.height);
      } else {
        for (const map of needed) map.canvas.getContext("2d").putImageData(map.drawn, 0, 0);
      }
    }

    function caption(map) {
      const address = `results/${view.result}/${map.index}`;
      const name = fileName(stem(view.name), map.target, map.method);
      const look = (event) => {
        event.target.href = `${address}.png?alpha=${alpha.value / 100}&cmap=${palette.value}`;
      };
      const choice = make("input", {
        type: "radio",
        name: "chosen",
        "aria-label": `${map.method} for ${map.target}`,
        checked: map.index === view.chosen,
        onchange: () => choose(map.index),
      });
      return make(
        "figcaption",
        {},
        make("label", {}, choice, make("b", {}, ...breakable(map.method))),
        make(
          "span",
          { class: "save" },
          make("a", { href: "#", download: `${name}.png`, onclick: look }, "picture"),
          make("a", { href: `${address}.npz`, download: `${name}.npz` }, "map"),
          make("a", { href: `${address}.json`, download: `${name}.json` }, "record"),
        ),
      );
    }

    function choose(index) {
      view.chosen = index;
      props.value = { result: view.result, chosen: index };
      stage.querySelectorAll("figure[data-map]").forEach((one) => {
        one.classList.toggle("chosen", Number(one.dataset.map) === index);
      });
    }

    const newCanvas = () => make("canvas", { width: view.width, height: view.height });

    function read(event, map) {
      const [x, y] = pointed(event, event.target).map(Math.floor);
      if (x < 0 || y < 0 || x >= view.width || y >= view.height) return;
      const all = mode.value === "swipe" ? [map(x)] : view.maps;
      const seen = isSeen(view.maps[0].seen, x, y);
      const here = (one) => valueOf(one, y * view.width + x);
      const share = (one) => `${Math.round(100 * shareOf(one, here(one)))} %`;
      const said = all.map((one) => `${one.method} for ${one.target}: ${here(one).toPrecision(3)} (${share(one)})`);
      reading.textContent = seen ? said.join("   ") : "The network did not see this part of the photo.";
      if (mode.value === "swipe") return;
      for (const one of view.maps) {
        one.mark.style.left = `${(100 * (x + 0.5)) / view.width}%`;
        one.mark.style.top = `${(100 * (y + 0.5)) / view.height}%`;
        one.mark.hidden = false;
        one.badge.textContent = seen ? share(one) : "";
      }
    }

    function unread() {
      reading.textContent = "";
      for (const map of view.maps) if (map.mark) map.mark.hidden = true;
    }

    // A row for each class: the photo and its maps, so that a column is a method.
    function side() {
      const rows = [];
      for (const row of new Set(view.maps.map((map) => map.row))) {
        const asked = view.maps.filter((map) => map.row === row);
        const figures = make("div", { class: "figures" }, original(), ...asked.map(figureOf));
        rows.push(make("section", {}, make("h3", {}, `Why ${asked[0].target}? `, make("small", {}, asked[0].likely)), figures));
      }
      stage.replaceChildren(...rows);
    }

    function original() {
      const canvas = newCanvas();
      canvas.getContext("2d").putImageData(new ImageData(view.pixels, view.width), 0, 0);
      const label = make("figcaption", {}, make("label", {}, make("b", {}, "photo")));
      return make("figure", { class: "original" }, make("div", { class: "frame" }, canvas), label);
    }

    function figureOf(map) {
      map.canvas = newCanvas();
      map.badge = make("span");
      map.mark = make("div", { class: "mark", hidden: true }, map.badge);
      const pick = () => figure.querySelector("input").click();
      const nothing = map.nothing ? [make("p", { class: "nothing" }, map.nothing)] : [];
      const frame = make("div", { class: "frame", onclick: pick }, map.canvas, ...nothing, map.mark);
      const figure = make("figure", { "data-map": map.index }, frame, caption(map));
      figure.classList.toggle("chosen", map.index === view.chosen);
      map.canvas.addEventListener("pointermove", (event) => read(event, () => map));
      map.canvas.addEventListener("pointerleave", unread);
      return figure;
    }

    function swipe() {
      const canvas = newCanvas();
      const split = make("input", { type: "range", class: "split", min: 0, max: 100, step: 0.1, value: 50, "aria-label": "Swipe", oninput: draw });
      const at = (event) => {
        split.value = (100 * pointed(event, canvas)[0]) / canvas.width;
        draw();
      };
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        at(event);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (event.buttons) at(event);
        read(event, (x) => view.maps[x < (split.value / 100) * view.width ? left.value : right.value]);
      });
      canvas.addEventListener("pointerleave", unread);
      stage.replaceChildren(make("figure", {}, make("div", { class: "frame" }, canvas), split));
    }

    function arrange() {
      swipes.hidden = mode.value !== "swipe";
      reading.textContent = "";
      stage.className = `stage ${mode.value}`;
      mode.value === "swipe" ? swipe() : side();
      draw();
    }

    async function show(next) {
      if (!next?.maps || next.result === view?.result) return;
      root.classList.add("busy");
      try {
        view = await load(next);
      } catch (problem) {
        reading.textContent = `${problem.message}.`;
        return;
      } finally {
        root.classList.remove("busy");
      }
      const options = view.maps.map((map) => make("option", { value: map.index }, `${map.method}: ${map.target}`));
      left.replaceChildren(...options);
      right.replaceChildren(...options.map((one) => one.cloneNode(true)));
      right.value = Math.min(1, view.maps.length - 1);
      const alone = view.maps.length < 2;
      mode.querySelector("[value=swipe]").disabled = alone;
      if (alone && mode.value === "swipe") mode.value = "side";
      tools.hidden = false;
      root.style.setProperty("--own", `${view.width}px`);
      root.style.setProperty("--aspect", view.width / view.height);
      arrange();
      failed.textContent = view.failures.map((one) => `Failed: ${one}.`).join(" ");
      notes.textContent = view.notes.map((one) => `Note: ${one}.`).join(" ");
      explainColours();
      likeliest = next.top;
      kept.set("view", next);
      root.dataset.result = view.result; // so that all can see when a result is there
      lookHere();
    }

    // Beneath the question, as on a phone, the answer would not be seen.
    function lookHere() {
      if (root.getBoundingClientRect().top > 0.6 * innerHeight) root.scrollIntoView({ behavior: "smooth" });
    }

    // Messages stand above the answer, where they cover nothing, and so does the place in the queue.
    whenThere(".toast-wrap", (messages) => {
      element.closest("#answer").prepend(messages);
      new MutationObserver(() => messages.scrollIntoView({ block: "nearest" })).observe(messages, { childList: true });
    });
    whenThere("#status", (status) => {
      const tell = () => {
        const [, place] = /queue: (\d+)\//.exec(status.textContent) ?? [];
        const words = place ? `Waiting for other visitors: you are number ${place} in the queue.` : "";
        if (waits.textContent !== words) waits.textContent = words;
      };
      new MutationObserver(tell).observe(status, { childList: true, characterData: true, subtree: true });
    });
    whenThere("#explain", (button) => button.addEventListener("click", lookHere));

    function explainColours() {
      const words = [];
      if (view.maps.some((map) => !map.signed && !map.nothing)) words.push("Bright: evidence for the class; the brighter, the more.");
      if (view.maps.some((map) => map.signed)) words.push("Red: evidence for the class; blue: against it.");
      const box = view.maps[0].seen; // if a pixel is not seen, one in a corner
      if (!isSeen(box, 0, 0) || !isSeen(box, view.width - 1, view.height - 1)) words.push("Hatched: not seen by the network.");
      legend.textContent = words.join("  ");
    }

    for (const control of [alpha, threshold]) control.addEventListener("input", draw);
    for (const control of [palette, left, right]) control.addEventListener("change", draw);
    mode.addEventListener("change", arrange);
    watch("value", () => show(props.value));
    const before = kept.get("view");
    if (!props.value?.maps && before) {
      show(before).then(() => {
        if (view) return choose(view.chosen); // so that the server, too, knows which map is meant
        kept.set("view", null); // it is no longer there
        reading.textContent = "";
      });
    } else show(props.value);
  }

  // The brush ---------------------------------------------------------------------------------

  function brush(element, props) {
    const root = element.querySelector(".seewhy-brush");
    const under = make("img", { alt: "The photo to brush over", draggable: "false" });
    const canvas = make("canvas", { "aria-label": "Brush over the part to hide" });
    const board = make("div", { class: "board", hidden: true }, under, canvas);
    const [size, width] = slider("Brush", { min: 2, max: 40, value: 12, name: "brush" });
    const undo = make("button", { type: "button", onclick: () => strokes.pop() && redraw(true) }, "Undo");
    const clear = make("button", { type: "button", onclick: () => (strokes = [], redraw(true)) }, "Clear");
    const tools = make("div", { class: "tools", hidden: true }, size, undo, clear);
    const welcome = make("p", { class: "welcome" }, "Choose a photo first; then brush over the part to hide.");
    root.replaceChildren(welcome, board, tools);
    let strokes = []; // each {size, points: [[x, y], ...]}, in pixels of the canvas

    function paintOn(context) {
      context.lineCap = context.lineJoin = "round";
      for (const { size, points } of strokes) {
        context.lineWidth = size;
        context.beginPath();
        context.moveTo(...points[0]);
        for (const point of points) context.lineTo(...point);
        context.stroke();
      }
    }

    function redraw(done) {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.strokeStyle = "#e11d48";
      paintOn(context);
      if (!done) return;
      const mask = make("canvas", { width: canvas.width, height: canvas.height });
      const plain = mask.getContext("2d");
      plain.fillRect(0, 0, mask.width, mask.height);
      plain.strokeStyle = "#fff";
      paintOn(plain);
      props.value = { photo: current.photo, mask: strokes.length ? mask.toDataURL("image/png") : null };
    }

    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      const size = (width.value / 100) * Math.max(canvas.width, canvas.height);
      strokes.push({ size, points: [pointed(event, canvas)] });
      redraw(false);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || !strokes.length) return;
      strokes.at(-1).points.push(pointed(event, canvas));
      redraw(false);
    });
    canvas.addEventListener("pointerup", () => redraw(true));

    function renew() {
      if (!current) return;
      const shrink = BRUSHED / Math.max(current.width, current.height);
      canvas.width = Math.max(1, Math.round(current.width * shrink));
      canvas.height = Math.max(1, Math.round(current.height * shrink));
      under.src = current.image.src;
      strokes = [];
      welcome.hidden = true;
      board.hidden = tools.hidden = false;
      redraw(true);
    }
    waiting.push(renew);
    renew();
  }

  return { photo, classes, texts, fit, maps, brush };
})();
