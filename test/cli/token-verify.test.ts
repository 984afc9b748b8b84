/** `postern token verify`: asking the authority, as whom, and what the exit code says. */
import { createPublicKey } from "node:crypto";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openAdminClient, readDataDir, type AdminAccess } from "../../cli/admin-client.ts";
import { makeKey } from "../authority/fixture.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { postern } from "./transcript.ts";

let at: Installation;
let token: string;
let secret: string;
let apiSecret: string;

beforeAll(async () => {
  at = await openInstallation();
  for (const line of [
    "project create acme",
    "api create web --project acme --kind http --scopes read,write --bearer",
    "api create other --project acme --kind http --scopes read --bearer",
    "role create reader --project acme --api web --scope read",
  ]) {
    await at.json(line);
  }
  ({ client_secret: secret } = await at.json("client create dash --project acme --kind service --role reader"));
  ({ access_token: token } = await at.json(`token get --client acme.dash --secret ${secret} --api web`));
  const admin = openAdminClient(readDataDir(at.dataDir) as AdminAccess);
  ({ secret: apiSecret } = await admin.post<{ secret: string }>("/v1/projects/acme/apis/web/secrets", {}));
  admin.close();
});
afterAll(() => at.close());

const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";
const active = new RegExp(
  [
    "^token       active",
    "subject     acme.dash",
    "issuer      https://localhost:\\d+",
    "audience    acme.web",
    `issued      ${time}`,
    `expires     ${time}, in \\d+ s`,
    "id          [\\w-]+",
    "type        Bearer",
    "bound to    no key \\(bearer\\)",
    "allows now  read\n$",
  ].join("\n"),
);
const inactive = { stdout: "inactive\n", stderr: "", exitCode: 1 };

