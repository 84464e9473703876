// The status page polls GET /v1/switch, computes rates from the counters, and listens to
// GET /v1/events. It changes nothing, and keeps nothing but the last two minutes.

const interval = 2000; // milliseconds between two polls
const points = 60; // of a sparkline
const mostFound = 100; // rows of the FDB that are shown
const mostEvents = 200; // events that are kept

const $ = (id) => document.getElementById(id);

// make returns an element with a class, a text and children, each of which may be left out.
function make(tag, { cls, text, attrs } = {}, ...children) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  for (const [name, value] of Object.entries(attrs ?? {})) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// setText changes a text only if it is another one, so that nothing is laid out without need.
function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// Numbers in words.

const count = new Intl.NumberFormat("en");

function scaled(n, unit) {
  for (const prefix of ["", "k", "M", "G", "T"]) {
    if (n < 999.5 || prefix === "T") {
      return `${n >= 99.5 || (prefix === "" && Number.isInteger(n)) ? n.toFixed(0) : n.toPrecision(2)} ${prefix}${unit}`;
    }
    n /= 1000;
  }
}

const bits = (n) => scaled(n, "bit/s");
const perSecond = (n) => (n > 0 && n < 1 ? "< 1 /s" : scaled(Math.round(n), "/s"));
const percent = (n) => `${(100 * n).toFixed(n < 0.0995 ? 1 : 0)} %`;

function duration(s) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const i = parts.findIndex(([n]) => s >= n);
  if (i < 0) return "0 s";
  return parts.slice(i, i + 2).map(([n, unit], j) => `${Math.floor((j ? s % parts[i][0] : s) / n)} ${unit}`).filter((p) => !p.startsWith("0")).join(" ");
}

function seconds(s) {
  if (s === Infinity) return "longer";
  return s < 1e-3 ? `${Math.round(s * 1e6)} µs` : `${Math.round(s * 1e3)} ms`;
}

const sum = (tally) => Object.values(tally).reduce((a, b) => a + b, 0);

// difference returns what a counter has gained. After a restart of vswitchd it begins again.
const gained = (now, was) => (now >= was ? now - was : now);

// Ports.

const ports = new Map(); // by name
const visible = new IntersectionObserver((list) => {
  for (const entry of list) {
    const port = ports.get(entry.target.dataset.port);
    if (port) {
      port.visible = entry.isIntersecting;
      if (port.visible) port.show();
    }
  }
}, { rootMargin: "200px" });

// A Port is a port with its element on the page.
class Port {
  constructor(name) {
    this.name = name;
    this.history = []; // of { rx, tx }, in bits per second
    this.rates = { rx: 0, tx: 0, rxFrames: 0, txFrames: 0, drops: 0 };
    const id = `detail-${name}`;
    this.button = make("button", { cls: "name", text: name, attrs: { type: "button", "aria-expanded": "false", "aria-controls": id } });
    this.state = make("span", { cls: "state" });
    this.rx = rate("in", "from", `Sent by ${name}`);
    this.tx = rate("out", "to", `Sent to ${name}`);
    this.drops = make("span", { cls: "drops" });
    this.detail = make("dl", { cls: "detail", attrs: { id, hidden: "" } });
    this.element = make("div", { cls: "card port", attrs: { role: "listitem", "data-port": name } },
      make("div", { cls: "row" }, this.button, this.state, this.rx.element, this.tx.element, this.drops), this.detail);
    this.button.addEventListener("click", () => this.toggle());
    this.element.addEventListener("keydown", (e) => {
      if (e.key === "Escape" && !this.detail.hidden) {
        this.toggle();
        this.button.focus();
      }
    });
    visible.observe(this.element);
  }

  toggle() {
    this.detail.hidden = !this.detail.hidden;
    this.button.setAttribute("aria-expanded", String(!this.detail.hidden));
    this.show();
  }

  // update takes the figures that came elapsed seconds after the previous ones.
  update(stats, elapsed) {
    const c = stats.counters;
    const drops = sum(c.drops);
    if (this.stats && elapsed > 0) {
      const was = this.stats.counters;
      const per = (name) => gained(c[name], was[name]) / elapsed;
      this.rates = {
        rx: 8 * per("rx_bytes"), tx: 8 * per("tx_bytes"), rxFrames: per("rx_frames"), txFrames: per("tx_frames"),
        drops: gained(drops, sum(was.drops)) / elapsed,
      };
      this.history.push({ rx: this.rates.rx, tx: this.rates.tx });
      if (this.history.length > points) this.history.shift();
    }
    this.stats = stats;
    if (this.visible) this.show();
  }

