/**
 * Fills sessions and retained messages and takes them back, until it is killed, and notes in a file what it was promised and what
 * it is about to do; each note is a message as well. Kills itself where it is told to: so many turns of the event loop after it has
 * begun to take something back. Run by ending-crash.test.ts: `node ender.mjs <database> <notes> <first number> [<turns>]`.
 */
import { openSync, writeSync } from "node:fs";
import { durableStore } from "../../../dist/broker/mqtt/store/durable-store.js";

const [file, notes, first, turns] = process.argv.slice(2);
const fd = openSync(notes, "w");
const note = (word, number) => {
  writeSync(fd, `${word} ${number}\n`);
  process.send(word);
};
const store = durableStore({ file });
await store.setup({ id: `ender-${first}` });
const written = () => new Promise((resolve, reject) => store.whenDurable((e) => (e ? reject(e) : resolve())));

function dieAfter(turns) {
  setImmediate(() => (turns === 0 ? process.kill(process.pid, "SIGKILL") : dieAfter(turns - 1)));
}

for (let number = Number(first); ; number++) {
  const client = `p.c${number}`;
  const payload = Buffer.from("1");
  const message = {
    cmd: "publish",
    topic: `t/${client}`,
    payload,
    qos: 1,
    retain: false,
    dup: false,
    clientId: client,
  };
  for (const id of [client, `${client}:x`]) {
    await store.addSubscriptions({ id }, [{ topic: message.topic, qos: 1 }]);
    await store.putWill({ id, closed: false, will: {} }, { ...message, topic: "w" });
  }
  store.attach(client, () => undefined);
  for (let i = 0; i < 120; i++) store.accept({ ...message, retain: true, topic: `r/${client}/${i}` });
  for (let i = 0; i < 120; i++) store.accept(message, { clientId: client, messageId: i + 1 });
  await written();
  note("filled", number);
  // every third stays
  if (number % 3 === 0) continue;
  note("ending", number);
  if (turns !== undefined) dieAfter(Number(turns));
  store.accept(message);
  store.endSessions(client);
  store.purgeRetained(client, "client", () => true);
  await written();
  note("ended", number);
}
