/** A broker alone in this process, beside a real authority: what it knows, what it does without it, and what it says of itself. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { request } from "node:https";
import type { IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { connect as connectMqtt, connectAsync, type MqttClient } from "mqtt";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startAuthority, type Authority } from "../../broker/authority/authority.ts";
import {
  openCertificateAuthority,
  type CertificateAuthority,
} from "../../broker/authority/certificates/certificates.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { keepBroker } from "../../broker/registry/brokers.ts";
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { setClientEnabled } from "../../broker/registry/clients.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { revokeAll } from "../../broker/registry/revocations.ts";
import { startBroker, type BrokerCredential, type Standalone } from "../../broker/standalone.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { brokerSubject } from "../../shared/names.ts";
import { watchStalls } from "../undisturbed.ts";
import { furnish, makeDevice, makeKey, type Device } from "../authority/fixture.ts";
import { readSeries } from "./scrape.ts";

let directory: string;
let ca: CertificateAuthority;
let registry: Registry;
let authority: Authority | undefined;
let port = 0;
let url: string;
let credential: BrokerCredential;
let pi: Device;
let broker: Standalone | undefined;
let lines: Record<string, unknown>[];
const clients: MqttClient[] = [];

const open = (): void => {
  const sink = createMemoryTrust({ issuer: "" });
  registry = openRegistry({ file: join(directory, "postern.db"), sink });
};
const serve = async (): Promise<void> => {
  authority = await startAuthority({
    registry,
    ca,
    tls: await ca.issueServer([]),
    host: "127.0.0.1",
    port,
    brokers: { mqtts: null, wss: null, mqtt: null },
    adminKey: "key",
    log: pino({ level: "silent" }),
  });
  ({ port, url } = authority);
};
const leave = async (): Promise<void> => {
  await authority?.close();
  authority = undefined;
};
async function certify(): Promise<BrokerCredential> {
  const { privateKey, key } = makeKey();
  const issued = await ca.issueBroker(key, "edge", ["localhost"], 30);
  recordCertificate(registry, { ...issued, clientId: brokerSubject("edge"), key });
  return {
    cert: toPem("CERTIFICATE", issued.der),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-standalone-"));
  ca = await openCertificateAuthority(directory);
  port = 0;
  lines = [];
  open();
  furnish(registry);
  await serve();
  pi = await makeDevice({ ca, registry }, "plant.pi");
  registry.change(() => keepBroker(registry, "edge", ["localhost"], "test"));
  credential = await certify();
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.endAsync(true);
  await broker?.close();
  broker = undefined;
  await leave();
  registry.close();
  rmSync(directory, { recursive: true });
});

const dataDir = (): string => join(directory, "edge", "data");
async function start(options: { firstViewMilliseconds?: number } = {}): Promise<Standalone> {
  const log = pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  const identity = { name: "edge", authority: url, caPem: ca.caPem, current: () => credential };
  const feed = { firstRetryMilliseconds: 20, longestRetryMilliseconds: 50 };
  const ports = { mqttsPort: 0, wssPort: 0, mqttPort: null, bind: "127.0.0.1" };
  return (broker = await startBroker({ dataDir: dataDir(), identity, ...ports, feed, log, ...options }));
}
async function stop(): Promise<void> {
  await broker?.close();
  broker = undefined;
}
/** With the certificate alone. */
async function connect({ mqtts, caFile }: Standalone): Promise<MqttClient> {
  const key = pi.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const own = { clientId: pi.id, key, cert: pi.cert, ca: readFileSync(caFile, "utf8") };
  const client = await connectAsync(mqtts, { ...own, reconnectPeriod: 0, protocolVersion: 4 });
  clients.push(client);
  return client;
}
function get(
  path: string,
  headers: IncomingHttpHeaders = {},
  method = "GET",
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const target = `${broker!.wss.replace("wss:", "https:")}${path}`;
    const outgoing = request(target, { ca: ca.caPem, agent: false, family: 4, headers, method }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode!, body }));
    });
    outgoing.on("error", reject).end();
  });
}
const figure = async (name: string): Promise<number | undefined> => readSeries((await get("/metrics")).body).get(name);
const until = (what: () => Promise<void> | void): Promise<void> => vi.waitFor(what, { timeout: 30_000, interval: 10 });

