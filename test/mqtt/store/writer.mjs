/**
 * Writes into a store until it is killed, and notes in a file what it was promised and what it is about to do; what is stored is a message
 * as well. Run by crash.test.ts: `node writer.mjs <database> <notes> <first number>`.
 */
import { openSync, writeSync } from "node:fs";
import { durableStore } from "../../../dist/broker/mqtt/store/durable-store.js";

const [file, notes, first] = process.argv.slice(2);
const fd = openSync(notes, "w");
const note = (word, number) => writeSync(fd, `${word} ${number}\n`);
const store = durableStore({ file, limits: { queueMessages: 60_000 } });
await store.setup({ id: `writer-${first}` });

const queue = store.attach("here", () => {
  for (const entry of queue.take(50)) {
    const number = Number(entry.payload);
    // every third is acknowledged
    if (number % 3 !== 0) continue;
    note("removing", number);
    queue.remove(entry);
  }
});

let number = Number(first);
function turn() {
  for (let i = 0; i < 5; i++) {
    const own = number++;
    const receipt = { clientId: "publisher", messageId: (own % 60_000) + 1 };
    const payload = Buffer.from(String(own));
    store.accept({ cmd: "publish", topic: "t/crash", payload, qos: 2, retain: own % 7 === 0, dup: false }, receipt);
    store.whenDurable((error) => {
      if (error !== undefined) throw error;
      note("stored", own);
      process.send("stored");
      if (own % 2 !== 0) return;
      note("releasing", own);
      store.removeReceipt(receipt);
      store.whenDurable(() => note("released", own));
    });
  }
  setImmediate(turn);
}
turn();
