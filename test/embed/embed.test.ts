/** The gate in an Aedes of one's own: the published example as it stands, and createGate's options. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createGate, durableStore, emitter } from "../../broker/index.ts";
import { encode } from "../../shared/cbor.ts";
import { readPublicKey, toCoseKey, toJwk } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { createSigner } from "../../shared/es256.ts";
import type { Signer } from "../../shared/es256.ts";
import { makeAuthority, makePrivateKey } from "../gate/certificates.ts";
import type { TestAuthority } from "../gate/certificates.ts";
import { userName } from "../gate/fixture.ts";
import { Wire } from "../gate/wire.ts";

const issuer = "https://issuer.test";
const audience = "acme.telemetry";
const example = fileURLToPath(new URL("../../examples/embed.mjs", import.meta.url));
const toJwks = (keys: Record<string, PublicKey>) => ({
  keys: Object.entries(keys).map(([kid, key]) => ({ ...toJwk(key), kid })),
});

describe("the example", () => {
  let authority: TestAuthority;
  let directory: string;
  let keyServer: Server;
  let program: ChildProcess;
  let port: number;
  const published: Record<string, PublicKey> = {};
  const signer = createSigner("e1", makePrivateKey());

  beforeAll(async () => {
    authority = await makeAuthority();
    const server = await authority.server();
    directory = mkdtempSync(join(tmpdir(), "postern-embed-"));
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    published["e1"] = signer.publicKey;
    keyServer = createServer({ cert: server.cert, key: server.key }, (_request, response) =>
      response.setHeader("content-type", "application/jwk-set+json").end(JSON.stringify(toJwks(published))),
    );
    keyServer.listen(0, "localhost");
    await once(keyServer, "listening");
    program = spawn(process.execPath, [example], {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        ISSUER: issuer,
        AUDIENCE: audience,
        KEYS_URL: `https://localhost:${(keyServer.address() as AddressInfo).port}/jwks.json`,
        CA_FILE: file("ca.pem", authority.cert),
        CERT_FILE: file("server.pem", server.cert),
        KEY_FILE: file("server.key", server.key),
        STORE_FILE: join(directory, "mqtt.db"),
        PORT: "0",
      },
    });
    const [line] = (await once(createInterface({ input: program.stdout! }), "line")) as [string];
    port = Number(/^listening on (\d+)$/.exec(line)?.[1]);
  });
  afterAll(async () => {
    program.kill();
    await once(program, "exit");
    keyServer.close();
    rmSync(directory, { recursive: true });
  });

  async function enter(by: Signer, allow: string, clean = true): Promise<{ wire: Wire; code: number }> {
    const privateKey = makePrivateKey();
    const wire = await Wire.open({ port, ca: authority.cert });
    const iat = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer, sub: "acme.pump", aud: audience, iat, exp: iat + 60, id: Buffer.of(1) };
    const scope = [{ filter: allow, pub: true, sub: true }];
    const cnf = { kind: "key", key: readPublicKey(privateKey) } as const;
    const username = userName(mintCwt({ ...claims, cnf, scope }, by));
    const { returnCode } = await wire.connect({
      clientId: "acme.pump",
      clean,
      username,
      password: wire.prove(privateKey),
    });
    return { wire, code: returnCode! };
  }

  it("has at most twenty lines", () => {
    expect(readFileSync(example, "utf8").trimEnd().split("\n").length).toBeLessThanOrEqual(20);
  });

  it("lets a client with a token do what the token says and nothing else", async () => {
    const { wire, code } = await enter(signer, "a/+", false);
    expect(code).toBe(0);
    expect(await wire.subscribe(["a/+", "b/+"], 1)).toEqual([1, 128]);
    await wire.publish("a/1", "hello", { qos: 1 });
    expect(await wire.message()).toMatchObject({ topic: "a/1", payload: "hello" });
    await wire.publish("b/1");
    await wire.closed;
  });

  it("refuses a token by a key that is not published", async () => {
    const unknown = createSigner("e2", makePrivateKey());
    expect((await enter(unknown, "a/+")).code).toBe(4);
  });

  it("lets nobody in with nothing but a name", async () => {
    const wire = await Wire.open({ port, ca: authority.cert });
    expect(
      (await wire.connect({ clientId: "acme.pump", username: "pump", password: Buffer.from("secret") })).returnCode,
    ).toBe(4);
  });
});

describe("createGate", () => {
  const pieces = (): { emitter: object; store: object } => {
    return { emitter: emitter(), store: durableStore({ file: ":memory:" }) };
  };
  const key = createSigner("k", makePrivateKey()).publicKey;
  it.each([
    ["a JWK Set", { keys: toJwks({ k: key }) }],
    ["a COSE Key Set", { keys: encode([toCoseKey(key, { kid: Buffer.from("k") })]) }],
  ])("takes %s", async (_name, options) => {
    const gate = await createGate({ issuer, audiences: [audience], ...pieces(), ...options });
    expect(Object.keys(gate.options)).toEqual(
      expect.arrayContaining([
        "preConnect",
        "authenticate",
        "authorizePublish",
        "authorizeSubscribe",
        "authorizeForward",
        "persistence",
      ]),
    );
    gate.close();
  });

  it.each([
    ["no audience", { keys: toJwks({ k: key }) }],
    ["neither keys nor a URL", { audience }],
    ["both", { audience, keys: toJwks({ k: key }), keysUrl: "https://x.test" }],
    ["an authority that is none", { audience, keys: toJwks({ k: key }), deviceAuthorities: "nothing" }],
  ])("rejects options with %s", async (_name, options) => {
    await expect(createGate({ issuer, ...pieces(), ...options })).rejects.toThrow(TypeError);
  });

  it("rejects keys of which none can be used", async () => {
    await expect(createGate({ issuer, audience, ...pieces(), keys: { keys: [] } })).rejects.toThrow("key.malformed");
  });
});