describe("a broker alone", () => {
  it("admits by roles from its first moment, and closes what is taken back", async () => {
    const client = await connect(await start());
    expect((await client.subscribeAsync("p/pi/dn", { qos: 1 })).map(({ qos }) => qos)).toEqual([1]);
    await client.publishAsync("p/pi/up", "hello", { qos: 1 });
    const closed = new Promise((resolve) => client.once("close", () => resolve(performance.now())));
    const stalls = watchStalls();
    const begun = performance.now();
    revokeAll(registry, { certificates: [pi.serial] }, { issuer: url });
    expect(((await closed) as number) - begun).toBeLessThan(1000 + stalls.longestMs());
    stalls.close();
    await expect(connect(broker!)).rejects.toThrow(/refused/i);
    expect(lines.findLast((line) => line["msg"] === "refused")?.["reason"]).toBe("certificate.revoked");
  });

  it("starts and admits while the authority is away, and learns what was taken back when it returns", async () => {
    await start();
    await stop();
    await leave();
    const client = await connect(await start());
    expect(client.connected).toBe(true);
    const closed = new Promise((resolve) => client.once("close", () => resolve(undefined)));
    revokeAll(registry, { clients: ["plant.pi"] }, { issuer: url });
    registry.close();
    open();
    await serve();
    await closed;
    await expect(connect(broker!)).rejects.toThrow(/refused/i);
  });

  it("has dropped what it had stored of who was disabled while it was away, also when that is enabled again", async () => {
    const { mqtts, caFile } = await start();
    const key = pi.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const own = { clientId: pi.id, key, cert: pi.cert, ca: readFileSync(caFile, "utf8") };
    const options = { ...own, clean: false, reconnectPeriod: 0, protocolVersion: 4 } as const;
    const isThere = async (url: string): Promise<boolean> => {
      const client = connectMqtt(url, options);
      clients.push(client);
      const sessionPresent = await new Promise<boolean>((resolve, reject) => {
        client.once("connect", (connack) => resolve(connack.sessionPresent)).once("error", reject);
      });
      await client.subscribeAsync("p/pi/dn", { qos: 1 });
      await client.endAsync();
      return sessionPresent;
    };
    expect([await isThere(mqtts), await isThere(mqtts)]).toEqual([false, true]);
    await stop();
    expect(await isThere((await start()).mqtts)).toBe(true);
    await stop();
    revokeAll(registry, { clients: ["plant.pi"] }, { issuer: url });
    setClientEnabled(registry, "plant.pi", true);
    expect(await isThere((await start()).mqtts)).toBe(false);
  });

  it("admits nobody before the authority was heard", async () => {
    await start();
    await stop();
    await leave();
    rmSync(join(dataDir(), "trust.db"));
    await start({ firstViewMilliseconds: 1 });
    await expect(connect(broker!)).rejects.toThrow(/refused/i);
    expect(lines.findLast((line) => line["msg"] === "refused")?.["reason"]).toBe("trust.stale");
    expect([(await get("/healthz")).status, await figure("postern_trust_stale")]).toEqual([503, 1]);
    expect((await get("/metrics")).body).toContain("\npostern_trust_age_seconds +Inf\n");
    await serve();
    await until(async () => expect((await get("/healthz")).status).toBe(200));
    await connect(broker!);
  });

  it("keeps its files to itself, and its directory from another", async () => {
    const { caFile } = await start();
    expect([readFileSync(caFile, "utf8"), existsSync(join(dataDir(), "mqtt.db"))]).toEqual([ca.caPem, true]);
    expect([dataDir(), join(dataDir(), "trust.db")].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o600]);
    const first = broker;
    await expect(start()).rejects.toThrow("in use");
    broker = first;
  });

  it("shows another certificate when it has one, to clients and to the authority", async () => {
    await start();
    const shown = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const at = Number(new URL(broker!.mqtts).port);
        const socket = connectTls({ port: at, host: "127.0.0.1", servername: "localhost", ca: ca.caPem }, () => {
          resolve(socket.getPeerX509Certificate()!.serialNumber);
          socket.destroy();
        });
        socket.on("error", reject);
      });
    const before = await shown();
    credential = await certify();
    broker!.renewTls(credential);
    expect(await shown()).not.toBe(before);
    expect(await figure('postern_trust_contacts_total{outcome="refused"}')).toBe(0);
  });

  it("goes on with what it knows when it is taken back, and says so", async () => {
    const client = await connect(await start());
    const serial = await new Promise<string>((resolve) => {
      const at = Number(new URL(broker!.mqtts).port);
      const socket = connectTls({ port: at, host: "127.0.0.1", servername: "localhost", ca: ca.caPem }, () => {
        resolve(socket.getPeerX509Certificate()!.serialNumber);
        socket.destroy();
      });
    });
    revokeAll(registry, { certificates: [serial] }, { issuer: url });
    await until(async () => expect(await figure('postern_trust_contacts_total{outcome="refused"}')).toBeGreaterThan(0));
    expect(client.connected).toBe(true);
    expect(lines.filter((line) => line["fault"] === "refused")).toMatchObject([{ level: 50 }]);
  });
});

describe("the pages of a broker alone", () => {
  it.each([
    ["/healthz", {}, "GET", 200],
    ["/metrics", {}, "GET", 200],
    ["/metrics", { "x-forwarded-for": "192.0.2.1" }, "GET", 404],
    ["/healthz", { forwarded: "for=192.0.2.1" }, "GET", 404],
    ["/metrics", {}, "POST", 404],
    ["/metrics?x", {}, "GET", 404],
    ["/v1/clients", {}, "GET", 404],
    ["/", {}, "GET", 426],
  ] as const)("%s with %j by %s is answered %i", async (path, headers, method, status) => {
    await start();
    expect((await get(path, headers, method)).status).toBe(status);
  });

  it("say how the authority is seen", async () => {
    await start();
    expect(await get("/healthz")).toEqual({ status: 200, body: '{"status":"ok"}' });
    const series = readSeries((await get("/metrics")).body);
    expect(series.get('postern_trust_contacts_total{outcome="heard"}')).toBeGreaterThan(0);
    expect([series.get("postern_trust_stale"), series.get("postern_trust_clock_offset_seconds")!]).toEqual([
      0,
      expect.closeTo(0, 0),
    ]);
    expect(series.get("postern_trust_age_seconds")).toBeLessThan(30);
  });
});
