/** `postern token get` for apis of kind http: every way to prove a client, and one row for each way to be wrong. */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openAdminClient, readDataDir, readPlace } from "../../cli/admin-client.ts";
import { askToken, type ClientProof } from "../../cli/ask-token.ts";
import { jwkThumbprint, readPublicKey, toJwk } from "../../shared/cose-key.ts";
import { fromBase64url } from "../../shared/base64url.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { postern, posternJson, type Json } from "./transcript.ts";

let installation: Installation;
let secret: string;
const keys = { client: generatePrivateKey(), dpop: generatePrivateKey(), other: generatePrivateKey() };
const file = (name: string): string => join(installation.dir, name);

beforeAll(async () => {
  installation = await openInstallation();
  const json = (line: string): Promise<Json> => installation.json(line);
  await json("project create acme");
  await json("api create orders --project acme --kind http --scopes read,write,admin");
  await json("api create open --project acme --kind http --scopes read,write --bearer");
  for (const api of ["orders", "open"]) {
    await json(`role create ${api} --project acme --api ${api} --scope read --scope write`);
  }
  ({ client_secret: secret } = await json("client create web --project acme --kind service --role orders --role open"));
  await json("client create till --project acme --kind device --role orders");
  const admin = openAdminClient({ url: "", key: "", ...readDataDir(installation.dataDir) });
  await admin.put("/v1/projects/acme/clients/web/keys", { keys: [toJwk(readPublicKey(keys.client))] });
  admin.close();
  for (const [name, key] of Object.entries(keys)) {
    writeFileSync(file(`${name}.pem`), key.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(file(`${name}.jwk`), JSON.stringify({ ...key.export({ format: "jwk" }), kid: "k", alg: "ES256" }));
  }
  const rsa = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  writeFileSync(file("rsa.pem"), rsa.privateKey);
  writeFileSync(file("public.jwk"), JSON.stringify(toJwk(readPublicKey(keys.client))));
  writeFileSync(file("not-a-key"), `{"d": "${secret}"`);
  const { ticket } = await json("ticket create --client acme.till");
  await posternJson("agent", "enrol", ticket, "--dir", file("till"));
});
afterAll(() => installation.close());

/** Asks with `--json`; file names in braces are those of the folder. */
async function get(line: string): Promise<{ answer: Json; token: Json }> {
  const answer = await installation.json(`token get ${inFolder(line)}`);
  return { answer, token: await posternJson("token", "inspect", answer.access_token) };
}

const inFolder = (line: string): string => line.replace(/\{([^}]+)\}/g, (_all, name: string) => file(name));

