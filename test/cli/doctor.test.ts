/** `postern doctor`: the first thing that is missing, with the command that mends it, which is then given. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { Sqlite } from "../../broker/sqlite/sqlite.ts";
import type { AdminClient } from "../../cli/admin-client.ts";
import { brokerCheck } from "../../cli/doctor-agent.ts";
import { findOverlaps, topicsCheck } from "../../cli/doctor-api.ts";
import { readPublicKey, toJwk } from "../../shared/cose-key.ts";
import { generatePrivateKey } from "../../shared/es256.ts";
import { openPlace, type Person, type Place } from "./people.ts";
import { postern, type Json, type Transcript } from "./transcript.ts";

let place: Place;
let dev: Person;
let dir: string;
beforeAll(async () => {
  place = await openPlace();
  dev = place.person("dev");
  dir = mkdtempSync(join(tmpdir(), "postern-doctor-"));
});
afterAll(async () => {
  await place.close();
  rmSync(dir, { recursive: true });
});

/** The last finding: with `ok: false`, what is missing. */
function last({ stdout, exitCode }: Transcript): Json {
  const { ok, checks } = JSON.parse(stdout);
  expect([ok, exitCode]).toEqual(exitCode === 0 ? [true, 0] : [false, 1]);
  return checks.at(-1);
}

const doctor = async (line: string): Promise<Json> => last(await place.run(`doctor ${line} --json`.replace("  ", " ")));

describe("what a client needs for a token is named one by one, and each command mends what it is named for", () => {
  const steps: [missing: string, says: RegExp, mend: string, filled?: (line: string) => string][] = [
    ["project", /^there is no project acme/, "postern project create acme"],
    [
      "api",
      /^project acme has not an api$/,
      "postern api create <name> --project acme --kind http --scopes <scope>",
      (line) => line.replace("<name>", "web").replace("<scope>", "read"),
    ],
    [
      "role",
      /^no role allows anything on web$/,
      "postern role create <name> --project acme --api web --scope <scope>",
      (line) => line.replace("<name>", "reader").replace("<scope>", "read"),
    ],
    [
      "client",
      /^there is no client acme.job$/,
      "postern client create job --project acme --kind service --role reader",
      // as somebody would who forgets the role
      (line) => line.replace(" --role reader", ""),
    ],
    ["grant", /^acme.job has no role on web$/, "postern client update acme.job --role reader"],
  ];

  it.each(steps)("no %s", async (missing, says, mend, filled = (line) => line) => {
    const found = await doctor("--client acme.job");
    expect(found).toEqual({ check: missing, ok: false, says: expect.stringMatching(says), mend });
    const { exitCode, stderr } = await place.run(filled(mend).replace("postern ", ""));
    expect([exitCode, stderr]).toEqual([0, ""]);
  });

  it("no credential any more, then no token, then nothing", async () => {
    const [{ id }] = await place.json("secret list --client acme.job");
    await place.json(`secret retire ${id} --client acme.job`);
    expect(await doctor("--client job --project acme --api web")).toEqual({
      check: "credential",
      ok: false,
      says: "acme.job has no secret that is valid any more",
      mend: "postern secret create --client acme.job",
    });
    const { secret } = await place.json("secret create --client acme.job");
    const mend = "postern token get --client acme.job --audience acme.web --secret <secret> --dpop-key <file>";
    const says = "acme.job has got no token for acme.web";
    expect(await doctor("--client acme.job")).toEqual({ check: "token", ok: false, says, mend });
    const keyFile = join(dir, "job.pem");
    writeFileSync(keyFile, generatePrivateKey().export({ type: "pkcs8", format: "pem" }));
    await place.json(mend.replace("postern ", "").replace("<secret>", secret).replace("<file>", keyFile));
    const { stdout, exitCode } = await place.run("doctor --client acme.job");
    expect(exitCode).toBe(0);
    expect(stdout.split("\n").map((line) => line.slice(0, 18).trim())).toEqual([
      "ok  authority",
      "ok  tls",
      "ok  clock",
      "ok  key",
      "-   developer",
      "ok  storage",
      "ok  registration",
      "ok  project",
      "ok  api",
      "!!  verifier",
      "-   topics",
      "ok  role",
      "ok  client",
      "ok  grant",
      "ok  credential",
      "ok  token",
      "ok  broker",
      "",
    ]);
  });

  it("a client that is disabled", async () => {
    await place.json("client disable acme.job");
    const { stdout, exitCode } = await place.run("doctor --client acme.job");
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/\nno  client +acme.job is disabled\nto mend it: postern client enable acme.job\n$/);
    await place.json("client enable acme.job");
  });

  it("a device without a certificate and a ticket, and with either", async () => {
    await place.json("client create pi --project acme --kind device --role reader");
    expect(await doctor("--client acme.pi")).toMatchObject({
      check: "credential",
      says: "acme.pi has no credential",
      mend: "postern ticket create --project acme --client pi",
    });
    const { ticket } = await place.json("ticket create --project acme --client pi");
    expect(await doctor("--client acme.pi")).toMatchObject({
      check: "token",
      mend: "postern agent token --api web",
    });
    await place.json(`agent enrol ${ticket} --dir ${join(dir, "pi")}`);
    const { stdout } = await place.run("doctor --client acme.pi");
    expect(stdout).toMatch(/\nok {2}credential {4}a certificate until /);
  });

  it("another api than there is", async () => {
    expect(await doctor("--client acme.job --api none")).toEqual({
      check: "api",
      ok: false,
      says: "project acme has not api none",
      mend: "postern api create none --project acme --kind http --scopes <scope>",
    });
  });
});

