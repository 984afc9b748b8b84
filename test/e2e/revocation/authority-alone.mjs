/**
 * The authority without a broker, as a process that starts sooner than the whole: `node authority-alone.mjs <data> [changes]`, on
 * the data of `postern up`. Says its address on stdout. Is killed with -9 after so many changes, where it is told.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { startAuthority } from "../../../dist/broker/authority/authority.js";
import { openCertificateAuthority } from "../../../dist/broker/authority/certificates/certificates.js";
import { openRegistry } from "../../../dist/broker/registry/open-registry.js";
import { createMemoryTrust } from "../../../dist/broker/trust/memory-trust.js";

const [dataDir, changes] = process.argv.slice(2);
const ca = await openCertificateAuthority(dataDir);
const registry = openRegistry({
  file: join(dataDir, "postern.db"),
  sink: createMemoryTrust({ issuer: "" }),
});
let left = Number(changes);
if (changes !== undefined) registry.onChange(() => --left === 0 && process.kill(process.pid, "SIGKILL"));
const authority = await startAuthority({
  registry,
  ca,
  tls: await ca.issueServer(["localhost"]),
  port: 0,
  brokers: { mqtts: null, wss: null, mqtt: null },
  adminKey: readFileSync(join(dataDir, "admin.key"), "utf8").trim(),
  log: pino({ level: "error" }, pino.destination(2)),
});
process.stdout.write(`${JSON.stringify({ event: "ready", issuer: authority.url })}\n`);
