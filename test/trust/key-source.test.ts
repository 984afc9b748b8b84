/** Published keys: both forms of a set, what is left out of one, and a source that comes and goes. */
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readCoseKeySet, readJwkSet } from "../../broker/trust/key-set.ts";
import { followKeys } from "../../broker/trust/key-source.ts";
import type { KeySource } from "../../broker/trust/key-source.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { encode } from "../../shared/cbor.ts";
import { readPublicKey, toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

const privateKey = generatePrivateKey();
const pair = { privateKey, publicKey: createPublicKey(privateKey) };
const key = readPublicKey(pair.publicKey);
const other = readPublicKey(generatePrivateKey());
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey.export({ format: "jwk" });
const jwks = (entries: Record<string, typeof key>) => ({
  keys: Object.entries(entries).map(([kid, one]) => ({ ...toJwk(one), kid, use: "sig" })),
});

describe("a key set", () => {
  it("is read from JWKs, without what cannot be used", () => {
    const set = {
      keys: [
        { ...toJwk(key), kid: "a" },
        { ...toJwk(key) },
        { ...rsa, kid: "r" },
        { ...toJwk(other), kid: "e", use: "enc" },
      ],
    };
    expect([...readJwkSet(set).keys()]).toEqual(["a"]);
  });

  it("is read from COSE_Keys, compressed or not", () => {
    const set = encode([
      toCoseKey(key, { kid: Buffer.from("a") }),
      toCoseKey(other, { kid: Buffer.from("b"), uncompressed: true }),
      toCoseKey(key),
    ]);
    expect([...readCoseKeySet(set)].map(([kid, { thumbprint }]) => [kid, thumbprint])).toEqual([
      ["a", key.thumbprint],
      ["b", other.thumbprint],
    ]);
  });

  it.each([
    ["no object", null, "key.malformed"],
    ["no keys", { keys: [] }, "key.malformed"],
    ["no key of ours", { keys: [{ ...rsa, kid: "r" }] }, "key.malformed"],
    ["a private key", { keys: [{ ...pair.privateKey.export({ format: "jwk" }), kid: "p" }] }, "key.private"],
    ["too many keys", { keys: Array.from({ length: 65 }, () => ({ ...toJwk(key), kid: "a" })) }, "key.malformed"],
  ])("with %s is refused", (_name, set, reason) => {
    expect(() => readJwkSet(set)).toThrow(reason);
  });
});

describe("a key source", () => {
  let server: Server;
  let answer: RequestListener;
  let requests = 0;
  let source: KeySource | undefined;
  const json =
    (value: unknown): RequestListener =>
    (_request, response) =>
      response.setHeader("content-type", "application/jwk-set+json").end(JSON.stringify(value));
  beforeEach(async () => {
    requests = 0;
    server = createServer((request, response) => {
      requests += 1;
      answer(request, response);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterEach(() => {
    source?.close();
    source = undefined;
    server.close();
    server.closeAllConnections();
  });
  const follow = async (atMostEveryMilliseconds = 0) => {
    const trust = createMemoryTrust({ issuer: "i" });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    source = await followKeys({ url, sink: trust, log: pino({ level: "silent" }), atMostEveryMilliseconds });
    return { trust, source };
  };

  it("learns new keys and forgets those that are gone", async () => {
    answer = json(jwks({ a: key }));
    const { trust, source } = await follow();
    expect(trust.keyFor("a")?.thumbprint).toBe(key.thumbprint);
    answer = (_request, response) =>
      response
        .setHeader("content-type", "application/cose-key-set")
        .end(encode([toCoseKey(other, { kid: Buffer.from("b") })]));
    await source.refresh();
    expect([trust.keyFor("a"), trust.keyFor("b")?.thumbprint]).toEqual([undefined, other.thumbprint]);
  });

  it.each<[string, RequestListener, RegExp]>([
    ["an error", (_request, response) => response.writeHead(500).end(), /status 500/],
    ["a redirect", (_request, response) => response.writeHead(302, { location: "/other" }).end(), /status 302/],
    ["a broken connection", (request) => request.socket.destroy(), /hang up|ECONNRESET/],
    [
      "another type",
      (_request, response) => response.setHeader("content-type", "text/html").end("{}"),
      /neither a JWK Set/,
    ],
    ["no JSON", (_request, response) => response.setHeader("content-type", "application/json").end("{"), /JSON/],
    [
      "too much",
      (_request, response) => response.setHeader("content-type", "application/json").end(" ".repeat(100_000)),
      /larger than/,
    ],
  ])("keeps the last keys after %s, and does not start with it", async (_name, failure, message) => {
    answer = json(jwks({ a: key }));
    const { trust, source } = await follow();
    answer = failure;
    await source.refresh();
    expect(trust.keyFor("a")).toBeDefined();
    await expect(follow()).rejects.toThrow(message);
  });

  it("asks once for many, and not again within the time", async () => {
    answer = json(jwks({ a: key }));
    const { source } = await follow();
    await Promise.all([source.refresh(), source.refresh(), source.refresh()]);
    expect(requests).toBe(2);
    source.close();
    const slow = await follow(60_000);
    await slow.source.refresh();
    expect(requests).toBe(3);
  });

  it("does not fetch keys over plain http from elsewhere", async () => {
    const options = { sink: createMemoryTrust({ issuer: "i" }), log: pino({ level: "silent" }) };
    await expect(followKeys({ ...options, url: "http://keys.example/jwks" })).rejects.toThrow(TypeError);
  });
});
