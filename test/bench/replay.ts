/**
 * `node dist/test/bench/replay.js [postern] [mosquitto] [--url mqtt://127.0.0.1:1883 --identities FILE]`: what becomes of
 * messages that somebody should not, or no longer, send or receive; the same rows for every broker, as one table.
 *
 * `--setup` prints the identities and rights that a broker under `--url` must have, and the form of FILE.
 */
import { parseArgs } from "node:util";
import { useGiven } from "./replay/given.ts";
import { startMosquitto } from "./replay/mosquitto.ts";
import { startPostern } from "./replay/postern.ts";
import { printReplay, replay } from "./replay/play.ts";
import { identities, type Profile } from "./replay/profile.ts";
import { printHeading } from "./table.ts";

const starters: Record<string, () => Promise<Profile>> = { postern: startPostern, mosquitto: startMosquitto };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { url: { type: "string" }, identities: { type: "string" }, setup: { type: "boolean", default: false } },
});
if (values.setup) {
  console.log(JSON.stringify(identities, undefined, 2));
  console.log('FILE: { "writer": { "username": "…", "password": "…", "clientId": "…" }, … }');
  process.exit();
}
const names = positionals.length > 0 || values.url !== undefined ? positionals : Object.keys(starters);
const unknown = names.filter((name) => starters[name] === undefined);
if (unknown.length > 0 || (values.url === undefined) !== (values.identities === undefined)) {
  console.error(`brokers are ${Object.keys(starters).join(" and ")}; --url goes with --identities`);
  process.exit(2);
}
const chosen = names.map((name) => starters[name]!);
const { url, identities: file } = values;
if (url !== undefined) chosen.push(() => Promise.resolve(useGiven(url, file!)));
const played = [];
for (const start of chosen) played.push(await replay(start));
printHeading("Replay");
printReplay(played);