  show() {
    const { stats, rates } = this;
    if (!stats) return;
    setText(this.state, stats.state);
    this.state.className = `state ${stats.state}`;
    this.rx.show(rates.rx, this.history.map((p) => p.rx));
    this.tx.show(rates.tx, this.history.map((p) => p.tx));
    setText(this.drops, rates.drops > 0 ? `${perSecond(rates.drops)} dropped` : sum(stats.counters.drops) > 0 ? `${count.format(sum(stats.counters.drops))} dropped` : "");
    this.drops.classList.toggle("dropping", rates.drops > 0);
    if (!this.detail.hidden) this.showDetail();
  }

  showDetail() {
    const { stats, rates } = this;
    const c = stats.counters;
    const facts = [
      ["Kind", stats.kind],
      ["Frames from it", `${perSecond(rates.rxFrames)}, ${count.format(c.rx_frames)} in all`],
      ["Frames to it", `${perSecond(rates.txFrames)}, ${count.format(c.tx_frames)} in all`],
      ["Addresses", `${stats.fdb.dynamic} learned, ${stats.fdb.static} static`],
    ];
    if (stats.backlog) {
      facts.push(["Waiting in its rings", `${stats.backlog.frames} frames`], ["Free receive buffers", String(stats.backlog.buffers)]);
      facts.push(["Reconnects", String(c.reconnects)]);
    }
    for (const l of stats.limits) facts.push([l.key, l.bits ? bits(l.bits) : perSecond(l.frames)]);
    for (const [title, tally] of [["Dropped", c.drops], ["Ended", c.resets]]) {
      for (const [reason, n] of Object.entries(tally).sort((a, b) => b[1] - a[1])) {
        if (n > 0) facts.push([`${title}: ${reason}`, count.format(n)]);
      }
    }
    while (this.detail.children.length > facts.length) this.detail.lastElementChild.remove();
    facts.forEach(([term, value], i) => {
      if (!this.detail.children[i]) this.detail.append(make("div", {}, make("dt"), make("dd")));
      setText(this.detail.children[i].firstChild, term);
      setText(this.detail.children[i].lastChild, value);
    });
  }
}

