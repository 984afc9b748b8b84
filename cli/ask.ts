/**
 * Asking a person at a terminal: on stderr, because stdout is for what comes of it, and for a password without showing what
 * is typed.
 */
import { StringDecoder } from "node:string_decoder";
import type { ReadStream } from "node:tty";
import { CommandFailure } from "./failure.ts";

/** Whether there is somebody to ask. */
export function isAtTerminal(): boolean {
  return process.stdin.isTTY;
}

/** Asks for a line, which is shown as it is typed. Rejects when it is broken off. */
export function ask(question: string): Promise<string> {
  return readLine(question, true);
}

/** Asks for a line that is not shown. Rejects when it is broken off. */
export function askUnseen(question: string): Promise<string> {
  return readLine(question, false);
}

/** Longer lines are cut. */
const longestLine = 4096;

function readLine(question: string, isShown: boolean): Promise<string> {
  const stdin: ReadStream = process.stdin;
  const echo = (text: string): void => {
    if (isShown) process.stderr.write(text);
  };
  const decoder = new StringDecoder("utf8");
  const line: string[] = [];
  // before the question, so that nothing that answers it is shown
  stdin.setRawMode(true);
  process.stderr.write(question);
  return new Promise<string>((resolve, reject) => {
    const finish = (settle: () => void, rest = ""): void => {
      stdin.off("data", take).off("end", breakOff);
      stdin.pause();
      stdin.setRawMode(false);
      // what was pasted with it answers the next question
      if (rest !== "") stdin.unshift(Buffer.from(rest));
      process.stderr.write("\n");
      settle();
    };
    const breakOff = (): void => finish(() => reject(new CommandFailure("cancelled")));
    const take = (chunk: Buffer): void => {
      const letters = Array.from(decoder.write(chunk));
      for (const [at, letter] of letters.entries()) {
        if (letter === "\r" || letter === "\n") {
          return finish(() => resolve(line.join("")), letters.slice(at + 1).join(""));
        }
        // Ctrl-C, Ctrl-D: in this mode they are letters
        if (letter === "\u0003" || letter === "\u0004") return breakOff();
        if (letter === "\b" || letter === "\u007f") {
          if (line.pop() !== undefined) echo("\b \b");
        } else if (letter >= " " && line.length < longestLine) {
          line.push(letter);
          echo(letter);
        }
      }
      return undefined;
    };
    stdin.on("data", take).on("end", breakOff);
    stdin.resume();
  });
}
