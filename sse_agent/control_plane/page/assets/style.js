// The look that all elements share. Adopted, not inlined: the page's policy allows no inline style.

const css = String.raw;

/** A style sheet from text. */
export function sheet(text) {
  const found = new CSSStyleSheet();
  found.replaceSync(text);
  return found;
}

export const shared = sheet(css`
:host {
  color-scheme: light dark;
  --ground: #f5f6f8; --surface: #ffffff; --raised: #eef1f4; --ink: #18212b; --muted: #566270; --line: #d9dfe5; --edge: #84909d;
  --accent: var(--sse-agent-accent, #0b6e6a); --on-accent: #ffffff; --tint: #e2f1f0;
  --good: #17692f; --warn: #855600; --bad: #b3261e; --bad-tint: #fbe9e7; --warn-tint: #fbf0d9; --good-tint: #e2f3e6;
  --radius: 10px;
  font: 400 0.9375rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  color: var(--ink);
  display: block; min-width: 0;
}
@media (prefers-color-scheme: dark) {
  :host {
    --ground: #11151a; --surface: #191f26; --raised: #232b34; --ink: #e6eaee; --muted: #9dabb8; --line: #303a45; --edge: #6b7885;
    --accent: var(--sse-agent-accent-dark, #56c5ba); --on-accent: #06201e; --tint: #17322f;
    --good: #67cf86; --warn: #e0ae4b; --bad: #ff8f82; --bad-tint: #3a1f1d; --warn-tint: #352a14; --good-tint: #18301f;
  }
}
*, ::before, ::after { box-sizing: border-box; }
:host([hidden]), [hidden] { display: none !important; }
h1, h2, h3, p, ul, ol, dl, dd { margin: 0; padding: 0; }
h2 { font-size: 1.0625rem; font-weight: 650; }
h3 { font-size: 0.9375rem; font-weight: 650; }
button, input, textarea { font: inherit; color: inherit; }
button {
  display: inline-flex; align-items: center; justify-content: center; gap: 0.375rem; white-space: nowrap;
  min-height: 2.25rem; padding: 0.25rem 0.75rem; border: 1px solid color-mix(in srgb, var(--edge) 55%, var(--line)); border-radius: 8px;
  background: var(--surface); cursor: pointer;
}
button:hover:not(:disabled) { background: var(--raised); }
button:disabled { cursor: default; color: var(--muted); background: none; border-style: dashed; }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
button.main:hover:not(:disabled) { filter: brightness(1.08); background: var(--accent); }
button.main:disabled { background: none; color: var(--muted); border-color: var(--line); }
button.grave { color: var(--bad); border-color: currentcolor; }
button.quiet { border-color: transparent; background: none; color: var(--muted); }
button.quiet:hover { color: var(--ink); }
button.link { border: 0; background: none; padding: 0; min-height: 0; color: var(--accent); font-weight: 550; white-space: normal; text-align: start; }
button.link:hover { text-decoration: underline; background: none; }
input:not([type=checkbox]), textarea {
  width: 100%; min-height: 2.25rem; padding: 0.375rem 0.75rem; border: 1px solid var(--edge); border-radius: 8px;
  background: var(--surface);
}
input[type=checkbox] { width: 1.0625rem; height: 1.0625rem; accent-color: var(--accent); margin: 0; }
::placeholder { color: var(--muted); opacity: 1; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.muted { color: var(--muted); }
.small { font-size: 0.8125rem; }
.bad { color: var(--bad); } .good { color: var(--good); } .warn { color: var(--warn); }
.figures { font-variant-numeric: tabular-nums; }
.buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.empty { padding: 2.5rem 1rem; text-align: center; color: var(--muted); }
.empty strong { display: block; color: var(--ink); font-weight: 600; margin-bottom: 0.25rem; }
.notice { display: flex; gap: 0.75rem; align-items: start; justify-content: space-between; padding: 0.5rem 0.75rem; border-radius: 8px;
  background: var(--warn-tint); overflow-wrap: anywhere; }
.notice.bad { background: var(--bad-tint); }
.notice:empty { display: none; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
bdi { overflow-wrap: anywhere; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 0.92em; }
dialog {
  width: min(30rem, calc(100vw - 2rem)); padding: 1.25rem; border: 1px solid var(--line); border-radius: 14px;
  background: var(--surface); color: var(--ink); box-shadow: 0 18px 50px rgb(0 0 0 / 25%);
}
dialog::backdrop { background: rgb(10 15 20 / 45%); }
dialog > * + * { margin-top: 0.875rem; }
dialog .buttons { justify-content: flex-end; }
.dot { flex: none; width: 0.625rem; height: 0.625rem; border-radius: 50%; border: 2px solid var(--muted); background: none; }
.dot.there { border-color: var(--good); background: var(--good); }
.dot.soon { border-color: var(--warn); }
@media (prefers-reduced-motion: no-preference) {
  button, .dot { transition: background-color 120ms, border-color 120ms; }
}
@media (forced-colors: active) {
  .dot.there { background: CanvasText; }
}
`);