// rate makes a sparkline with its last value.
function rate(cls, label, title) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  const line = document.createElementNS(ns, "polyline");
  svg.setAttribute("viewBox", `0 0 ${points - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(line);
  const value = make("span", { cls: "value", text: "–" });
  const element = make("span", { cls: `rate ${cls}`, attrs: { title } }, make("span", { cls: "label", text: label }), svg, value);
  return {
    element,
    show(now, history) {
      const most = Math.max(...history, 1);
      const first = points - history.length;
      line.setAttribute("points", history.map((v, i) => `${first + i},${(19 - 18 * v / most).toFixed(1)}`).join(" "));
      setText(value, bits(now));
    },
  };
}

const orders = {
  config: (a, b) => a.place - b.place,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  traffic: (a, b) => b.rates.rx + b.rates.tx - a.rates.rx - a.rates.tx,
  drops: (a, b) => b.rates.drops - a.rates.drops || sum(b.stats.counters.drops) - sum(a.stats.counters.drops),
};

// showPorts puts the elements of the ports that are to be shown in order. It moves only what is
// not in its place, because an element that is moved loses the focus.
function showPorts() {
  const wanted = $("filter").value.trim().toLowerCase();
  const all = [...ports.values()];
  const list = all.filter((p) => p.name.toLowerCase().includes(wanted) || p.stats.state.includes(wanted) || p.stats.kind.includes(wanted));
  list.sort(orders[$("sort").value]);
  const parent = $("port-list");
  list.forEach((p, i) => {
    if (parent.children[i] !== p.element) parent.insertBefore(p.element, parent.children[i] ?? null);
  });
  while (parent.children.length > list.length) parent.lastElementChild.remove();
  setText($("shown"), all.length === 0 ? "There are no ports." : wanted ? `${list.length} of ${all.length} ports` : "");
}

$("filter").addEventListener("input", showPorts);
$("sort").addEventListener("change", showPorts);

// Drops by reason.

let reasons = new Map(); // how often, at the last poll

function showDrops(list, elapsed) {
  const now = new Map(); // by reason
  for (const p of list) {
    for (const [reason, n] of Object.entries(p.counters.drops)) {
      const r = now.get(reason) ?? { total: 0, most: 0, port: "" };
      r.total += n;
      if (n > r.most) [r.most, r.port] = [n, p.name];
      now.set(reason, r);
    }
  }
  const rows = [...now].filter(([, r]) => r.total > 0).map(([reason, r]) => {
    const was = reasons.get(reason)?.total ?? (reasons.size > 0 ? 0 : r.total);
    return { reason, rate: elapsed > 0 ? gained(r.total, was) / elapsed : 0, ...r };
  });
  if (elapsed > 0 || reasons.size === 0) reasons = now;
  rows.sort((a, b) => b.rate - a.rate || b.total - a.total);
  fill($("drop-table"), rows.map((r) => [r.reason, r.rate > 0 ? perSecond(r.rate) : "–", count.format(r.total), r.port]), (tr, i) => {
    tr.children[1].classList.toggle("dropping", rows[i].rate > 0);
  });
  $("drop-table").hidden = rows.length === 0;
  $("no-drops").hidden = rows.length > 0;
}

// fill shows rows of texts in a table.
function fill(table, rows, finish) {
  const body = table.tBodies[0];
  while (body.children.length > rows.length) body.lastElementChild.remove();
  rows.forEach((row, i) => {
    const tr = body.children[i] ?? body.appendChild(make("tr", {}, ...row.map(() => make("td"))));
    row.forEach((text, j) => setText(tr.children[j], text));
    finish?.(tr, i);
  });
}

// The FDB, which is fetched only while somebody searches.

let fdb; // { at, entries }
let searching = 0;

async function search() {
  const text = $("search").value.trim().toLowerCase();
  const mine = ++searching;
  if (text === "") {
    $("fdb-table").hidden = true;
    setText($("found"), "Type a part of an address, a port, a type, or vlan and its number.");
    return;
  }
  try {
    if (!fdb || Date.now() - fdb.at > interval) fdb = { at: Date.now(), entries: await get("v1/fdb") };
  } catch (e) {
    setText($("found"), `The forwarding database cannot be read: ${e.message}`);
    return;
  }
  if (mine !== searching) return;
  const vlan = /^vlan\s*(\d+)$/.exec(text)?.[1];
  const mac = text.replaceAll("-", ":");
  const found = fdb.entries.filter((e) => vlan !== undefined
    ? e.all_vlans || e.vlan === Number(vlan)
    : e.mac.includes(mac) || e.port.toLowerCase().includes(text) || e.type.includes(text));
  fill($("fdb-table"), found.slice(0, mostFound).map((e) => [
    e.mac, e.all_vlans ? "all" : String(e.vlan), e.port || "–", e.type, e.type === "dynamic" ? `${duration(e.age_s)} ago` : "–",
  ]), (tr) => { tr.firstChild.className = "mac"; });
  $("fdb-table").hidden = found.length === 0;
  setText($("found"), `${found.length} of ${fdb.entries.length} entries${found.length > mostFound ? `, of which ${mostFound} are shown` : ""}`);
}

$("search").addEventListener("input", search);

// Workers.

const workers = [];

function showWorkers(list, elapsed) {
  const parent = $("worker-list");
  while (parent.children.length > list.length) parent.lastElementChild.remove();
  list.forEach((w, i) => {
    const was = workers[i];
    if (!parent.children[i]) parent.append(workerCard(i));
    const card = parent.children[i];
    const fact = (name, text) => setText(card.querySelector(`[data-fact=${name}]`), text);
    const busy = was && elapsed > 0 ? Math.min(1, gained(w.busy_s, was.busy_s) / elapsed) : 0;
    card.querySelector("meter").value = busy;
    fact("busy", percent(busy));
    fact("state", w.asleep ? "asleep" : "awake");
    if (was && elapsed > 0) {
      const batches = gained(sum(w.batches.counts), sum(was.batches.counts));
      const frames = gained(w.frames, was.frames);
      fact("frames", perSecond(frames / elapsed));
      fact("batch", batches > 0 ? (frames / batches).toFixed(1) : "–");
      fact("latency", quantile(w.latency, was.latency, 0.99));
      fact("wakeups", perSecond(gained(w.wakeups, was.wakeups) / elapsed));
    }
    workers[i] = w;
  });
  workers.length = list.length;
}

function workerCard(i) {
  const fact = (title, name) => make("dl", {}, make("dt", { text: title }), make("dd", { text: "–", attrs: { "data-fact": name } }));
  const id = `worker-${i}`;
  return make("div", { cls: "card worker", attrs: { role: "listitem" } },
    make("span", {}, make("b", { text: `Worker ${i}`, attrs: { id } }), make("span", { text: " " }), make("span", { cls: "note", attrs: { "data-fact": "state" } })),
    make("span", { cls: "load" },
      make("meter", { attrs: { min: 0, max: 1, high: 0.9, optimum: 0, value: 0, "aria-labelledby": id } }),
      make("span", { cls: "value", attrs: { "data-fact": "busy" } })),
    fact("Frames", "frames"), fact("In a batch", "batch"), fact("99 of 100 kicks within", "latency"), fact("Wakeups", "wakeups"));
}

// quantile returns the bound below which a part of the values is that a histogram has gained.
function quantile(now, was, part) {
  const counts = now.counts.map((n, i) => gained(n, was.counts[i]));
  const all = sum(counts);
  if (all === 0) return "–";
  let below = 0;
  const i = counts.findIndex((n) => (below += n) >= part * all);
  return i < now.bounds.length ? seconds(now.bounds[i]) : `over ${seconds(now.bounds.at(-1))}`;
}

// Polling.

let last; // { at, info } of the last answer

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (!response.ok) throw new Error(`vswitchd answers ${response.status}`);
  return response.json();
}

async function poll() {
  try {
    show(await get("v1/switch"));
    $("link").className = "live";
    setText($("link"), "Live");
  } catch {
    $("link").className = "lost";
    setText($("link"), last ? "No answer: what is shown is old" : "No answer");
  }
  schedule();
}

let timer;

// schedule polls again, unless nobody looks.
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(poll, interval);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});

function show(info) {
  const at = performance.now();
  const elapsed = last ? (at - last.at) / 1000 : 0;
  const restarted = last && info.uptime_s < last.info.uptime_s;
  const since = restarted ? 0 : elapsed;
  const present = new Set();
  info.ports.forEach((stats, i) => {
    present.add(stats.name);
    if (!ports.has(stats.name)) ports.set(stats.name, new Port(stats.name));
    const port = ports.get(stats.name);
    port.place = i;
    port.update(stats, since);
  });
  for (const [name, port] of ports) {
    if (present.has(name)) continue;
    visible.unobserve(port.element);
    ports.delete(name);
  }
  showPorts();
  showDrops(info.ports, since);
  showWorkers(info.workers, since);
  const up = info.ports.filter((p) => p.state === "running").length;
  setText($("about"), `version ${info.version}, up for ${duration(info.uptime_s)}`);
  setText($("total-up"), `${up} of ${info.ports.length}`);
  setText($("total-fdb"), `${count.format(info.fdb_entries)} of ${count.format(info.fdb_size)}`);
  if (since > 0) {
    const per = (name) => gained(info.totals[name], last.info.totals[name]) / since;
    setText($("total-frames"), perSecond(per("rx_frames")));
    setText($("total-bits"), bits(8 * per("rx_bytes")));
    const drops = gained(sum(info.totals.drops), sum(last.info.totals.drops)) / since;
    setText($("total-drops"), perSecond(drops));
    $("total-drops").classList.toggle("dropping", drops > 0);
  }
  last = { at, info };
}

// Events.

const grave = { session: ["reset", "hint"], loop: ["blocked", "seen"], conflict: ["flapping", "claimed", "full"], config: ["refused"], stream: ["lost"] };

function listen() {
  const source = new EventSource("v1/events");
  for (const kind of ["port", "session", "fdb", "mdb", "loop", "conflict", "config", "capture", "stream"]) {
    source.addEventListener(kind, (message) => note(JSON.parse(message.data)));
  }
  source.addEventListener("open", () => setText($("event-state"), "What happens from now on, the latest first."));
  source.addEventListener("error", () => {
    setText($("event-state"), "Events cannot be heard at the moment.");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000); // refused, and not tried again
  });
}

function note(event) {
  if (event.kind === "stream" && event.event !== "lost") return;
  const list = $("event-list");
  const at = new Date(event.time);
  const bad = grave[event.kind]?.includes(event.event) || ["error", "blocked", "waiting"].includes(event.detail.state);
  list.prepend(make("li", { cls: bad ? "grave" : "" },
    make("time", { text: at.toLocaleTimeString(), attrs: { datetime: event.time } }),
    ...(event.port ? [make("b", { text: event.port }), ": "] : []), event.text));
  while (list.children.length > mostEvents) list.lastElementChild.remove();
}

// Keys: / goes to the filter of the ports.
document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !["INPUT", "SELECT"].includes(e.target.tagName)) {
    e.preventDefault();
    $("filter").focus();
  }
});

poll();
listen();
