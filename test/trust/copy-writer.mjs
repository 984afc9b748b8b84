/**
 * Takes updates into a copy until it is killed: update n puts token n on the list, takes token n - 10 off it and tells of client
 * n. Run by copy.test.ts: `node copy-writer.mjs <file> <issuer>`.
 */
import { openCopy } from "../../dist/broker/trust/copy.js";
import { createMemoryTrust } from "../../dist/broker/trust/memory-trust.js";

const [file, issuer] = process.argv.slice(2);
const log = { debug() {}, info() {}, warn() {}, error: console.error };
const copy = openCopy({ file, issuer, trust: createMemoryTrust({ issuer }), log });

function hash(number) {
  const bytes = Buffer.alloc(33, 7);
  bytes[0] = 1;
  bytes.writeUInt32BE(number, 1);
  return bytes;
}

let number = copy.place.trlCursor ?? -1;
function turn() {
  number++;
  const update = { added: hash(number), removed: number >= 10 ? hash(number - 10) : Buffer.alloc(0) };
  const client = { enabled: true, tokensAfter: number, grants: [] };
  const entries = [{ kind: "client", id: `farm.c${number}`, client }];
  const part = { isReset: false, cursor: `run.${number}`, more: false, entries };
  copy.takeUpdates([update], number, { sent: "", part });
  if (number % 20 === 19) process.send("writing");
  setImmediate(turn);
}
turn();
