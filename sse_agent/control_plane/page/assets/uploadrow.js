// One upload as one row.

import { h, mark, say } from "./dom.js";
import { sheet } from "./style.js";
import { bytes, clockTime, duration, lastPart, percent, shown } from "./text.js";

export const rowSheet = sheet(`
.upload { display: grid; grid-template-columns: minmax(0, 1fr) 10.25rem; gap: 0 0.75rem; align-content: center; padding: 0 1rem; border-bottom: 1px solid var(--line); }
.upload:hover { background: color-mix(in srgb, var(--raised) 55%, transparent); }
.top { display: flex; gap: 0.625rem; align-items: baseline; min-width: 0; }
.top bdi { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.size { flex: none; }
.bar { position: relative; height: 5px; margin: 0.375rem 0; border-radius: 3px; background: var(--raised); overflow: hidden; }
.bar span { position: absolute; inset-block: 0; inset-inline-start: 0; width: 100%; transform-origin: 0 50%; }
.bar .sent { background: color-mix(in srgb, var(--accent) 38%, transparent); }
.bar .confirmed { background: var(--accent); }
[data-state=waiting] .bar .confirmed { background: var(--warn); }
[data-state=paused] .bar .confirmed, [data-state=cancelled] .bar .confirmed, [data-state=queued] .bar .confirmed { background: var(--muted); }
[data-state=complete] .bar, [data-state=cancelled] .bar, [data-state=failed] .bar { visibility: hidden; height: 0; margin: 0.125rem 0; }
.said { display: flex; gap: 0.5rem; min-width: 0; }
.state { flex: none; font-weight: 600; }
[data-state=uploading] .state { color: var(--accent); } [data-state=waiting] .state { color: var(--warn); }
[data-state=failed] .state { color: var(--bad); } [data-state=complete] .state { color: var(--good); }
.details { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--muted); }
[data-state=failed] .details { white-space: normal; overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
.deeds { display: flex; gap: 0.375rem; align-self: center; justify-content: end; }
.deeds button { min-height: 2rem; padding: 0 0.625rem; font-size: 0.875rem; }
.slim .upload { grid-template-columns: minmax(0, 1fr); row-gap: 0.25rem; }
.slim .deeds { justify-content: start; }
@media (prefers-reduced-motion: no-preference) { .bar span { transition: transform 400ms linear; } }
@media (forced-colors: active) { .bar { border: 1px solid CanvasText; } .bar .confirmed { background: CanvasText; } }
`);

const LABELS = { pause: "Pause", resume: "Resume", retry: "Retry", cancel: "Cancel" };
const DEEDS = {
  queued: ["pause", "cancel"], uploading: ["pause", "cancel"], waiting: ["pause", "cancel"], paused: ["resume", "cancel"],
};
const KEYS = { queued: "p c", uploading: "p c", waiting: "p c", paused: "r c" };