describe("the resource server of an api of kind http", () => {
  const asked = "the resource server of acme/web has";
  const verifierOf = async (line: string): Promise<Json> => {
    const { checks } = JSON.parse((await place.run(`doctor ${line} --json`)).stdout);
    return checks.find(({ check }: Json) => check === "verifier");
  };

  it("has a secret that is good, or a key", async () => {
    const mend = "postern secret create --api web --project acme";
    const says = `${asked} no credential to ask about tokens with`;
    expect(await verifierOf("--project acme")).toEqual({ check: "verifier", ok: true, warns: true, says, mend });
    expect((await place.run("doctor --project acme")).stdout).toContain(`\n!!  verifier      ${says}: ${mend}\n`);
    const { id } = await place.json(mend.replace("postern ", ""));
    expect(await verifierOf("--project acme")).toEqual({ check: "verifier", ok: true, says: "acme/web has a secret" });
    await place.json(`secret retire ${id} --api web --project acme`);
    expect(await verifierOf("--client acme.job")).toEqual({
      check: "verifier",
      ok: true,
      warns: true,
      says: `${asked} no secret that is valid any more to ask about tokens with`,
      mend,
    });
    const keyFile = join(dir, "web.jwk");
    writeFileSync(keyFile, JSON.stringify(toJwk(readPublicKey(generatePrivateKey()))));
    await place.json(`api keys web --project acme --jwk ${keyFile}`);
    const found = await verifierOf("--project acme --api web");
    expect(found).toEqual({ check: "verifier", ok: true, says: "acme/web has 1 public key" });
  });

  it("of another api that is looked at should have one as well, and one of kind mqtt need not", async () => {
    await place.json("api create shop --project acme --kind http --scopes read");
    const lacking = { warns: true, mend: "postern secret create --api shop --project acme" };
    expect(await verifierOf("--project acme")).toMatchObject(lacking);
    expect(await verifierOf("--project acme --api web")).toMatchObject({ ok: true });
    await place.json("secret create --api shop --project acme");
    const says = "acme/shop has a secret, acme/web has 1 public key";
    expect(await verifierOf("--project acme")).toMatchObject({ ok: true, says });
    await place.json("api create tele --project acme --kind mqtt --topics acme/#");
    const none = { check: "verifier", ok: null, says: "no api of kind http was looked at" };
    expect(await verifierOf("--project acme --api tele")).toEqual(none);
  });
});