describe("postern token verify", () => {
  const askers: readonly (readonly [who: string, options: () => string])[] = [
    ["with the admin key", () => ""],
    ["as the client that it was issued to", () => ` --client acme.dash --secret ${secret}`],
    ["as that client by its name", () => ` --client dash --project acme --secret ${secret}`],
    ["as the api that it is for", () => ` --api web --project acme --secret ${apiSecret}`],
  ];

  it.each(askers)("%s says what a good token is worth", async (_, options) => {
    expect(await at.run(`token verify ${token}${options()}`)).toEqual({
      stdout: expect.stringMatching(active) as string,
      stderr: "",
      exitCode: 0,
    });
  });

  it("takes a key pair instead, of a client that has registered the public half in PEM", async () => {
    const { privateKey } = makeKey();
    const [pem, pub] = [join(at.dir, "till.pem"), join(at.dir, "till.pub")];
    writeFileSync(pem, privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(pub, createPublicKey(privateKey).export({ type: "spki", format: "pem" }));
    await at.json(`client create till --project acme --kind service --role reader --jwk ${pub}`);
    const asked = await at.json(`token get --client acme.till --key-file ${pem} --api web`);
    const line = `token verify ${asked.access_token} --client acme.till`;
    expect(await at.run(`${line} --key-file ${pem}`)).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await at.run(`token verify ${token} --client acme.till --key-file ${pem}`)).stdout).toBe("inactive\n");
    expect((await at.run(`${line} --key-file ${pem} --secret x`)).exitCode).toBe(2);
    expect((await at.run(`${line} --key-file ${pub}`)).stderr).toMatch(/till\.pub holds no private key/);
  });

  it("takes the token from stdin and the secret from the environment", async () => {
    const environment = { POSTERN_API_SECRET: apiSecret, POSTERN_CLIENT_SECRET: secret };
    for (const asker of ["--client acme.dash", "--api web --project acme"]) {
      const { exitCode } = await at.run(`token verify - ${asker}`, { stdin: `${token}\n`, environment });
      expect(exitCode).toBe(0);
    }
  });

  it("needs no admin key that could be read where a client asks", async () => {
    const folder = join(at.dir, "shared");
    mkdirSync(join(folder, "admin.key"), { recursive: true });
    for (const name of ["authority.json", "ca.pem"]) copyFileSync(join(at.dataDir, name), join(folder, name));
    const line = `token verify ${token} --data ${folder}`;
    expect(await postern(line.split(" "))).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/admin\.key/) });
    expect((await postern(`${line} --client acme.dash --secret ${secret}`.split(" "))).exitCode).toBe(0);
  });

  it("takes no more from stdin than a token can be", async () => {
    const { stderr, exitCode } = await at.run("token verify -", { stdin: "x".repeat(16_385) });
    expect([stderr, exitCode]).toEqual(["postern: token verify: stdin holds more than 16384 bytes\n", 1]);
  });

  it("prints the answer as it came with --json", async () => {
    const answer = await at.json(`token verify ${token}`);
    expect(answer).toMatchObject({ active: true, sub: "acme.dash", scope: "read", token_type: "Bearer" });
    expect(answer.expires_in).toBe(answer.exp - answer.time);
    const { stdout, exitCode } = await at.run(`token verify nonsense --json`);
    expect([stdout, exitCode]).toEqual(['{"active":false}\n', 1]);
  });

  it.each<[string, () => Promise<string>]>([
    ["what is no token", () => Promise.resolve("nonsense")],
    [
      "a token for another api, as this one",
      async () => {
        await at.json("role create guest --project acme --api other --scope read");
        const made = await at.json("client create cam --project acme --kind service --role guest");
        const got = await at.json(`token get --client acme.cam --secret ${made.client_secret}`);
        return `${got.access_token} --api web --project acme --secret ${apiSecret}`;
      },
    ],
    [
      "a revoked one",
      async () => {
        const got = await at.json(`token get --client acme.dash --secret ${secret}`);
        await at.json(`token revoke ${got.access_token}`);
        return got.access_token as string;
      },
    ],
  ])("says of %s that it is inactive, and no more", async (_, make) => {
    expect(await at.run(`token verify ${await make()}`)).toEqual(inactive);
  });

  it.each<[line: string, exitCode: number, stderr: string | RegExp]>([
    [
      "a --api web --project acme --secret no",
      1,
      /^postern: token verify: invalid_client: client authentication failed/,
    ],
    [
      "a --api none --project acme --secret no",
      1,
      /^postern: token verify: invalid_client: client authentication failed/,
    ],
    ["a --key no", 1, /^postern: token verify: invalid_client: the key is not accepted/],
    ["a --key pk1_0a_x", 2, "postern: token verify: as a developer give --client or --api with a secret or key\n"],
    ["a --key ps1_x", 2, "postern: token verify: as a developer give --client or --api with a secret or key\n"],
    ["a --api web --secret no", 2, "postern: token verify: web is a name; give --project\n"],
    ["a --client dash --secret no", 2, "postern: token verify: dash is a name; give --project or the id\n"],
    ["a --client acme.dash", 2, "postern: token verify: give --secret or POSTERN_CLIENT_SECRET, or --key-file\n"],
    ["a --api web --project acme", 2, "postern: token verify: give --secret or POSTERN_API_SECRET, or --key-file\n"],
    ["a --api web --client acme.dash", 2, "postern: token verify: give --client or --api, not both\n"],
    ["a --key-file k", 2, "postern: token verify: --key-file is that of a --client or an --api\n"],
    ["a --secret no", 2, "postern: token verify: --secret is that of a --client or an --api\n"],
    ["", 2, "postern: token verify: missing required argument 'token'\n"],
  ])("refuses %s", async (line, exitCode, stderr) => {
    const done = await at.run(`token verify ${line}`.trim());
    expect([done.exitCode, done.stdout]).toEqual([exitCode, ""]);
    if (typeof stderr === "string") expect(done.stderr).toBe(stderr);
    else expect(done.stderr).toMatch(stderr);
  });
});