/** `onDeed(fileId, deed)`; `wishOf(fileId)`: what was asked and is not so yet; `isThere()`: whether the agent is connected. */
export function makeRow(onDeed, wishOf, isThere) {
  const title = h("bdi");
  const size = h("span", { class: "size muted small figures" });
  const sent = h("span", { class: "sent" });
  const confirmed = h("span", { class: "confirmed" });
  const bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, sent, confirmed);
  const state = h("span", { class: "state" });
  const details = h("bdi", { class: "details figures" });
  const deeds = h("div", { class: "deeds" });
  const element = h("div", { class: "upload" },
    h("div", { class: "what" }, h("div", { class: "top" }, title, size), bar, h("div", { class: "said small" }, state, details)), deeds);
  const buttons = Object.fromEntries(Object.entries(LABELS).map(([deed, label]) => {
    const button = h("button", { type: "button", text: label, class: deed === "cancel" ? "quiet" : "", onclick: () => onDeed(element.dataset.key, deed) });
    return [deed, button];
  }));
  deeds.append(...Object.values(buttons));
  const show = (upload) => {
    const called = shown(lastPart(upload.fileName ?? upload.fileId));
    const wish = wishOf(upload.fileId);
    const share = upload.state === "complete" ? 100 : percent(upload.offset, upload.fileSize);
    say(title, called);
    mark(title, { title: shown(upload.fileName ?? upload.fileId) });
    say(size, upload.fileSize === null ? "" : bytes(upload.fileSize));
    // Named for whoever comes by with arrows; without figures, for a name that changes is read out anew.
    mark(element, { "data-state": upload.state, "aria-label": `${called}, ${wish ?? upload.state}`, "aria-keyshortcuts": KEYS[upload.state] ?? null });
    say(state, wish ? `${wish} …` : upload.state);
    say(details, detailsOf(upload, isThere()));
    mark(details, { title: details.textContent });
    mark(bar, { "aria-valuenow": share, "aria-label": `${called}, confirmed`, "aria-valuetext": `${upload.state}, ${share} %` });
    scale(confirmed, upload.state === "complete" ? 1 : part(upload.offset, upload.fileSize));
    scale(sent, upload.state === "uploading" ? part(upload.bytesSent ?? 0, upload.fileSize) : 0);
    const possible = DEEDS[upload.state] ?? (upload.state === "failed" && upload.retryable ? ["retry", "cancel"] : []);
    const focused = element.getRootNode().activeElement;
    for (const [deed, button] of Object.entries(buttons)) {
      // A button that goes away leaves the keyboard at its row.
      if (button === focused && (wish || !possible.includes(deed))) element.focus({ preventScroll: true });
      mark(button, { hidden: !possible.includes(deed), "aria-label": `${LABELS[deed]} ${called}` });
      button.disabled = Boolean(wish);
    }
  };
  return { element, show };
}

function part(some, all) {
  return all ? Math.min(1, some / all) : 0;
}

function scale(element, share) {
  const value = `scaleX(${share.toFixed(4)})`;
  if (element.style.transform !== value) element.style.transform = value;
}

/** The rest of the line: how far, how fast, why it waits, and when it tries next. */
function detailsOf(upload, isThere) {
  const of = upload.fileSize === null ? bytes(upload.offset) : `${percent(upload.offset, upload.fileSize)} % confirmed`;
  if (upload.isLost) return "its agent’s journal was lost: the outcome is not known";
  if (upload.asked === "accepted") return isThere ? "accepted; waits its turn" : "accepted; waits until the agent is back";
  if (upload.asked) return isThere ? "asked for; the agent has not answered yet" : "waits until the agent is back";
  if (upload.state === "uploading") {
    const ahead = Math.max(0, (upload.bytesSent ?? 0) - upload.offset);
    const words = [of, upload.rate ? `${bytes(upload.rate)}/s` : null, upload.etaSeconds ? `${duration(upload.etaSeconds)} left` : null, ahead ? `${bytes(ahead)} more sent` : null];
    return words.filter(Boolean).join(" · ");
  }
  if (upload.state === "waiting" || upload.state === "queued") {
    const left = upload.nextTryAt ? (Date.parse(upload.nextTryAt) - Date.now()) / 1000 : null;
    const next = left === null ? null : left > 0.5 ? `next try in ${duration(left)}` : "next try now";
    return [next, upload.reason ? shown(upload.reason) : null, upload.offset ? of : null].filter(Boolean).join(" · ");
  }
  if (upload.state === "failed") return [shown(upload.message ?? upload.code ?? ""), upload.retryable ? "can be retried" : "given up"].filter(Boolean).join(" · ");
  if (upload.state === "complete") return [upload.seconds >= 1 ? `in ${duration(upload.seconds)}` : null, clockTime(upload.updatedAt)].filter(Boolean).join(" · ");
  if (upload.state === "paused") return [of, upload.reason ? shown(upload.reason) : null].filter(Boolean).join(" · ");
  return clockTime(upload.updatedAt);
}
