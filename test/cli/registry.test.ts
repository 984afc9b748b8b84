/** The registry from the command line, as transcripts against a real authority. They build on each other, top-down. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pino } from "pino";
import { startPostern } from "../../broker/up.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { failed, postern } from "./transcript.ts";

let installation: Installation;
beforeAll(async () => {
  installation = await openInstallation();
});
afterAll(() => installation.close());

const done = (stdout: unknown) => ({ stdout, stderr: "", exitCode: 0 });
const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";

describe("the registry", () => {
  it.each<[line: string, stdout: string | RegExp]>([
    ["project list", "no projects yet\n"],
    ["project create acme", "created project acme\n"],
    ["project list", new RegExp(`^project  created\nacme     ${time}\n$`)],
    ["api list --project acme", "no apis yet\n"],
    [
      "api create telemetry --project acme --kind mqtt --topics acme/# plant/+/state --ttl 30m",
      "created api telemetry with audience acme.telemetry\n",
    ],
    [
      "api create open --project acme --kind mqtt --topics open/# --format jwt --bearer --purge always",
      /audience acme.open\n$/,
    ],
    [
      "api list --project acme",
      [
        "api        kind  audience        token life  format    bearer  purge   topics or scopes",
        "open       mqtt  acme.open       1h          jwt       yes     always  open/#",
        "telemetry  mqtt  acme.telemetry  30m         as asked  no      client  acme/# plant/+/state",
        "",
      ].join("\n"),
    ],
    [
      "role create sensor --project acme --api telemetry --allow pub:acme/${name}/state --allow sub:acme/${name}/cmd/#",
      "created role sensor on api telemetry: pub:acme/${name}/state sub:acme/${name}/cmd/#\n",
    ],
    [
      "role update sensor --project acme --allow pubsub:acme/${name}/#",
      "role sensor now allows pubsub:acme/${name}/#\n",
    ],
    ["role create reader --project acme --api open --allow sub:open/#", /^created role reader/],
    [
      "role list --project acme",
      "role    api        allows\nreader  open       sub:open/#\nsensor  telemetry  pubsub:acme/${name}/#\n",
    ],
    ["client create pump --project acme --kind device --role sensor", "created device acme.pump with roles sensor\n"],
    [
      "client create dash --project acme --kind service --role reader",
      /^created service acme.dash with roles reader\nsecret, shown only now: [A-Za-z0-9_-]{43}\n$/,
    ],
    ["client disable acme.pump", "disabled acme.pump; its tokens are revoked\n"],
    [
      "client list --project acme",
      [
        "client     kind     roles   enabled",
        "acme.dash  service  reader  yes",
        "acme.pump  device   sensor  no",
        "",
      ].join("\n"),
    ],
    ["client enable pump --project acme", "enabled acme.pump; it needs new tokens\n"],
    [
      "client show acme.pump",
      new RegExp(`^client   acme.pump\nkind     device\nroles    sensor\nenabled  yes\ncreated  ${time}\n$`),
    ],
    ["ticket create --project acme --client pump", /^pt1_[A-Za-z0-9_-]+\n$/],
    ["ticket create --project acme --uses 5 --role sensor --ttl 7d", /^pt1_[A-Za-z0-9_-]+\n$/],
    [
      "ticket list --project acme",
      new RegExp(
        `^ticket +for +used +expires +revoked\n([0-9a-f]+ +(acme.pump +0 of 1|roles sensor +0 of 5) +${time} +no\n){2}$`,
      ),
    ],
    ["cert list", "no certificates\n"],
    ["key list", new RegExp(`^key  signs  created +revoked\n[A-Za-z0-9_-]+ +yes    ${time} +no\n$`)],
    ["client delete acme.dash", "deleted acme.dash; its tokens are revoked\n"],
  ])("postern %s", async (line, stdout) => {
    const expected = typeof stdout === "string" ? stdout : expect.stringMatching(stdout);
    expect(await installation.run(line)).toEqual(done(expected));
  });

  it.each<[line: string, why: RegExp]>([
    ["project create acme", /^postern: project create: it exists already or is in use: .*acme/],
    ["project create A", /^postern: project create: a field is not valid: slug: /],
    ["api list --project nobody", /^postern: api list: not found: .*nobody/],
    ["client show acme.nobody", /^postern: client show: not found/],
    ["client show acme.dash", /^postern: client show: not found/],
    ["role create r --project acme --api telemetry --allow write:a", /^postern: role create: a field is not valid: /],
    [
      "role create r --project acme --api telemetry --allow pub:acme/${user}/x",
      /^postern: role create: a field is not valid: /,
    ],
    ["ticket revoke 0000 --project acme", /^postern: ticket revoke: not found/],
  ])("postern %s is refused in one line", async (line, why) => {
    const transcript = await installation.run(line);
    expect(transcript).toEqual(failed(expect.stringMatching(why)));
    expect(transcript.stderr.trimEnd()).not.toContain("\n");
  });

  it("refuses another admin key without saying more", async () => {
    expect(await installation.run("project list --key wrong")).toEqual(
      failed("postern: project list: the key is not accepted\n"),
    );
  });
});

describe("taking back", () => {
  const tokens: string[] = [];
  const hashes: string[] = [];
  let serial: string;
  beforeAll(async () => {
    const created = await installation.json("client create gate --project acme --kind service --role reader");
    const line = `token get --client acme.gate --secret ${created.client_secret}`;
    for (let n = 0; n < 2; n++) {
      const { access_token: token } = await installation.json(line);
      tokens.push(token);
      hashes.push((await installation.json(`token inspect ${token}`)).hashes[0]);
    }
    const ticket = await installation.json("ticket create --project acme --uses 1 --role sensor");
    const dir = join(installation.dir, "taken");
    await installation.json(`agent enrol ${ticket.ticket} --dir ${dir}`);
    [{ serial }] = await installation.json("cert list");
  });

  it("a token: by itself from stdin, by its hash, and once; what is printed is the hash", async () => {
    expect(await installation.run("token revoke -", { stdin: tokens[0]! })).toEqual(
      done(`revoked token ${hashes[0]!}\n`),
    );
    expect(await installation.run(`token revoke ${tokens[0]!}`)).toEqual(done(`revoked before: token ${hashes[0]!}\n`));
    const json = await installation.run(`token revoke ${hashes[1]!.toUpperCase()} --json`);
    expect(JSON.parse(json.stdout)).toEqual({ tokens: 1, certificates: 0, clients: 0, keys: 0, projects: 0 });
    expect(await installation.run(`token revoke ${hashes[1]!.toUpperCase()}`)).toEqual(
      done(`revoked before: token ${hashes[1]!}\n`),
    );
  });

  it("a certificate, which the list shows", async () => {
    expect(await installation.run(`cert revoke ${serial}`)).toEqual(done(`revoked certificate ${serial}\n`));
    expect(await installation.run(`cert revoke ${serial}`)).toEqual(done(`revoked before: certificate ${serial}\n`));
    const listed = await installation.run("cert list");
    expect(listed.stdout).toMatch(new RegExp(`^serial +client +from +until +status\n${serial} .* revoked ${time}\n$`));
  });

  it("a signing key, after which another one signs", async () => {
    const [{ kid }] = await installation.json("key list");
    expect(await installation.run(`key revoke ${kid}`)).toEqual(done(`revoked key ${kid}\n`));
    const listed = await installation.run("key list");
    expect(listed.stdout).toMatch(
      new RegExp(`^key  signs  created +revoked\n\\S+ +yes    ${time}  no\n${kid}   no     ${time}  ${time}\n$`),
    );
  });

  it.each([
    ["now", "now"],
    ["1700000000", "1700000000"],
    ["2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00\\+02:00"],
  ])("the tokens of a project issued before %s", async (before, shown) => {
    const slug = `time-${before.replaceAll(/[^0-9a-z]/gi, "").toLowerCase()}`;
    await installation.run(`project create ${slug}`);
    const line = `project revoke-tokens ${slug} --before ${before}`;
    const what = `the tokens of project ${slug} issued before ${shown}\n$`;
    expect(await installation.run(line)).toEqual(done(expect.stringMatching(`^revoked ${what}`)));
    if (before === "now") return;
    expect(await installation.run(line)).toEqual(done(expect.stringMatching(`^revoked before: ${what}`)));
  });

  it.each<[line: string, why: RegExp]>([
    ["token revoke 01ab", /^postern: token revoke: a field is not valid: /],
    [`token revoke 01${"ab".repeat(32)}`, /^postern: token revoke: not found: no live token with the hash 01ab/],
    ["cert revoke ffff", /^postern: cert revoke: not found: no certificate ffff/],
    ["key revoke zzz", /^postern: key revoke: not found: no signing key zzz/],
    ["project revoke-tokens nobody --before now", /^postern: project revoke-tokens: not found: no project nobody/],
    [
      "project revoke-tokens acme --before 2999-01-01T00:00:00Z",
      /^postern: project revoke-tokens: a field is not valid: before: it is in the future/,
    ],
  ])("%s is refused in one line", async (line, why) => {
    expect(await installation.run(line)).toEqual(failed(expect.stringMatching(why)));
  });
});

describe("machine output", () => {
  it("is what the authority answered", async () => {
    expect(await installation.json("client show acme.pump")).toMatchObject({
      id: "acme.pump",
      kind: "device",
      roles: ["sensor"],
      enabled: true,
    });
    const [project] = await installation.json("project list");
    expect(project).toEqual({ slug: "acme", created_at: expect.any(Number) });
    expect(await installation.json("client delete acme.pump")).toEqual({ id: "acme.pump" });
  });

  it("of a ticket is all that openssl and curl need", async () => {
    await installation.json("client create valve --project acme --kind device");
    const ticket = await installation.json("ticket create --client acme.valve");
    expect(ticket).toEqual({
      ticket: expect.stringMatching(/^pt1_/),
      secret: expect.any(String),
      authority: installation.postern.issuer,
      pin: expect.stringMatching(/^[0-9a-f]{64}$/),
      expires: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });
});

describe("finding the authority", () => {
  it("takes address, key and trust from flags", async () => {
    const key = readFileSync(join(installation.dataDir, "admin.key"), "utf8").trim();
    const ca = join(installation.dataDir, "ca.pem");
    const { issuer } = installation.postern;
    expect(await postern(["project", "list", "--json", "--url", issuer, "--key", key, "--ca", ca])).toMatchObject({
      exitCode: 0,
    });
    const environment = { POSTERN_URL: issuer, POSTERN_KEY: key, POSTERN_CA: ca };
    expect(await postern(["project", "list"], { environment })).toMatchObject({ exitCode: 0 });
    expect(await postern(["project", "list"], { environment: { POSTERN_DATA: installation.dataDir } })).toMatchObject({
      exitCode: 0,
    });
  });

  it("does not speak to a server that the system does not trust", async () => {
    const { issuer } = installation.postern;
    expect(await postern(["project", "list", "--url", issuer, "--key", "k"])).toEqual(
      failed(
        `postern: project list: GET ${issuer}/v1/projects: the server certificate is not from the expected authority; name its CA with --ca or POSTERN_CA\n`,
      ),
    );
  });
});

describe("a ticket", () => {
  it("for several roles takes them in one option, and is revoked by itself as by its id", async () => {
    const created = await installation.run("ticket create --project acme --uses 2 --role sensor reader");
    const [ticket] = created.stdout.split("\n");
    expect(ticket).toMatch(/^pt1_/);
    const revoked = await installation.run(`ticket revoke ${ticket} --project acme`);
    const id = /^revoked ticket ([0-9a-f]{16})\n$/.exec(revoked.stdout)?.[1];
    const listed = await installation.json("ticket list --project acme");
    const row = (listed as { id: string; revoked: boolean; roles: string[] }[]).find((one) => one.id === id);
    expect(row).toMatchObject({ revoked: true, roles: ["reader", "sensor"] });
  });
});

describe("an authority whose name means nothing on its own machine", () => {
  it("is found by its folder, and by its address with the CA of that folder", async () => {
    const dataDir = join(installation.dir, "named");
    const running = await startPostern({
      dataDir,
      host: "postern.invalid",
      httpPort: 0,
      mqttsPort: 0,
      wssPort: 0,
      mqttPort: null,
      log: pino({ level: "silent" }),
    });
    try {
      expect(running.issuer).toMatch(/^https:\/\/postern\.invalid:\d+$/);
      expect(await postern(["project", "list", "--data", dataDir])).toEqual(done("no projects yet\n"));
      const { port } = new URL(running.issuer);
      const key = readFileSync(running.adminKeyFile, "utf8").trim();
      const environment = { POSTERN_URL: `https://localhost:${port}`, POSTERN_KEY: key, POSTERN_DATA: dataDir };
      expect(await postern(["project", "list"], { environment })).toEqual(done("no projects yet\n"));
    } finally {
      await running.close();
    }
  });
});

describe("tokens", () => {
  let secret: string;
  beforeAll(async () => {
    await installation.json("client create web --project acme --kind service --role reader");
    const created = await installation.json("client create feed --project acme --kind service --role reader");
    secret = created.client_secret;
  });

  it("are got with a secret, in JSON as the authority answers", async () => {
    const environment = { POSTERN_CLIENT_SECRET: secret };
    const answer = await installation.run("token get --client acme.feed --api open --json", { environment });
    expect(JSON.parse(answer.stdout)).toMatchObject({
      access_token: expect.stringMatching(/^eyJ/),
      token_type: "Bearer",
      expires_in: 3600,
    });
  });

  it("need no audience for a client with one api, and are shown with the names of their claims", async () => {
    const got = await installation.run(`token get --client acme.feed --secret ${secret}`);
    const read = await postern(["token", "inspect", "--json", "-"], { stdin: got.stdout });
    expect(JSON.parse(read.stdout)).toMatchObject({
      alg: "ES256",
      claims: { sub: "acme.feed", aud: "acme.open", jti: expect.any(String), scope: [["open/#", ["sub"]]] },
    });
  });

  it("are printed bare, and inspect reads them from stdin", async () => {
    const line = `token get --client feed --project acme --secret ${secret} --audience acme.open --scope sub:open/door`;
    const got = await installation.run(line);
    expect(got).toEqual(done(expect.stringMatching(/^eyJ\S+\n$/)));
    const read = await postern(["token", "inspect", "-"], { stdin: got.stdout });
    expect(read.stdout.split("\n").map((text) => text.split(/ {2,}/).slice(0, 2))).toEqual([
      ["token", expect.stringMatching(/^JWT, \d+ bytes, signed with key \S+$/)],
      ["subject", "acme.feed"],
      ["issuer", installation.postern.issuer],
      ["audience", "acme.open"],
      ["issued", expect.stringMatching(new RegExp(`^${time}$`))],
      ["expires", expect.stringMatching(new RegExp(`^${time}$`))],
      ["id", expect.any(String)],
      ["bound to", "no key (bearer)"],
      ["allows", "sub:open/door"],
      ["hash", expect.stringMatching(/^01[0-9a-f]{64} 01[0-9a-f]{64}$/)],
      [""],
    ]);
  });

  it.each([
    ["--secret wrong --api open", /^postern: token get: invalid_client: client authentication failed \(id \S+\)\n$/],
    ["--api nothing", /^postern: token get: invalid_/],
    ["--api open --scope pub:open/door", /^postern: token get: invalid_scope: /],
  ])("are refused with %s", async (flags, why) => {
    const line = `token get --client acme.feed ${flags}`;
    const environment = { POSTERN_CLIENT_SECRET: secret };
    expect(await installation.run(line, { environment })).toEqual(failed(expect.stringMatching(why)));
  });
});