describe("topics", () => {
  const topicsOf = async (line = ""): Promise<Json> => {
    const { checks } = JSON.parse((await place.run(`doctor${line} --json`)).stdout);
    return checks.find(({ check }: Json) => check === "topics");
  };
  const good = { check: "topics", ok: true, says: "no topic is of two projects" };

  it("of two projects are named with both apis, which is no failure", async () => {
    await place.json("project create beta");
    await place.json("project create gamma");
    await place.json("api create tele --project beta --kind mqtt --topics beta/#");
    expect(await topicsOf()).toEqual(good);
    // as an installation has them that was made before this was refused
    const db = new Sqlite(join(place.dataDir, "postern.db"));
    db.prepare("UPDATE api SET topics = ? WHERE project = 'beta' AND name = 'tele'").run('["beta/#","acme/+/up"]');
    db.close();
    const says =
      "acme/tele and beta/tele both have acme/+/up: clients of one project can be let read and write what is the other's";
    expect(await topicsOf()).toEqual({ check: "topics", ok: true, warns: true, says });
    expect(await topicsOf(" --project beta --api tele")).toMatchObject({ warns: true, says });
    expect(await topicsOf(" --project acme --api tele")).toMatchObject({ warns: true, says });
    const { stdout, exitCode } = await place.run("doctor");
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining(`\n!!  topics        ${says}\nok  broker `)]);
    await place.json("api create other --project gamma --kind mqtt --topics gamma/#");
    expect(await topicsOf(" --project gamma")).toEqual(good);
  });

  it.each<[what: string, topicsOf: Record<string, string[]>, overlaps: string[]]>([
    ["apart", { "a/x": ["a/#"], "b/x": ["b/#"] }, []],
    ["of one project alone", { "a/x": ["p/#"], "a/y": ["p/#"] }, []],
    ["the same", { "a/x": ["p"], "b/x": ["p"] }, ["a/x b/x p"]],
    ["one within the other", { "b/x": ["p/up"], "a/x": ["p/#"] }, ["a/x b/x p/up"]],
    ["a level above", { "a/x": ["p"], "b/x": ["p/#"] }, ["a/x b/x p"]],
    ["that cross", { "a/x": ["+/up"], "b/x": ["p/+"] }, ["a/x b/x p/up"]],
    ["that do not begin with $", { "a/x": ["#"], "b/x": ["$own/p"] }, []],
    [
      "of three",
      { "a/x": ["p/#"], "b/x": ["p/1"], "c/x": ["p/1", "q"] },
      ["a/x b/x p/1", "a/x c/x p/1", "b/x c/x p/1"],
    ],
    ["shared twice, once", { "a/x": ["p", "q"], "b/x": ["q", "p"] }, ["a/x b/x p"]],
  ])("%s", (_, given, overlaps) => {
    const found = findOverlaps(new Map(Object.entries(given)));
    expect(found.map(({ apis, topics }) => [...apis, topics].join(" "))).toEqual(overlaps);
  });

  it("that many share are counted", async () => {
    const slugs = ["a", "b", "c", "d"].map((one) => `${one}${one}`);
    const admin = {
      list: (path: string) =>
        Promise.resolve(
          path === "/v1/projects" ? slugs.map((slug) => ({ slug })) : [{ name: "x", kind: "mqtt", topics: ["p"] }],
        ),
    } as unknown as AdminClient;
    const { says } = await topicsCheck(admin, { seesAll: true, project: undefined });
    expect(says).toMatch(
      /^aa\/x and bb\/x both have p; aa\/x and cc\/x .*; aa\/x and dd\/x both have p; and 3 more pairs: /,
    );
  });
});

