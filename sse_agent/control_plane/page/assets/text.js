// What people are shown: names and words that are anybody's, and figures.

import { h } from "./dom.js";

const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{Zl}\p{Zp}\u034f\u115f\u1160\u2800\u3164\uffa0]|(?<=\p{M}{3})\p{M}/gu;
const NAMED = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * The text with everything escaped that would not be seen, or would turn what stands around it; `␣` for spaces at its
 * ends and for several in a row.
 */
export function shown(text) {
  return plain(text).replace(/^ +| +$| {2,}/gu, (spaces) => "␣".repeat(spaces.length));
}

/** As `shown`, but lines stay lines, and spaces spaces. */
export function shownLines(text) {
  return String(text).split(/\r\n|\n|\r/u).map(plain).join("\n");
}

function plain(text) {
  return String(text).replace(UNSEEN, escaped).replace(/\p{Zs}/gu, " ");
}

function escaped(character) {
  const code = character.codePointAt(0);
  const hex = code.toString(16);
  if (NAMED[character]) return NAMED[character];
  if (code < 0x80) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
}

/** A name, kept from turning the text around it. */
export function name(text, properties = {}) {
  return h("bdi", { ...properties, text: shown(text) });
}

/** The last part of a path. */
export function lastPart(path) {
  const parts = String(path).split(/[/\\]/u);
  return parts.at(-1) || String(path);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `12.4 MiB` */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  let unit = 0;
  while (value >= 1023.5 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `12 s`, `3 min`, `2 h 5 min`, `4 d` */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole < 600 && whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.round(whole / 60)} min`;
  if (whole < 86400) return whole % 3600 >= 60 ? `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min` : `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

/** `just now`, `3 min ago` */
export function ago(seconds) {
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

/** Whole per cents that never say 100 too early. */
export function percent(part, whole) {
  if (!whole) return part === whole ? 100 : 0;
  return Math.min(part < whole ? 99 : 100, Math.floor((100 * part) / whole));
}

/** `1 upload`, `3 uploads` */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** The time of day of an instant, with its day if it is another one. */
export function clockTime(instant) {
  const at = new Date(instant);
  if (Number.isNaN(at.getTime())) return "";
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}
