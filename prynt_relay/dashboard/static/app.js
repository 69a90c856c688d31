"use strict";
(() => {
  document.documentElement.classList.add("js");
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const csrf = () => $('meta[name="csrf"]').content;

  // Times: the reader's zone, the exact UTC on hover.
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const dayAndTime = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const fromNow = (date) => {
    const seconds = Math.round((date - Date.now()) / 1000);
    const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each * 2) || units[3];
    return relative.format(Math.trunc(seconds / size), unit);
  };
  const briefly = (date) => {
    const today = new Date();
    if (date.toDateString() === today.toDateString()) return timeOnly.format(date);
    return (date.getFullYear() === today.getFullYear() ? dayAndTime : exact).format(date);
  };
  const shapes = { full: (date) => exact.format(date), short: briefly, relative: fromNow };
  const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const showTimes = (root = document) => {
    for (const element of $$("time[datetime]", root)) {
      const date = new Date(element.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      setText(element, shapes[element.dataset.shape](date));
    }
    for (const element of $$("[data-clock]", root)) setText(element, clock.format(new Date(element.dataset.clock)));
  };
  const showRelativeTimes = () => {
    for (const element of $$('time[data-shape="relative"]')) setText(element, fromNow(new Date(element.dateTime)));
  };

  let toastTimer;
  const toast = (text) => {
    $("#toast").textContent = text;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { $("#toast").textContent = ""; }, 4000);
  };

  // Copying; without a secure context there is only the old way.
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "hidden";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) return toast("The browser doesn’t allow copying here.");
    }
    toast("Copied");
  };

  // What a page shows again after it was replaced: open details, chosen tabs.
  const keepState = (from, to) => {
    const isOpen = new Map($$("details[data-key]", from).map((each) => [each.dataset.key, each.open]));
    for (const each of $$("details[data-key]", to)) if (isOpen.has(each.dataset.key)) each.open = isOpen.get(each.dataset.key);
    for (const each of $$(".tabs > input:checked", from)) {
      const again = each.id && to.querySelector("#" + CSS.escape(each.id));
      if (again) again.checked = true;
    }
  };
  const load = async (url, options = {}) => {
    const response = await fetch(url, { credentials: "same-origin", ...options });
    if (new URL(response.url).pathname === "/sign-in") {
      location.reload();
      throw new Error("signed out");
    }
    const text = await response.text();
    return { response, doc: new DOMParser().parseFromString(text, "text/html") };
  };

  // Forms that replace a part of the page by the answer's, instead of loading it all.
  const swap = async (form) => {
    const id = form.dataset.swap;
    const button = $("button", form);
    const label = button.textContent;
    const fields = new URLSearchParams(new FormData(form));
    const isGet = form.method === "get";
    button.disabled = true;
    if (form.dataset.busy) button.textContent = form.dataset.busy;
    try {
      const { response, doc } = isGet
        ? await load(form.action + "?" + fields)
        : await load(form.action, { method: "POST", body: fields, headers: { "X-CSRF-Token": csrf() } });
      const found = doc.getElementById(id);
      const old = document.getElementById(id);
      if (!found) return toast($("main p", doc)?.textContent || "It didn’t work (" + response.status + ").");
      const hadFocus = old.contains(document.activeElement);
      old.replaceWith(document.adoptNode(found));
      showTimes(found);
      prepare(found);
      if (hadFocus) $("button", found)?.focus();
    } catch {
      toast("The relay doesn’t answer. Try again in a moment.");
    } finally {
      button.disabled = false;
      button.textContent = label;
    }
  };

  // Checks as somebody types, by the rules of the API.
  const check = (input) => {
    const verdict = $(`[data-verdict="${input.name}"]`);
    let timer;
    let asked = 0;
    const ask = async () => {
      const value = input.value.trim();
      const number = ++asked;
      if (!value) { verdict.textContent = ""; return; }
      try {
        const response = await fetch(input.dataset.check, {
          method: "POST",
          credentials: "same-origin",
          headers: { "X-CSRF-Token": csrf() },
          body: new URLSearchParams({ [input.name]: value }),
        });
        if (!response.ok || number !== asked) return;
        const found = await response.json();
        verdict.textContent = found.message;
        verdict.classList.toggle("bad", !found.ok);
        if (found.ok) input.removeAttribute("aria-invalid"); else input.setAttribute("aria-invalid", "true");
      } catch { /* the form itself is checked when it is sent */ }
    };
    const mistake = document.getElementById(input.name + "-mistake");
    input.addEventListener("input", () => { mistake?.remove(); clearTimeout(timer); timer = setTimeout(ask, 250); });
    if (input.value && !mistake) ask();
  };

  const prepare = (root) => {
    for (const button of $$("[data-copy]", root)) button.hidden = false;
    for (const input of $$("[data-check]", root)) check(input);
    for (const types of $$("[data-types]", root)) {
      const show = () => { types.hidden = $('input[name="which"][value="all"]').checked; };
      for (const radio of $$('input[name="which"]')) radio.addEventListener("change", show);
      show();
    }
    for (const rows of $$("[data-rows]", root)) {
      // A new empty row whenever the last one is begun.
      rows.addEventListener("input", () => {
        const all = $$("[data-row]", rows);
        const last = all[all.length - 1];
        if (all.length >= 32 || !$$("input", last).some((input) => input.value)) return;
        const next = last.cloneNode(true);
        for (const input of $$("input", next)) {
          if (input.type === "hidden") { input.remove(); continue; }
          input.value = "";
          input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/\d+$/, String(all.length + 1)));
        }
        last.after(next);
      });
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) return copy(document.getElementById(button.dataset.copy).textContent);
    const link = event.target.closest("[data-copy-from]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const response = await fetch(link.href, { credentials: "same-origin" });
      if (!response.ok) throw new Error(String(response.status));
      await copy(await response.text());
    } catch { toast("The relay doesn’t answer. Try again in a moment."); }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.swap) {
      event.preventDefault();
      return swap(form);
    }
    if ("once" in form.dataset) setTimeout(() => { for (const button of $$("button", form)) button.disabled = true; });
    if ("clean" in form.dataset) {
      for (const field of $$("input, select", form)) if (!field.value.trim()) field.disabled = true;
    }
  });
  // Back from the cache of the browser, a form is whole again.
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const each of $$("form :disabled")) each.disabled = false;
  });

  for (const form of $$("form[data-auto]")) {
    let timer;
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => swap(form), 400); });
  }

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = $('[data-key="/"]');
      if (field) { event.preventDefault(); field.focus(); }
    }
  });

  // Pages that keep themselves up to date, unless somebody is at work in them.
  const refreshing = () => {
    const every = Number($("main").dataset.refresh);
    if (!every) return;
    let last = null;
    const turn = async () => {
      const main = $("main");
      const isBusy = document.hidden || (document.activeElement !== document.body && main.contains(document.activeElement)) || String(getSelection());
      if (isBusy) return;
      try {
        const { response, doc } = await load(location.href, { headers: { "X-Prynt-Refresh": "1" } });
        const found = $("main", doc);
        if (!response.ok || !found || found.innerHTML === last) return;
        last = found.innerHTML;
        keepState(main, found);
        main.replaceChildren(...document.adoptNode(found).childNodes);
        showTimes(main);
        prepare(main);
        if (!found.dataset.refresh) clearInterval(timer);
      } catch { /* the next turn may find it again */ }
    };
    const timer = setInterval(turn, every * 1000);
  };

  // Live: a bounded number of rows, drawn a few times a second however many come.
  const live = () => {
    const table = $("#live");
    if (!table) return;
    const KEPT = 200;
    const DRAW_MS = 250;
    const rows = $("tbody", table);
    const webhook = $("#live-webhook");
    const outcome = $("#live-outcome");
    const type = $("#live-type");
    const pauseButton = $("#live-pause");
    const state = $("#live-state");
    const names = { http_error: "HTTP error", timeout: "Timeout", dns_error: "DNS error", connection_refused: "Connection refused", connection_error: "Connection error", tls_error: "TLS error", blocked_address: "Blocked address" };
    let source = null;
    let waiting = [];
    let seen = 0;
    let shown = 0;
    let held = 0;
    let isPaused = false;
    let wasLost = false;
    let recent = [];

    const tell = (text, kind) => { setText(state, text); state.className = "live-state " + kind; };
    const cell = (row, child, label, kind) => {
      const found = row.insertCell();
      if (child instanceof Node) found.append(child); else found.textContent = child;
      if (label) found.dataset.label = label;
      if (kind) found.className = kind;
      return found;
    };
    const link = (href, text, kind) => {
      const found = document.createElement("a");
      found.href = href;
      found.textContent = text;
      found.className = kind;
      return found;
    };
    const span = (text, kind) => {
      const found = document.createElement("span");
      found.textContent = text;
      found.className = kind;
      return found;
    };
    const attemptRow = (each) => {
      const row = document.createElement("tr");
      const time = document.createElement("time");
      time.dateTime = each.startedAt;
      time.title = each.startedAt.replace("T", " ").replace("Z", " UTC");
      time.textContent = timeOnly.format(new Date(each.startedAt));
      cell(row, time);
      const isOk = each.outcome === "success";
      const answer = cell(row, span(isOk ? String(each.status) : each.status ? String(each.status) : names[each.outcome] || each.outcome, "oc " + (isOk ? "ok" : "bad")));
      if (each.error) answer.title = each.error;
      cell(row, link("/deliveries/" + each.deliveryId, each.deliveryId, "id"), "", "c-main");
      cell(row, link("/events/" + each.eventId, each.eventType, "type"), "Event");
      cell(row, String(each.number), "Attempt", "num");
      cell(row, each.durationMs + " ms", "Took", "num");
      cell(row, span(each.state[0].toUpperCase() + each.state.slice(1), "pill s-" + each.state), "", "");
      return row;
    };
    const gapRow = (text) => {
      const row = document.createElement("tr");
      row.className = "gap";
      cell(row, text).colSpan = 7;
      return row;
    };
    const wanted = (each) =>
      (!outcome.value || (outcome.value === "success") === (each.outcome === "success")) && (!type.value || type.value === each.eventType);

    const take = (item) => {
      waiting.push(item);
      if (waiting.length > KEPT) { waiting.shift(); held += isPaused ? 1 : 0; }
    };
    const draw = () => {
      const now = performance.now();
      recent = recent.filter(([at]) => now - at < 5000);
      const rate = recent.reduce((sum, [, count]) => sum + count, 0) / 5;
      setText($("#live-count"), seen ? `${seen.toLocaleString()} attempts, ${rate.toFixed(rate < 10 ? 1 : 0)} a second${isPaused && waiting.length ? `; ${(waiting.length + held).toLocaleString()} came while paused` : ""}` : "");
      if (isPaused || !waiting.length) return;
      const items = waiting;
      waiting = [];
      held = 0;
      const drawn = document.createDocumentFragment();
      for (const item of items.reverse()) drawn.append(typeof item === "string" ? gapRow(item) : attemptRow(item));
      if (items.length < 20) for (const row of drawn.children) row.classList.add("new");
      rows.prepend(drawn);
      while (rows.rows.length > KEPT) rows.lastElementChild.remove();
      shown = rows.rows.length;
      table.hidden = !shown;
      $("#live-empty").hidden = shown > 0;
    };
    let arrived = 0;
    setInterval(() => {
      if (arrived) recent.push([performance.now(), arrived]);
      arrived = 0;
      draw();
    }, DRAW_MS);

    const connect = () => {
      source?.close();
      tell("Connecting…", "");
      const path = webhook.value ? `/v1/webhooks/${encodeURIComponent(webhook.value)}/stream` : table.dataset.stream;
      source = new EventSource(path);
      source.addEventListener("open", () => {
        tell(isPaused ? "Paused" : "Following", isPaused ? "" : "on");
        if (wasLost) take("The connection was lost for a while: attempts may be missing here.");
        wasLost = false;
      });
      source.addEventListener("attempt", (event) => {
        seen += 1;
        arrived += 1;
        const each = JSON.parse(event.data);
        if (wanted(each)) take(each);
      });
      source.addEventListener("gap", (event) => {
        const { missed } = JSON.parse(event.data);
        take(`${missed === null ? "Some" : missed.toLocaleString()} attempts are missing here: they came faster than this page could take them, or it was away for too long. The delivery log has them all.`);
      });
      source.addEventListener("error", () => {
        tell("Connection lost; trying again…", "off");
        if (source.readyState !== EventSource.CLOSED) return; // it resumes by itself, without a gap
        wasLost = true;
        // Where it was the session that ended, this goes to the sign-in form.
        load(location.href, { headers: { "X-Prynt-Refresh": "1" } }).catch(() => {});
        setTimeout(connect, 5000);
      });
    };
    const pause = (value) => {
      isPaused = value;
      pauseButton.textContent = value ? "Resume" : "Pause";
      pauseButton.setAttribute("aria-pressed", String(value));
      if (source.readyState === EventSource.OPEN) tell(value ? "Paused" : "Following", value ? "" : "on");
    };
    const clear = () => {
      waiting = [];
      held = 0;
      rows.replaceChildren();
      table.hidden = true;
      $("#live-empty").hidden = false;
    };
    pauseButton.addEventListener("click", () => pause(!isPaused));
    $("#live-clear").addEventListener("click", clear);
    webhook.addEventListener("change", () => { clear(); connect(); });
    for (const select of [outcome, type]) select.addEventListener("change", clear);
    $("#live-form").addEventListener("submit", (event) => event.preventDefault());
    connect();
  };

  // What was said once isn't said again after a reload.
  const url = new URL(location.href);
  for (const name of ["done", "retried", "out"]) url.searchParams.delete(name);
  if (url.href !== location.href) history.replaceState(null, "", url);

  showTimes();
  prepare(document);
  refreshing();
  live();
  setInterval(showRelativeTimes, 1000);
  $(".zone").hidden = false;
  $("[data-zone]").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || "your zone";
})();
