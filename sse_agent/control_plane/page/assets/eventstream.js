// Server-Sent Events as the WHATWG text reads them, over fetch: so a token can be sent, and a position kept.

/** Reads blocks out of text that comes in pieces. `onBlock({event, data, id})`; what is absent is null. */
export class Parser {
  #onBlock;
  #onRetry;
  #rest = "";
  #block = Parser.#empty();
  #isFirst = true;

  constructor(onBlock, onRetry) {
    this.#onBlock = onBlock;
    this.#onRetry = onRetry;
  }

  static #empty() {
    return { event: null, data: null, id: null };
  }

  /** The next piece. */
  feed(text) {
    let all = this.#rest + text;
    if (this.#isFirst && all) {
      this.#isFirst = false;
      if (all.startsWith("\ufeff")) all = all.slice(1);
    }
    for (;;) {
      const end = all.search(/[\r\n]/u);
      // A CR at the end may be half a line end.
      if (end < 0 || (all[end] === "\r" && end === all.length - 1)) break;
      this.#line(all.slice(0, end));
      all = all.slice(end + (all.startsWith("\r\n", end) ? 2 : 1));
    }
    if (all.length > 4 * 1024 * 1024) throw new Error("a line of the stream has no end");
    this.#rest = all;
  }

  #line(line) {
    if (line === "") {
      const block = this.#block;
      this.#block = Parser.#empty();
      if (block.data !== null || block.id !== null) this.#onBlock(block);
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") this.#block.event = value;
    else if (field === "data") this.#block.data = this.#block.data === null ? value : `${this.#block.data}\n${value}`;
    else if (field === "id" && !value.includes("\0")) this.#block.id = value;
    else if (field === "retry" && /^[0-9]+$/u.test(value)) this.#onRetry(Number(value));
  }
}

/** Reads an answer's body until it ends. Throws when nothing comes for `silenceMs()`. */
export async function read(response, parser, silenceMs, onBytes) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      let timer;
      const silence = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("the stream is silent")), silenceMs());
      });
      try {
        const { done, value } = await Promise.race([reader.read(), silence]);
        if (done) return;
        onBytes();
        parser.feed(value);
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