describe("whoever asks", () => {
  const ask = (line = ""): Promise<Json> => dev.run(`doctor${line} --ca ${place.ca} --json`).then(last);

  it("is told to register without a key and a login", async () => {
    expect(await ask()).toEqual({
      check: "key",
      ok: false,
      says: "no key was given, and nobody is logged in",
      mend: expect.stringMatching(/^postern developer register <email>/),
    });
  });

  it("hears of their own projects alone once they have registered", async () => {
    await dev.join();
    expect(await ask()).toEqual({
      check: "project",
      ok: false,
      says: "there is no project yet",
      mend: "postern project create <slug>",
    });
    expect(await ask(" --project acme")).toMatchObject({ says: "there is no project acme, or it is none of yours" });
    await dev.json("project create mine");
    const { stdout } = await dev.run("doctor");
    expect(stdout).toMatch(/\nok {2}developer {5}dev@example.com is registered and confirmed, dev_[0-9a-f]{16}\n/);
    expect(stdout).toMatch(/\n- {3}storage {7}only the holder of the admin key is told\n/);
    expect(stdout).toMatch(/\n- {3}project {7}there is one; none was named, see --project\n/);
    expect(stdout).toMatch(/\n- {3}topics {8}only the holder of the admin key sees all projects\nok {2}broker /);
  });

  it("is told to log in again when the login is over", async () => {
    const { XDG_CONFIG_HOME } = { XDG_CONFIG_HOME: dev.folder };
    const key = `ps1_${"A".repeat(43)}`;
    const found = await postern(["doctor", "--json", "--url", place.postern.issuer, "--ca", place.ca, "--key", key], {
      environment: { XDG_CONFIG_HOME },
    });
    expect(last(found)).toEqual({ check: "key", ok: false, says: "the key is not accepted", mend: "postern login" });
  });

  it("is told where the admin key is when it is another", async () => {
    expect(await doctor("--key another")).toMatchObject({ check: "key", mend: expect.stringContaining("admin.key") });
  });
});

describe("an authority", () => {
  const ask = async (...args: string[]): Promise<Json> =>
    last(await postern(["doctor", "--json", "--key", "x", ...args], { environment: { XDG_CONFIG_HOME: dir } }));

  it("that is not there is to be started", async () => {
    const empty = mkdtempSync(join(dir, "empty-"));
    expect(await ask("--data", empty)).toMatchObject({ check: "authority", ok: false, mend: "postern up" });
    expect(await ask("--url", "https://127.0.0.1:9")).toMatchObject({
      check: "authority",
      says: expect.stringContaining("connection refused"),
    });
  });

  it("whose CA is not known is not trusted", async () => {
    expect(await ask("--url", place.postern.issuer)).toMatchObject({
      check: "tls",
      mend: expect.stringContaining("--ca"),
    });
  });

  it.each<[what: string, host: string, ageDays: number, ahead: number, check: string, says: RegExp]>([
    ["of another name", "127.0.0.2", 0, 0, "tls", /is for another host name$/],
    ["whose certificate is over", "localhost", 3_000, 0, "tls", /has expired by the clock/],
    ["that is an hour ahead", "localhost", 0, 3_600, "clock", /^this machine is (3599|3600|3601) s behind$/],
    ["that is two minutes behind", "localhost", 0, -120, "clock", /^this machine is (119|120|121) s ahead$/],
  ])("%s is found out", async (_, host, ageDays, ahead, check, says) => {
    const { server, ca } = await serve(host, ageDays, ahead);
    const { port } = server.address() as AddressInfo;
    try {
      const found = await ask("--url", `https://${host}:${port}`, "--ca", ca);
      expect(found).toEqual({ check, ok: false, says: expect.stringMatching(says), mend: expect.any(String) });
    } finally {
      server.close();
    }
  });

  /** A server with a certificate that was made so many days ago, and a clock that is so many seconds ahead. */
  async function serve(host: string, ageDays: number, aheadSeconds: number): Promise<{ server: Server; ca: string }> {
    const folder = mkdtempSync(join(dir, "ca-"));
    const now = Math.floor(Date.now() / 1000);
    const made = await openCertificateAuthority(folder, () => now);
    const ca = join(dir, `ca-${ageDays}-${aheadSeconds}.pem`);
    writeFileSync(ca, made.caPem);
    const old = await openCertificateAuthority(folder, () => now - ageDays * 86_400);
    const { cert, key } = await old.issueServer([]);
    const server = createServer({ cert, key }, (_request, response) => {
      response.setHeader("date", new Date(Date.now() + aheadSeconds * 1000).toUTCString());
      response.end("{}");
    });
    await new Promise<void>((resolve) => server.listen(0, host === "localhost" ? "127.0.0.1" : host, resolve));
    return { server, ca };
  }
});

