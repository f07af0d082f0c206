// Runs in every page before its own scripts: notes what the browser's protocol does not tell, and holds the
// probes that tests call through window.__probe.

(() => {
  const violations = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    violations.push(`${event.effectiveDirective}: ${event.blockedURI || event.sample}`);
  });

  // The files of a form are not reported, so the newest request is noted on its way out.
  let sent = { request: null, form: null };
  const plainFetch = window.fetch;
  window.fetch = (url, init) => {
    if (init?.body instanceof FormData) sent = { request: init.body.get("request"), form: init.body };
    else if (init?.body) sent = { request: init.body, form: null };
    return plainFetch(url, init);
  };

  const transferOf = ({ name, type, data }) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
    return transfer;
  };

  function drop(file) {
    const dataTransfer = transferOf(file);
    for (const kind of ["dragenter", "dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
    }
  }

  function paste(file) {
    const clipboardData = transferOf(file);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }

  function sentFile(name) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(sent.form.get(name));
    });
  }

  const excerpt = (node) => node.outerHTML.slice(0, 120);

  // ---- WCAG 2.2, 1.4.3: contrast of every visible text against what is painted behind it ----

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  function paint(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], a: a / 255 };
  }

  const over = (top, base) => top.rgb.map((c, i) => c * top.a + base[i] * (1 - top.a));

  function backgroundOf(node) {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = paint(getComputedStyle(at).backgroundColor);
      layers.unshift(layer);
      if (layer.a === 1) break;
    }
    return layers.reduce((base, layer) => over(layer, base), [255, 255, 255]);
  }

  function luminance(rgb) {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrastOf(node) {
    const base = backgroundOf(node);
    const ink = over(paint(getComputedStyle(node).color), base);
    const [light, dark] = [luminance(base), luminance(ink)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  }

  function lowContrast() {
    const low = [];
    const root = document.querySelector("dialog[open]") ?? document.body;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.trim();
      const node = walker.currentNode.parentElement;
      if (!text || !node.checkVisibility({ checkOpacity: true })) continue;
      if (node.closest("button:disabled, noscript")) continue; // exempt, or never painted
      const { fontSize, fontWeight } = getComputedStyle(node);
      const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && Number(fontWeight) >= 700);
      const ratio = contrastOf(node);
      if (ratio < (large ? 3 : 4.5)) low.push(`contrast ${ratio.toFixed(2)}, ${excerpt(node)}`);
    }
    return low;
  }

  // ---- names, roles, structure ----

  const CONTROLS =
    "button, a[href], input:not([hidden]), select, textarea, meter, audio[controls], video[controls], " +
    "dialog[open], [role=group], [role=img]";

  const pointedAt = (node, attribute) =>
    (node.getAttribute(attribute) ?? "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id));

  function isNamed(node) {
    if (node.getAttribute("aria-label")?.trim()) return true;
    if (pointedAt(node, "aria-labelledby").some((other) => other?.textContent.trim())) return true;
    if ([...(node.labels ?? [])].some((label) => label.textContent.trim())) return true;
    return ["BUTTON", "A"].includes(node.tagName) && Boolean(node.textContent.trim());
  }

  function unnamed() {
    return [...document.querySelectorAll(CONTROLS)]
      .filter((node) => !isNamed(node))
      .map((node) => `no name: ${excerpt(node)}`);
  }

  function misbuilt() {
    const faults = [];
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    faults.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `id twice: ${id}`));
    for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"]) {
      for (const node of document.querySelectorAll(`[${attribute}]`)) {
        if (pointedAt(node, attribute).includes(null)) faults.push(`${attribute} points nowhere: ${excerpt(node)}`);
      }
    }
    for (const image of document.images) if (!image.hasAttribute("alt")) faults.push(`no alt: ${excerpt(image)}`);
    for (const node of document.querySelectorAll("[tabindex]")) {
      if (node.tabIndex > 0) faults.push(`tabindex above 0: ${excerpt(node)}`);
    }
    if (!document.documentElement.lang) faults.push("no language");
    for (const tag of ["h1", "main"]) {
      if (document.querySelectorAll(tag).length !== 1) faults.push(`not exactly one ${tag}`);
    }
    let level = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3")) {
      if (heading.closest("dialog:not([open])")) continue;
      const own = Number(heading.tagName[1]);
      if (own > level + 1) faults.push(`heading level skipped: ${excerpt(heading)}`);
      level = own;
    }
    return faults;
  }

  /** What sticks out of its card, chip or header to the right. */
  function stickingOut() {
    return [...document.querySelectorAll(".card *, .chip *, .top *")]
      .filter((node) => {
        const frame = node.closest(".card, .chip, .top").getBoundingClientRect();
        return node.checkVisibility() && node.getBoundingClientRect().right > frame.right + 1;
      })
      .map(excerpt);
  }

  /** Whether the element with the focus shows it; the search bar shows its input's. */
  function focusShows() {
    const node = document.activeElement;
    if (node === document.body) return true;
    return getComputedStyle(node.id === "q" ? node.parentElement : node).outlineStyle !== "none";
  }

  window.__probe = {
    violations: () => violations,
    sentRequest: () => JSON.parse(sent.request),
    accessFaults: () => [...unnamed(), ...misbuilt(), ...lowContrast()],
    drop,
    paste,
    sentFile,
    stickingOut,
    focusShows,
  };
})();
