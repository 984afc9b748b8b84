/** Secrets and keys from the command line, as transcripts against a real authority. They build on each other, top-down. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toJwk } from "../../shared/cose-key.ts";
import { makeKey } from "../authority/fixture.ts";
import { openInstallation, type Installation } from "./installation.ts";
import type { Json } from "./transcript.ts";

let at: Installation;
const [a, b] = [makeKey(), makeKey()];
const file = (name: string): string => join(at.dir, name);

beforeAll(async () => {
  at = await openInstallation();
  await at.json("project create acme");
  await at.json("api create web --project acme --kind http --scopes read --bearer");
  await at.json("role create reader --project acme --api web --scope read");
  await at.json("client create pump --project acme --kind device");
  const [jwkA, jwkB] = [{ ...toJwk(a.key), kid: "a", alg: "ES256" }, toJwk(b.key)];
  for (const [name, value] of Object.entries({
    "a.jwk": jwkA,
    "both.jwks": { keys: [jwkA, jwkB] },
    "none.jwks": { keys: [] },
    "private.jwk": a.privateKey.export({ format: "jwk" }),
    "private.jwks": { keys: [jwkA, b.privateKey.export({ format: "jwk" })] },
    "shared.jwk": { kty: "oct", k: "AAAA" },
    "half.jwk": { kty: "RSA", n: "AQAB", e: "AQAB", p: "AQAB" },
    "rsa.jwk": { kty: "RSA", n: "AQAB", e: "AQAB" },
    "list.json": [jwkA],
    "keyless.jwks": { key: [] },
    "kindless.jwk": { crv: "P-256" },
  })) {
    writeFileSync(file(name), JSON.stringify(value));
  }
  writeFileSync(file("text.jwk"), "-----BEGIN PUBLIC KEY-----");
  writeFileSync(file("sec1.pem"), a.privateKey.export({ format: "pem", type: "sec1" }));
  writeFileSync(file("private.pem"), a.privateKey.export({ format: "pem", type: "pkcs8" }));
});
afterAll(() => at.close());

const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";
const done = (stdout: unknown) => ({ stdout, stderr: "", exitCode: 0 });
const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);

describe("the secret of a client", () => {
  let first: string;

  it("is changed in four steps: create, use, look, retire", async () => {
    ({ client_secret: first } = await at.json("client create job --project acme --kind service --role reader"));
    const created = await at.run("secret create --client acme.job");
    expect(created).toEqual(
      done(matching(/^created secret [0-9a-f]{12} of acme.job\nsecret, shown only now: [\w-]{43}\n$/)),
    );
    const next = /: ([\w-]{43})\n$/.exec(created.stdout)![1]!;
    const listed = await at.run("secret list --client job --project acme");
    const row = `[0-9a-f]{12}  valid   ${time}  never      never    7d`;
    const heading = "secret        status  created                  last used  expires  retires unused after";
    expect(listed).toEqual(done(matching(new RegExp(`^${heading}\n${row}\n${row}\n$`))));

    const status = async (secret: string): Promise<unknown> => {
      const { exitCode, stderr } = await at.run(`token get --client acme.job --secret ${secret} --audience acme.web`);
      return [exitCode, stderr.replace(/ \(id .*/s, "")];
    };
    expect([await status(first), await status(next)]).toEqual([
      [0, ""],
      [0, ""],
    ]);

    const [, old] = await at.json("secret list --client acme.job");
    expect(old.last_used_at).toBeGreaterThan(1_700_000_000);
    expect(await at.run(`secret retire ${old.id} --client acme.job`)).toEqual(
      done(`retired secret ${old.id} of acme.job\n`),
    );
    expect(await status(first)).toEqual([1, "postern: token get: invalid_client: client authentication failed"]);
    expect(await status(next)).toEqual([0, ""]);
  });

  it("is shown with the client, and has an end where one was asked for", async () => {
    const made = await at.json("secret create --client acme.job --ttl 1h --idle 2d");
    expect(made).toMatchObject({ status: "valid", idle_seconds: 172_800, last_used_at: null });
    expect(made.expires_at - made.created_at).toBe(3600);
    const shown = await at.json("client show acme.job");
    expect(shown.secrets.map((secret: Json) => secret.status)).toEqual(["valid", "valid", "retired"]);
    expect([shown.id, shown.keys]).toEqual(["acme.job", []]);
    expect(JSON.stringify(shown)).not.toContain(made.secret);
    const { stdout } = await at.run("client show acme.job");
    expect(stdout).toMatch(/^client {3}acme\.job\n[\s\S]*\n\nsecret +status +created/);
    expect((await at.run("client show acme.pump")).stdout).toMatch(/^client {3}acme\.pump\n(\w+ .*\n){4}$/);
  });
});