describe("postern token get", () => {
  it("prints the token alone, and with --json the whole answer", async () => {
    const line = `token get --client acme.web --secret ${secret} --api open`;
    const printed = await installation.run(line);
    expect(printed).toEqual({ stdout: expect.stringMatching(/^eyJ\S+\n$/), stderr: "", exitCode: 0 });
    expect(await installation.json(line)).toEqual({
      access_token: expect.stringMatching(/^eyJ/),
      token_type: "Bearer",
      expires_in: 3600,
      scope: "read write",
    });
  });

  it.each(["client.pem", "client.jwk"])(
    "proves the client with its key in %s, and gets a bound token",
    async (name) => {
      const { answer, token } = await get(`--client web --project acme --key-file {${name}} --api orders`);
      expect(answer.token_type).toBe("pop");
      const sha256 = readPublicKey(keys.client).thumbprint;
      expect(token).toMatchObject({ format: "jwt", allows: ["read", "write"], confirmation: { kind: "key", sha256 } });
    },
  );

  it("proves the client in TLS with its certificate, and binds to that", async () => {
    const line = "--client acme.till --key-file {till/key.pem} --cert {till/certificate.pem} --audience acme.orders";
    const { answer, token } = await get(line);
    expect([answer.token_type, token.confirmation.kind]).toEqual(["Bearer", "certificate"]);
    expect((await get(`${line} --format cwt`)).token).toMatchObject({ format: "cwt", confirmation: { kind: "key" } });
  });

  it("gets a CWT with --format cwt", async () => {
    const { answer, token } = await get(
      "--client acme.web --key-file {client.pem} --api orders --format cwt --scope read",
    );
    expect(answer).toEqual({
      access_token: expect.stringMatching(/^2D3S/),
      token_type: "pop",
      expires_in: 3600,
    });
    expect(token).toMatchObject({ format: "cwt", claims: { sub: "acme.web", scope: "read" }, allows: ["read"] });
    expect(token.bytes).toBe(fromBase64url(answer.access_token).length);
  });

  it.each(["dpop.pem", "dpop.jwk"])("binds to the key in %s by DPoP, as often as it is asked", async (name) => {
    const jkt = jwkThumbprint(readPublicKey(keys.dpop));
    for (const proof of [`--secret ${secret}`, "--key-file {client.pem}"]) {
      const { answer, token } = await get(`--client acme.web ${proof} --api orders --dpop-key {${name}}`);
      expect(answer.token_type).toBe("DPoP");
      expect(token).toMatchObject({
        claims: { cnf: { jkt } },
        confirmation: { kind: "thumbprint", sha256: Buffer.from(fromBase64url(jkt)).toString("hex") },
      });
    }
  });

  it("asks as the agent of a folder, for an audience or an api of its own", async () => {
    for (const which of ["--audience acme.orders", "--api orders"]) {
      const { answer, token } = await get(`--dir {till} ${which}`);
      expect(answer).toMatchObject({ token_type: "pop", expires_in: expect.any(Number) });
      expect(token).toMatchObject({ format: "cwt", claims: { sub: "acme.till", aud: "acme.orders" } });
    }
    const { stderr, exitCode } = await installation.run(`token get ${inFolder("--dir {till}")} --audience acme.open`);
    expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/^postern: token get: .*acme\.open.*\n$/)]);
  });

  it.each<[what: string, line: string, bound: () => RegExp]>([
    [
      "a key",
      "--client acme.web --key-file {client.pem} --api orders",
      () => new RegExp(`^key ${readPublicKey(keys.client).thumbprint}$`),
    ],
    [
      "the key of DPoP proofs",
      "--client acme.web --secret SECRET --api orders --dpop-key {dpop.pem}",
      () => new RegExp(`^the key of DPoP proofs ${jwkThumbprint(readPublicKey(keys.dpop))}$`),
    ],
    [
      "a certificate",
      "--client acme.till --key-file {till/key.pem} --cert {till/certificate.pem} --audience acme.orders",
      () => /^certificate [0-9a-f]{64}$/,
    ],
  ])("binds to %s, as the authority says when it is asked", async (_, line, bound) => {
    const { answer } = await get(line.replace("SECRET", secret));
    const { stdout } = await installation.run(`token verify ${answer.access_token}`);
    expect(/^bound to +(.*)$/m.exec(stdout)?.[1]).toMatch(bound());
  });

  it("asks for the audience that is named, of several", async () => {
    for (const which of ["--audience acme.open", "--api open"]) {
      const { token } = await get(`--client acme.web --secret ${secret} ${which}`);
      expect(token.claims.aud).toBe("acme.open");
    }
  });

  it("asks for scopes by name, several of them", async () => {
    const line = `--client acme.web --secret ${secret} --api open --scope`;
    expect((await get(`${line} write`)).token.allows).toEqual(["write"]);
    expect((await get(`${line} write --scope admin --scope read`)).answer.scope).toBe("read write");
  });

  it.each([
    ["--secret wrong --api open", /^invalid_client: client authentication failed(?: \(id \S+\))?$/],
    ["--key-file {other.pem} --api open", /^invalid_client: client authentication failed(?: \(id \S+\))?$/],
    ["--key-file {other.pem} --format cwt", /^invalid_client: client authentication failed(?: \(id \S+\))?$/],
    ["--secret SECRET --api orders", /^invalid_request: this api takes tokens bound to a key only(?: \(id \S+\))?$/],
    ["--secret SECRET --api open --format cwt", /^invalid_request: this api takes tokens bound to a key only/],
    ["--secret SECRET --api nothing", /^invalid_request: the audience is not known/],
    ["--secret SECRET --api open --scope admin", /^invalid_scope: nothing of the requested scope is allowed/],
    ["--key-file {missing.pem}", /^\S+missing\.pem cannot be read \(ENOENT\)$/],
    ["--key-file {public.jwk}", /^\S+public\.jwk holds no private key, neither in PEM nor as a JWK$/],
    ["--key-file {not-a-key}", /^\S+not-a-key holds no private key, neither in PEM nor as a JWK$/],
    ["--key-file {rsa.pem}", /^\S+rsa\.pem holds a private key that is not on P-256$/],
    ["--secret SECRET --dpop-key {rsa.pem}", /^\S+rsa\.pem holds a private key that is not on P-256$/],
    ["--key-file {till/key.pem} --cert {missing.pem}", /^\S+missing\.pem cannot be read \(ENOENT\)$/],
    ["--key-file {till/key.pem} --cert {not-a-key}", /^\S+not-a-key holds no certificate in PEM$/],
    [
      "--key-file {client.pem} --cert {till/certificate.pem}",
      /^\S+certificate\.pem is the certificate of another key$/,
    ],
    ["--secret SECRET --ca {not-a-key}", /^\S+not-a-key holds no certificate in PEM$/],
  ])("fails with %s", async (flags, why) => {
    const line = `token get --client acme.web ${inFolder(flags).replace("SECRET", secret)}`;
    const { stdout, stderr, exitCode } = await installation.run(line);
    expect([stdout, exitCode]).toEqual(["", 1]);
    expect(stderr).toMatch(/^postern: token get: .*\n$/);
    expect(stderr.slice("postern: token get: ".length, -1)).toMatch(why);
    expect(stderr).not.toContain(secret);
  });

  it.each([
    [600, "cwt", /; the clock here is (599|600|601) s ahead of that of the authority$/],
    [-600, "jwt", /; the clock here is (599|600|601) s behind that of the authority$/],
    [0, "jwt", /\(id [\w-]{12}\)$/],
  ] as const)("with a clock that is %d s off, which signs what is refused, %s: says so", async (off, format, why) => {
    const { url, issuer, ca } = readPlace(installation.dataDir);
    const wish = { url: url!, issuer: issuer!, ca, clientId: "acme.web", audience: "acme.open", scope: undefined };
    const nowSeconds = Math.floor(Date.now() / 1000) + off;
    // a key that is not the client's, where nothing is wrong with the clock
    const signer = createSigner("", off === 0 ? keys.other : keys.client);
    const asked = (proof: ClientProof) => askToken({ ...wish, nowSeconds, format, dpop: undefined, proof });
    await expect(asked({ kind: "key", signer })).rejects.toThrow(why);
    await expect(asked({ kind: "secret", secret: "wrong" })).rejects.toThrow(/\(id [\w-]{12}\)$/);
  });

  it("says so as well where a DPoP proof is all that was signed", async () => {
    const { url, issuer, ca } = readPlace(installation.dataDir);
    const wish = { url: url!, issuer: issuer!, ca, clientId: "acme.web", audience: "acme.orders", scope: undefined };
    const [dpop, proof] = [createSigner("", keys.dpop), { kind: "secret", secret } as const];
    const nowSeconds = Math.floor(Date.now() / 1000) - 600;
    await expect(askToken({ ...wish, nowSeconds, format: "jwt", dpop, proof })).rejects.toThrow(
      /; the clock here is (599|600|601) s behind that of the authority$/,
    );
  });

  it.each([
    ["--client a.b --secret x --key-file k", "give --secret or --key-file, not both"],
    ["--client a.b --secret x --cert c", "give --cert together with --key-file"],
    ["--client a.b --cert c", "give --cert together with --key-file"],
    [
      "--client a.b --secret x --dpop-key k --format cwt",
      "give --dpop-key or --format cwt, not both: DPoP is for JWTs",
    ],
    ["--client a.b --secret x --scope pub:a --scope read", "--scope is either permissions or plain scopes"],
    ["--client a.b --secret x --scope pub:", "--scope pub:: empty"],
    ["--client a.b --secret x --scope sub:a#", "--scope sub:a#: a wildcard within a level"],
    ["--dir d --scope read", "--scope read: a permission is pub:FILTER, sub:FILTER or pubsub:FILTER"],
    ["--dir d --secret x", "give --dir or --client, not both"],
    [
      "--dir d --format cwt",
      "an agent has its own key and its own form of tokens: give --client, or none of the options of a client",
    ],
    ["--dir d --client a.b", "give --dir or --client, not both"],
    [
      "--dir d --dpop-key k",
      "an agent has its own key and its own form of tokens: give --client, or none of the options of a client",
    ],
    [
      "--client a.b --secret x --format saml",
      "option '--format <format>' argument 'saml' is invalid. Allowed choices are cwt, jwt.",
    ],
  ])("is called wrongly with %s", async (flags, why) => {
    expect(await postern(`token get ${flags}`.split(" "))).toEqual({
      stdout: "",
      stderr: `postern: token get: ${why}\n`,
      exitCode: 2,
    });
  });

  it("is called wrongly with two keys to be bound to", async () => {
    const line = inFolder(
      "token get --client acme.till --key-file {client.pem} --cert {till/certificate.pem} --dpop-key x",
    );
    const { stderr, exitCode } = await installation.run(line);
    expect([stderr, exitCode]).toEqual([
      "postern: token get: give --dpop-key or --cert, not both: a token is bound to one key\n",
      2,
    ]);
  });
});
