/**
 * The whole line through the product, from an empty folder to a refused publish, as somebody types it: the built command
 * and nothing else. The steps build on each other, top-down.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { executable, openInstallation, postern, posternJson, run, startPostern } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";

let installation: Installation;
let pi: string;
let desk: string;

beforeAll(async () => {
  installation = await openInstallation();
  pi = join(installation.folder, "pi");
  desk = join(installation.folder, "desk");
});

it("is a command that the shell finds by its first line", async () => {
  expect(await run(executable, ["--version"])).toEqual({ stdout: "0.1.0\n", stderr: "", exitCode: 0 });
});

it("says where it is when it is ready, in one line", async () => {
  const { ready, dataDir, up } = installation;
  expect(ready).toEqual({
    event: "ready",
    issuer: expect.stringMatching(/^https:\/\/localhost:\d+$/),
    mqtts: expect.stringMatching(/^mqtts:\/\/localhost:\d+$/),
    wss: expect.stringMatching(/^wss:\/\/localhost:\d+$/),
    mqtt: null,
    ca: join(dataDir, "ca.pem"),
    adminKey: join(dataDir, "admin.key"),
  });
  expect(up.stdout.seen).toHaveLength(1);
  const mode = (file: string): number => statSync(join(dataDir, file)).mode & 0o777;
  expect([mode("."), mode("admin.key"), mode("ca.key"), mode("server.key"), mode("postern.db")]).toEqual([
    0o700, 0o600, 0o600, 0o600, 0o600,
  ]);
});

describe("the administrator", () => {
  it.each<[line: string, answer: object]>([
    ["project create acme", { slug: "acme" }],
    [
      "api create telemetry --project acme --kind mqtt --topics acme/# --ttl 30m",
      { audience: "acme.telemetry", ttl_seconds: 1800, bearer: false },
    ],
    [
      "role create sensor --project acme --api telemetry --allow pub:acme/${name}/machine --allow sub:acme/${name}/command",
      { permissions: ["pub:acme/${name}/machine", "sub:acme/${name}/command"] },
    ],
    ["role create reader --project acme --api telemetry --allow sub:acme/#", { permissions: ["sub:acme/#"] }],
    ["client create pi --project acme --kind device --role sensor", { id: "acme.pi", roles: ["sensor"] }],
    ["client create desk --project acme --kind device --role reader", { id: "acme.desk", enabled: true }],
  ])("%s", async (line, answer) => {
    expect(await installation.json(line)).toMatchObject(answer);
  });
});

describe("the agent", () => {
  it("enrols with the ticket", async () => {
    const { ticket, secret, authority, pin, expires, ...rest } = await installation.json(
      "ticket create --project acme --client pi",
    );
    expect(rest).toEqual({});
    expect(ticket).toMatch(/^pt1_[A-Za-z0-9_-]+$/);
    expect(ticket).not.toContain(secret);
    expect([authority, pin]).toEqual([installation.ready.issuer, expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(Date.parse(expires) - Date.now()).toBeGreaterThan(23 * 3_600_000);
    expect(await posternJson(`agent enrol ${ticket} --dir ${pi}`)).toMatchObject({
      clientId: "acme.pi",
      issuer: installation.ready.issuer,
      brokers: { mqtts: installation.ready.mqtts, wss: installation.ready.wss },
      apis: [{ name: "telemetry", audience: "acme.telemetry", kind: "mqtt" }],
      dir: pi,
    });
    expect(await postern(`agent enrol ${ticket} --dir ${join(installation.folder, "other")}`)).toEqual({
      stdout: "",
      stderr: expect.stringMatching(/^postern: agent enrol: [^\n]+\n$/),
      exitCode: 1,
    });
    expect(await installation.enrol("acme.desk")).toBe(join(installation.folder, "acme.desk"));
    desk = join(installation.folder, "acme.desk");
  });

  it("gets a token that is bound to its key and small", async () => {
    const { token, expiresIn, clientId, audience } = await posternJson(`agent token --dir ${pi}`);
    expect([clientId, audience]).toEqual(["acme.pi", "acme.telemetry"]);
    expect(expiresIn).toBeGreaterThan(1790);
    const description = await posternJson(`token inspect ${token}`);
    expect(description).toMatchObject({
      format: "cwt",
      claims: { iss: installation.ready.issuer, sub: "acme.pi", aud: "acme.telemetry" },
      confirmation: { kind: "key" },
      allows: ["sub:acme/pi/command", "pub:acme/pi/machine"],
    });
    expect(description.bytes).toBeLessThanOrEqual(240);
    expect(description.claims.exp - description.claims.iat).toBe(1800);
  });

  it("says what is in its folder, without asking anybody", async () => {
    expect(await posternJson(`agent status --dir ${pi}`)).toMatchObject({
      clientId: "acme.pi",
      authority: installation.ready.issuer,
      certificate: { serial: expect.stringMatching(/^[0-9a-f]+$/) },
      tokens: [{ audience: "acme.telemetry" }],
    });
    const { stdout, exitCode } = await postern(`agent status --dir ${pi}`);
    expect([stdout.split("\n")[0], exitCode]).toEqual(["client       acme.pi", 0]);
    expect(await postern(`agent status --dir ${join(installation.folder, "nobody")}`)).toEqual({
      stdout: "",
      stderr: expect.stringMatching(/^postern: agent status: no enrolled agent in [^\n]+\n$/),
      exitCode: 1,
    });
  });
});

describe("messages", () => {
  let reader: Running;
  beforeAll(async () => {
    reader = startPostern(`agent subscribe acme/# --json --dir ${desk}`);
    await reader.stderr.next(/^subscribed to acme\/#$/);
  });

  it("arrive when the role allows them, and are refused in one line when it does not", async () => {
    expect(await postern(`agent publish acme/pi/machine --dir ${pi}`, { stdin: "first" })).toEqual({
      stdout: "published 5 bytes to acme/pi/machine\n",
      stderr: "",
      exitCode: 0,
    });
    expect(await reader.stdout.json()).toEqual({ topic: "acme/pi/machine", payload: "first", retain: false });

    for (const topic of ["acme/desk/machine", "acme/pi/command", "authz", "$SYS/uptime", "acme/pi/machine/x"]) {
      expect(await postern(`agent publish ${topic} --dir ${pi}`, { stdin: "forbidden" })).toEqual({
        stdout: "",
        stderr: expect.stringMatching(/^postern: agent publish: [^\n]+\n$/),
        exitCode: 1,
      });
    }
    expect(await postern(`agent subscribe acme/# --dir ${pi}`)).toEqual({
      stdout: "",
      stderr: expect.stringMatching(/^postern: agent subscribe: [^\n]+refused\n$/),
      exitCode: 1,
    });

    await postern(`agent publish acme/pi/machine --qos 2 --dir ${pi}`, { stdin: "second" });
    // the next that arrives: nothing of what was refused came between
    expect(await reader.stdout.json()).toMatchObject({ topic: "acme/pi/machine", payload: "second" });
  }, 120_000);

  it("report this machine until the agent is asked to end", async () => {
    const agent = startPostern(`agent run --report --every 1s --json --dir ${pi}`);
    expect(await agent.stdout.json()).toMatchObject({ event: "connected", clientId: "acme.pi" });
    expect(await agent.stdout.json()).toEqual({ event: "reporting", topic: "acme/pi/machine", everySeconds: 1 });
    for (const _ of [1, 2]) {
      const { topic, payload } = await reader.stdout.json();
      expect(topic).toBe("acme/pi/machine");
      expect(JSON.parse(payload)).toMatchObject({
        at: expect.any(String),
        load: [expect.any(Number), expect.any(Number), expect.any(Number)],
        memory: { total: expect.any(Number), available: expect.any(Number) },
        uptimeSeconds: expect.any(Number),
      });
    }
    expect(await agent.stop()).toMatchObject({ stderr: "", exitCode: 0 });
    expect(await reader.stop()).toMatchObject({ exitCode: 0 });
  });

  it("end for a client that is disabled, and its agent waits with patience", async () => {
    const agent = startPostern(`agent run --json --dir ${pi}`);
    await agent.stdout.json({ event: "connected" });
    await installation.json("client disable acme.pi");
    await agent.stdout.json({ event: "disconnected" });
    await agent.stdout.json({ event: "refused" });
    await installation.json("client enable acme.pi");
    await agent.stdout.json({ event: "connected" });
    expect(await agent.stop()).toMatchObject({ exitCode: 0 });
  });
});

it("keeps secrets, tokens and payloads out of its log", async () => {
  const { token } = await posternJson(`agent token --dir ${pi}`);
  const log = installation.up.stderr.text;
  expect(log).toContain("session opened");
  for (const secret of [token, "forbidden", "first"]) expect(log).not.toContain(secret);
});

it("ends at SIGTERM with a client connected, exit code 0", async () => {
  const agent = startPostern(`agent run --json --dir ${pi}`);
  await agent.stdout.json({ event: "connected" });
  expect(await installation.up.stop()).toMatchObject({ exitCode: 0 });
  expect(await agent.stdout.json({ event: "disconnected" })).toMatchObject({ clientId: "acme.pi" });
  await agent.stdout.json({ event: "unreachable" });
  expect(await agent.stop()).toMatchObject({ exitCode: 0 });
});