describe("a broker", () => {
  it("that answers is well, also where none is beside the authority", async () => {
    const { mqtts } = place.postern;
    const { readFileSync } = await import("node:fs");
    expect(await brokerCheck(mqtts, readFileSync(place.ca, "utf8"))).toEqual({
      ok: true,
      says: `${mqtts} answers CONNECT`,
    });
    expect(await brokerCheck(null, undefined)).toMatchObject({ ok: null });
  });

  it("that is not trusted, not there, or something else is not", async () => {
    expect(await brokerCheck(place.postern.mqtts, undefined)).toMatchObject({
      ok: false,
      says: expect.stringContaining("is not trusted"),
    });
    expect(await brokerCheck("mqtts://127.0.0.1:9", undefined)).toMatchObject({
      ok: false,
      says: expect.stringContaining("connection refused"),
    });
    const made = await openCertificateAuthority(mkdtempSync(join(dir, "ca-")));
    const { cert, key } = await made.issueServer([]);
    const server = createTlsServer({ cert, key }, (socket) => {
      socket.on("error", () => undefined);
      socket.end("220 ready\r\n");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    expect(await brokerCheck(`mqtts://localhost:${port}`, made.caPem)).toMatchObject({
      ok: false,
      says: expect.stringContaining("it does not speak MQTT"),
    });
    server.close();
  });
});

describe("an agent", () => {
  const ask = (folder: string): Promise<Json> => doctor(`--dir ${join(dir, folder)}`);

  it("that is not enrolled is to be enrolled", async () => {
    expect(await ask("nobody")).toMatchObject({ check: "agent", ok: false, mend: "postern agent enrol <ticket>" });
  });

  it("that has all it needs is well", async () => {
    const { stdout, exitCode } = await place.run(`doctor --dir ${join(dir, "pi")}`);
    expect([exitCode, stdout.split("\n").map((line) => line.slice(0, 16).trim())]).toEqual([
      0,
      [
        "ok  agent",
        "ok  authority",
        "ok  tls",
        "ok  clock",
        "ok  certificate",
        "ok  client",
        "ok  grant",
        "ok  broker",
        "",
      ],
    ]);
  });

  it("whose client has no role any more, or is disabled, is told", async () => {
    await place.json("client update acme.pi");
    expect(await ask("pi")).toMatchObject({
      check: "grant",
      ok: false,
      mend: "postern client update acme.pi --role <role>",
    });
    await place.json("client disable acme.pi");
    expect(await ask("pi")).toMatchObject({
      check: "client",
      ok: false,
      mend: "look at it where the authority is kept: postern doctor --client acme.pi",
    });
  });
});

describe("called wrongly, it says so", () => {
  it.each([
    ["doctor --dir x --project acme", "--dir is for the agent in a folder"],
    ["doctor --api web", "--api needs --project"],
    ["doctor --client job", "job is a name; give --project or the id"],
  ])("postern %s", async (line, why) => {
    expect(await place.run(line)).toEqual({
      stdout: "",
      stderr: expect.stringMatching(`^postern: doctor: ${why}`),
      exitCode: 2,
    });
  });
});
