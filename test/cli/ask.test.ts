/** What is typed at a terminal: lines, corrections, and what is shown of them. */
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, askUnseen } from "../../cli/ask.ts";

/** A terminal for one test; what is typed comes in chunks. */
class Terminal extends PassThrough {
  readonly isTTY = true;
  readonly modes: boolean[] = [];
  setRawMode(isRaw: boolean): this {
    this.modes.push(isRaw);
    return this;
  }
}

let terminal: Terminal;
let shown: string;
const restore: Array<() => void> = [];
beforeEach(() => {
  terminal = new Terminal();
  shown = "";
  const original = Object.getOwnPropertyDescriptor(process, "stdin")!;
  const write = process.stderr.write.bind(process.stderr);
  Object.defineProperty(process, "stdin", { value: terminal, configurable: true });
  process.stderr.write = (chunk: string | Uint8Array) => {
    shown += String(chunk);
    return true;
  };
  restore.push(
    () => Object.defineProperty(process, "stdin", original),
    () => (process.stderr.write = write),
  );
});
afterEach(() => {
  for (const undo of restore.splice(0)) undo();
});

describe("a line", () => {
  it.each<[string, string, string]>([
    ["to Enter", "correct horse\r", "correct horse"],
    ["to a line feed", "correct horse\n", "correct horse"],
    ["with letters taken back", "corx\u007frect\bt\r", "correct"],
    ["with more taken back than there is", "x\u007f\u007f\u007fy\r", "y"],
    ["with a letter outside the basic plane taken back as one", "a\u{1f600}\u007fb\r", "ab"],
    ["without control characters", "a\u0001\tb\u001b\r", "ab"],
    ["empty", "\r", ""],
    ["of any alphabet", "pässwörd \u{1f511}\r", "pässwörd \u{1f511}"],
    ["cut where it is too long", `${"x".repeat(5000)}\r`, "x".repeat(4096)],
  ])("%s", async (_name, typed, line) => {
    terminal.write(typed);
    expect(await askUnseen("password: ")).toBe(line);
    expect(shown).toBe("password: \n");
    expect(terminal.modes).toEqual([true, false]);
  });

  it("is not shown from before the question on", async () => {
    terminal.setRawMode = (isRaw) => {
      shown += isRaw ? "<" : ">";
      return terminal;
    };
    terminal.write("secret\r");
    await askUnseen("password: ");
    expect(shown).toBe("<password: >\n");
  });

  it("may come letter by letter, and a letter byte by byte", async () => {
    const asked = askUnseen("password: ");
    for (const byte of Buffer.from("grün\r")) terminal.write(Buffer.of(byte));
    expect(await asked).toBe("grün");
  });

  it("leaves what follows it to the next question", async () => {
    terminal.write("one\rtwo\r");
    expect([await askUnseen("a: "), await askUnseen("b: ")]).toEqual(["one", "two"]);
    expect(shown).toBe("a: \nb: \n");
  });

  it("is shown where it may be", async () => {
    terminal.write("adb\u007fa\r");
    expect(await ask("email: ")).toBe("ada");
    expect(shown).toBe("email: adb\b \ba\n");
  });

  it.each([
    ["Ctrl-C", "half\u0003"],
    ["Ctrl-D", "half\u0004"],
  ])("is broken off with %s, and the terminal is as it was", async (_key, typed) => {
    terminal.write(typed);
    await expect(askUnseen("password: ")).rejects.toThrow("cancelled");
    expect(terminal.modes).toEqual([true, false]);
    expect(shown).toBe("password: \n");
  });

  it("is broken off when the terminal goes", async () => {
    terminal.end("half");
    await expect(askUnseen("password: ")).rejects.toThrow("cancelled");
    expect(terminal.modes).toEqual([true, false]);
  });
});
