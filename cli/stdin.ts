/** Reading a payload or a token from stdin, up to a size. */
import { fail } from "./failure.ts";

/** All of stdin; fails when it is longer than `maxBytes`. */
export async function readStdin(maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  for await (const chunk of process.stdin) {
    received += (chunk as Buffer).length;
    if (received > maxBytes) fail(`stdin holds more than ${maxBytes} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