it("an api has secrets of its own", async () => {
  const made = await at.json("secret create --api web --project acme");
  expect(await at.json("secret list --api web --project acme")).toMatchObject([{ id: made.id, status: "valid" }]);
  expect(await at.run(`secret retire ${made.id} --api web --project acme`)).toEqual(
    done(`retired secret ${made.id} of acme/web\n`),
  );
  expect(await at.run("secret list --api web --project acme")).toEqual(done(matching(/\n[0-9a-f]{12} {2}retired /)));
});

describe("public keys", () => {
  it("stand in place of a secret", async () => {
    expect(await at.run(`client create signer --project acme --kind service --jwk ${file("a.jwk")}`)).toEqual(
      done("created service acme.signer with roles -\n"),
    );
    expect(await at.run("client keys acme.signer")).toEqual(
      done(matching(new RegExp(`^kid  thumbprint +since\na    [\\w-]{43}  ${time}\n$`))),
    );
    expect(await at.run("secret list --client acme.signer")).toEqual(done("no secrets\n"));
    expect((await at.json("client show acme.signer")).keys).toMatchObject([{ kid: "a", jwk: toJwk(a.key) }]);
  });

  it("are replaced together, for clients and for apis", async () => {
    for (const owner of ["client keys signer", "api keys web"]) {
      const both = await at.json(`${owner} --project acme --jwks ${file("both.jwks")}`);
      expect(both.map(({ kid }: Json) => kid)).toEqual(["a", null]);
      expect(await at.json(`${owner} --project acme`)).toEqual(both);
      expect(await at.run(`${owner} --project acme --jwks ${file("none.jwks")}`)).toEqual(done("no keys\n"));
    }
  });

  it.each([
    ["a private key", "private.jwk", "holds a private key; give the public part alone, without d"],
    ["a shared key", "shared.jwk", "holds a private key; give the public part alone, without d"],
    [
      "a private key in PEM",
      "private.pem",
      "holds a private key; give the public one: openssl pkey -in PRIVATE.pem -pubout",
    ],
    [
      "a private key in PEM of another form",
      "sec1.pem",
      "holds a private key; give the public one: openssl pkey -in PRIVATE.pem -pubout",
    ],
    ["a part of a private key", "half.jwk", "holds a private key; give the public part alone, without d"],
    ["PEM that is cut off", "text.jwk", "holds no public key that can be read"],
    ["a list", "list.json", "is no JSON object"],
    ["a key without kty", "kindless.jwk", "holds what is no JWK: it has no kty"],
    ["nothing", "missing.jwk", "cannot be read (ENOENT)"],
  ])("are not read from a file with %s", async (_, name, why) => {
    const path = file(name);
    const stderr = `postern: client keys: ${path} ${why}\n`;
    expect(await at.run(`client keys acme.signer --jwk ${path}`)).toEqual({ stdout: "", stderr, exitCode: 1 });
  });

  it.each([
    ["a private key among them", "private.jwks", "holds a private key; give the public part alone, without d"],
    ["no keys", "keyless.jwks", "is no JWK set: it has no member keys"],
  ])("are not read from a set with %s", async (_, name, why) => {
    const path = file(name);
    const stderr = `postern: api keys: ${path} ${why}\n`;
    expect(await at.run(`api keys web --project acme --jwks ${path}`)).toEqual({ stdout: "", stderr, exitCode: 1 });
  });

  it("of another kind are refused by the authority", async () => {
    const { stderr, exitCode } = await at.run(`client keys acme.signer --jwk ${file("rsa.jwk")}`);
    expect([stderr, exitCode]).toEqual(["postern: client keys: the key cannot be used: keys.0: kty is not EC\n", 1]);
  });
});

describe("a command line that does not say whose secret is refused", () => {
  it.each<[line: string, exitCode: number, stderr: string]>([
    ["secret create", 2, "postern: secret create: give --client or --api\n"],
    ["secret list --client acme.job --api web", 2, "postern: secret list: give --client or --api\n"],
    ["secret list --client job", 2, "postern: secret list: job is a name; give --project or the id\n"],
    ["secret list --api web", 2, "postern: secret list: required option '--project <slug>' not specified\n"],
    ["secret create --client acme.none", 1, "postern: secret create: not found: no client acme.none\n"],
    ["secret create --api none --project acme", 1, "postern: secret create: not found: no api acme.none\n"],
    [
      "secret create --client acme.pump",
      1,
      "postern: secret create: a field is not valid: a device has no secret: it proves itself by its key\n",
    ],
    ["secret retire 123 --client acme.job", 1, "postern: secret retire: not found: no secret 123 of acme.job\n"],
    ["client keys acme.job --jwk a --jwks b", 2, "postern: client keys: give --jwk or --jwks, not both\n"],
  ])("%s", async (line, exitCode, stderr) => {
    expect(await at.run(line)).toEqual({ stdout: "", stderr, exitCode });
  });
});
