/**
 * Attacks on a provider's verifier: by whoever brings tokens, proofs and headers, and by whoever sits between the provider and
 * its authority or moves their clocks.
 */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request as openRequest, Agent } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import express from "express";
import { fastify } from "fastify";
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fromBase64url, toBase64url } from "../../../shared/base64url.ts";
import { toJwtClaims } from "../../../shared/claims.ts";
import { jwkThumbprint } from "../../../shared/cose-key.ts";
import { twinOf } from "../../../shared/es256.ts";
import { inspectToken } from "../../../shared/token.ts";
import { encodeTrl, TRL_CBOR } from "../../../shared/trl.ts";
import { createGuard, protect, protectExpress, protectFastify, protectHono } from "../../../verify/index.ts";
import type { IncomingHttp, Verifier, VerifierOptions } from "../../../verify/index.ts";
import { CREDENTIAL, makeSigner, openRoom, reasonOf, until, type Room } from "../../verify/issuer.ts";

let room: Room;
beforeEach(async () => void (room = await openRoom()));
afterEach(async () => {
  vi.useRealTimers();
  await room.close();
});

const later = (seconds: number): void => void (room.clock.ms += seconds * 1000);
const isHeld = (): boolean => room.issuer.holding === 1;
const failing = (path: string, status = 503): void =>
  void room.issuer.faults.set(path, (response) => void response.writeHead(status).end());
const asking = (options: Partial<VerifierOptions> = {}): Promise<Verifier> =>
  room.open({ credential: CREDENTIAL, mode: "introspect", ...options });
async function fed(options: Partial<VerifierOptions> = {}): Promise<Verifier> {
  const verifier = await room.open({ credential: CREDENTIAL, ...options });
  await until(isHeld);
  return verifier;
}

/** What the authority says of an active token, with some of it changed. */
function activate(token: string, changed: Record<string, unknown> = {}): string {
  const claims = toJwtClaims(inspectToken(token).claims);
  room.issuer.answers.set(token, { active: true, ...claims, token_type: "Bearer", time: room.clock.now, ...changed });
  return token;
}
function toTwin(token: string): string {
  const end = token.lastIndexOf(".") + 1;
  return token.slice(0, end) + toBase64url(twinOf(fromBase64url(token.slice(end))));
}
/** Keeps the next answer of an endpoint back until it is called. */
function hold(path: string): {
  readonly isAsked: () => boolean;
  readonly answer: (send: (r: ServerResponse) => void) => void;
} {
  let held: ServerResponse | undefined;
  room.issuer.faults.set(path, (response) => {
    if (held !== undefined) return false;
    held = response;
    return true;
  });
  return { isAsked: () => held !== undefined, answer: (send) => send(held!) };
}
const json = (value: unknown) => (response: ServerResponse) =>
  void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));

describe("a token that has ended", () => {
  test("before somebody watched it, though after it was let in, ends what is watched at once", async () => {
    const verifier = await fed();
    const token = room.mint();
    const principal = await verifier.verify(token);
    room.issuer.revoke(token);
    await until(() => verifier.status().revokedTokens === 1);
    const reasons: string[] = [];
    verifier.watch(principal, (reason) => reasons.push(reason));
    expect(reasons).toEqual([]);
    await until(() => reasons.length > 0);
    expect(reasons).toEqual(["token.revoked"]);
  });

  test("by a clock that was put forward ends what is watched within a minute", async () => {
    const verifier = await room.open();
    const principal = await verifier.verify(room.mint({ exp: room.clock.now + 86_400 }));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const reasons: string[] = [];
    verifier.watch(principal, (reason) => reasons.push(reason));
    room.clock.now += 86_400;
    vi.advanceTimersByTime(60_000);
    expect(reasons).toEqual(["token.expired"]);
  });

  test("while the keys were fetched for it is not let in", async () => {
    const verifier = await fed();
    const next = makeSigner("k2");
    room.issuer.published.push(next);
    later(30);
    const token = room.mint({}, next);
    const { isAsked, answer } = hold("/jwks");
    const verifying = reasonOf(verifier.verify(token));
    await until(isAsked);
    room.issuer.revoke(token);
    await until(() => verifier.status().revokedTokens === 1);
    room.issuer.faults.clear();
    answer((response) => response.destroy());
    expect(await verifying).toBe("token.revoked");
  });

  test.each([
    ["was revoked", "token.revoked"],
    ["has expired", "token.expired"],
  ])("and %s while the authority was asked is not let in, whatever the answer", async (name, reason) => {
    const verifier = await fed({ scopes: { write: "introspect" } });
    const token = activate(room.mint());
    const { isAsked, answer } = hold("/introspect");
    const verifying = reasonOf(verifier.verify(token, { scopes: ["write"] }));
    await until(isAsked);
    if (name === "has expired") room.clock.now += 600;
    else {
      room.issuer.revoke(token);
      await until(() => verifier.status().revokedTokens === 1);
    }
    answer(json(room.issuer.answers.get(token)));
    expect(await verifying).toBe(reason);
  });

  test("is not good in its other spelling because that was good before", async () => {
    const verifier = await asking({ whenUnreachable: { lastKnownGoodSeconds: 100 } });
    const token = activate(room.mint());
    const twin = activate(toTwin(token));
    for (const one of [token, twin]) await verifier.verify(one);
    room.issuer.answers.clear();
    expect(await reasonOf(verifier.verify(token))).toBe("token.inactive");
    failing("/introspect");
    expect(await reasonOf(verifier.verify(twin))).toBe("authority.unreachable");
  });
});

describe("between the provider and its authority", () => {
  test("an answer that was kept on its way does not make the list younger", async () => {
    const verifier = await fed();
    const token = room.mint();
    await verifier.verify(token);
    later(59);
    room.issuer.revoke(room.mint());
    await until(() => verifier.status().revokedTokens === 1);
    expect(verifier.status().feedAgeSeconds).toBe(59);
    later(2);
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  test("updates that were lost before the first one are made up for by the whole list", async () => {
    const verifier = await fed();
    const token = room.mint();
    const lost = Buffer.from(encodeTrl({ diffSet: [], cursor: null, more: true }));
    room.issuer.faults.set("/trl", (response, request) => {
      if (!request.url!.includes("diff")) return false;
      room.issuer.faults.clear();
      response.writeHead(200, { "content-type": TRL_CBOR }).end(lost);
      return true;
    });
    room.issuer.revoke(token);
    await until(() => verifier.status().revokedTokens === 1);
    expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
    const asked = room.issuer.asked.filter(({ path }) => path === "/trl");
    expect(asked).toHaveLength(2);
  });

  test("an endpoint whose path begins like another host is asked of the issuer", async () => {
    room.issuer.metadata["introspection_endpoint"] = `${room.url}//localhost:1/introspect`;
    const verifier = await asking();
    const token = activate(room.mint());
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "introspection" });
    expect(room.issuer.asked.at(-1)!.request.url).toBe("//localhost:1/introspect");
  });

  test("the answer about another token of the same client is none", async () => {
    const verifier = await asking();
    const [token, other] = [room.mint(), room.mint()];
    activate(token, toJwtClaims(inspectToken(other).claims));
    const error = await verifier.verify(token).catch((one: unknown) => one);
    expect(error).toMatchObject({
      reason: "authority.unreachable",
      detail: "malformed: jti is not that of the token",
    });
  });

  test.each(["feed", "introspect"] as const)(
    "a credential that was refused is not made up for in mode %s by what was good before, nor by an outage",
    async (mode) => {
      const options = { mode, whenUnreachable: { lastKnownGoodSeconds: 1000 } };
      const verifier = mode === "feed" ? await fed(options) : await asking(options);
      const token = activate(room.mint());
      await verifier.verify(token);
      const path = mode === "feed" ? "/trl" : "/introspect";
      failing(path, 401);
      room.issuer.release();
      await until(async () => {
        await reasonOf(verifier.verify(token));
        return verifier.status().lastError === "refused: status 401";
      });
      later(61);
      expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
      failing(path);
      await until(async () => {
        await reasonOf(verifier.verify(token));
        return verifier.status().lastError === "failed: status 503";
      });
      expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
      expect(verifier.status().lastKnownGood).toBe(0);
    },
  );
});

describe("closing lets nobody in any more", () => {
  test("who waits for the authority", async () => {
    const verifier = await asking({ whenUnreachable: { lastKnownGoodSeconds: 100 } });
    const token = activate(room.mint());
    await verifier.verify(token);
    const { isAsked } = hold("/introspect");
    const verifying = reasonOf(verifier.verify(token));
    await until(isAsked);
    await verifier.close();
    expect(await verifying).toBe("authority.unreachable");
  });

  test("who waits for a key", async () => {
    const verifier = await room.open();
    const next = makeSigner("k2");
    room.issuer.published.push(next);
    later(30);
    const { isAsked, answer } = hold("/jwks");
    const verifying = reasonOf(verifier.verify(room.mint({}, next)));
    await until(isAsked);
    const closing = verifier.close();
    answer(json({ keys: [] }));
    await closing;
    expect(await verifying).toMatch(/^(?:authority\.unreachable|token\.key-unknown)$/);
  });
});

describe("made-up key ids", () => {
  const made = (kid: string): Promise<unknown> => reasonOf(verifier.verify(room.mint({}, makeSigner(kid))));
  let verifier: Verifier;

  test("delay a new key by a tenth of the pause, and not by all of it", async () => {
    verifier = await room.open();
    later(30);
    expect(await made("a")).toBe("token.key-unknown");
    const next = makeSigner("k2");
    room.issuer.published.push(next);
    later(2.9);
    expect(await made("b")).toBe("token.key-unknown");
    expect(await reasonOf(verifier.verify(room.mint({}, next)))).toBe("token.key-unknown");
    later(0.1);
    expect(await verifier.verify(room.mint({}, next))).toMatchObject({ client: "plant.board" });
    expect(room.issuer.count("/jwks")).toBe(3);
  });

  test("make the keys be fetched ten times in a pause at most, and each of them once", async () => {
    verifier = await room.open();
    for (let second = 0; second < 30; second++) {
      later(1);
      for (const kid of [`made-up-${second}`, `again-${second}`, "stale"]) await made(kid);
    }
    expect(room.issuer.count("/jwks")).toBe(1 + 10);
    later(2);
    const before = room.issuer.count("/jwks");
    expect(await made("stale")).toBe("token.key-unknown");
    expect(room.issuer.count("/jwks")).toBe(before);
  });

  test("that were sought while the authority was away are sought again when it is there", async () => {
    verifier = await room.open();
    const next = makeSigner("k2");
    room.issuer.published.push(next);
    const token = room.mint({}, next);
    later(30);
    failing("/jwks");
    expect(await reasonOf(verifier.verify(token))).toBe("token.key-unknown");
    room.issuer.faults.clear();
    later(1);
    expect(await verifier.verify(token)).toMatchObject({ client: "plant.board" });
  });
});

describe("a flood of DPoP proofs", () => {
  test("by one client with many keys keeps no other out", async () => {
    const verifier = await room.open({ proofsKept: 12 });
    const request = { method: "GET", url: "https://api.example/things" };
    const call = (sub: string): Promise<unknown> => {
      const signer = makeSigner();
      const token = room.mint({ sub, cnf: { kind: "thumbprint", jkt: jwkThumbprint(signer.publicKey) } });
      return reasonOf(verifier.verify(token, { ...request, dpop: room.prove(signer, token) }));
    };
    for (let round = 0; round < 6; round++) expect(await call("plant.flood")).toMatchObject({ client: "plant.flood" });
    for (let round = 0; round < 6; round++) expect(await call("plant.flood")).toBe("rate.limited");
    expect(await call("plant.board")).toMatchObject({ client: "plant.board" });
  });
});

describe("a guard", () => {
  const origin = "https://api.example";
  const request = (changed: Partial<IncomingHttp> = {}): IncomingHttp => ({
    method: "GET",
    target: "/things",
    headers: [["authorization", `Bearer ${room.mint()}`]],
    ...changed,
  });
  const decide = async (incoming: IncomingHttp, options: object = {}) => {
    const verifier = await room.open({ origin });
    return createGuard(verifier, options, () => incoming)({});
  };
  const challengesOf = (answer: { headers: Readonly<Record<string, unknown>> } | undefined): readonly string[] =>
    answer!.headers["www-authenticate"] as readonly string[];

  test.each(["constructor", "__proto__", "toString", "Bear er", "Bearer,", "\u00a0"])(
    "takes no token after the scheme %j",
    async (scheme) => {
      const { answer } = await decide(request({ headers: [["authorization", `${scheme} ${room.mint()}`]] }));
      expect(answer?.status).toBe(401);
      expect(room.lines.at(-1)).toMatchObject({ reason: "credential.missing" });
    },
  );

  test.each<[string, [string, string][], 0 | 1]>([
    ["DPoP", [["authorization", "DPoP a b"]], 1],
    ["DPoP without a token", [["authorization", "dpop"]], 1],
    ["Bearer", [["authorization", "Bearer a b"]], 0],
    [
      "DPoP with two proofs",
      [
        ["authorization", "DPoP a"],
        ["dpop", "a"],
        ["DPOP", "b"],
      ],
      1,
    ],
    [
      "either",
      [
        ["authorization", "DPoP a"],
        ["authorization", "Bearer a"],
      ],
      0,
    ],
  ])("says what is wrong in the challenge of the scheme that was tried: %s", async (_name, headers, place) => {
    const { answer } = await decide(request({ headers }));
    expect(answer?.status).toBe(400);
    const challenges = challengesOf(answer);
    expect(challenges.map((one) => one.includes('error="invalid_request"'))).toEqual([place === 0, place === 1]);
  });

  test("lets no realm, scope or origin write header fields of their own", async () => {
    const spoiled = { realm: 'x"\r\nset-cookie: a=b\\', scopes: ['read"\r\nx: y'] };
    const { answer } = await decide(request(), spoiled);
    expect(answer?.status).toBe(403);
    for (const challenge of challengesOf(answer)) {
      expect(challenge).toMatch(
        /^(?:Bearer|DPoP) realm="xset-cookie: a=b"(?:, [\w]+="[\x20-\x21\x23-\x5b\x5d-\x7e]*")*$/,
      );
    }
  });

  test.each(["@evil.example/things", ":443@evil.example/things", ".evil.example/things"])(
    "does not take a proof for another host because of the target %s",
    async (target) => {
      const signer = makeSigner();
      const token = room.mint({ cnf: { kind: "thumbprint", jkt: jwkThumbprint(signer.publicKey) } });
      const elsewhere = new URL(`${origin}${target}`).href;
      const dpop = room.prove(signer, token, { url: elsewhere });
      const headers: [string, string][] = [
        ["authorization", `DPoP ${token}`],
        ["dpop", dpop],
      ];
      const { answer } = await decide(request({ target, headers }));
      expect([new URL(elsewhere).host === "api.example", answer?.status]).toEqual([false, 401]);
      expect(room.lines.at(-1)).toMatchObject({ reason: "dpop.url" });
    },
  );

  test("answers also where the log of the provider or what reads the request is broken", async () => {
    const verifier = await room.open();
    const broken = (): never => {
      throw new Error("the disk is full");
    };
    const log = { info: broken, warn: broken, error: broken };
    const silent = { ...verifier, audience: "plant.tele", origin: undefined, log, verify: broken };
    for (const read of [() => request(), broken, () => request({ target: undefined as unknown as string })]) {
      const { principal, answer } = await createGuard(silent, {}, read)({});
      expect([principal, answer?.status]).toEqual([undefined, 500]);
    }
    const stranger = createGuard({ ...silent, verify: verifier.verify.bind(verifier) }, {}, () =>
      request({ headers: [] }),
    );
    expect((await stranger({})).answer?.status).toBe(401);
  });

  test.each(["protectExpress", "protect"])("of %s leaves alone what was answered meanwhile", async (name) => {
    const verifier = await asking();
    const { isAsked, answer } = hold("/introspect");
    const handled: string[] = [];
    const response = { headersSent: false, statusCode: 0, setHeader: () => handled.push("header") };
    const outgoing = { ...response, end: () => handled.push("end"), destroy: () => handled.push("destroy") };
    const rawHeaders = ["authorization", `Bearer ${room.mint()}`];
    const incoming = { method: "GET", url: "/", rawHeaders, socket: {} };
    const next = (): void => void handled.push("next");
    const running =
      name === "protect"
        ? protect(verifier, {}, next)(incoming, outgoing)
        : protectExpress(verifier)(incoming, outgoing, next);
    await until(isAsked);
    outgoing.headersSent = true;
    answer(json({ active: false }));
    await running;
    await until(() => room.lines.some(({ msg }) => msg === "refused"));
    await new Promise(setImmediate);
    expect(handled).toEqual([]);
  });
});

describe("a route that is protected for all methods and below a prefix", () => {
  const handled: string[] = [];
  beforeEach(() => void (handled.length = 0));
  const note = (method: string | undefined): string => {
    handled.push(method ?? "");
    return "in";
  };
  type Open = (verifier: Verifier) => Promise<{ port: number; close: () => unknown }>;
  const listen = async (server: import("node:http").Server): Promise<{ port: number; close: () => unknown }> => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return {
      port: (server.address() as AddressInfo).port,
      close: () => (server.closeAllConnections(), server.close()),
    };
  };
  const servers: Record<string, Open> = {
    express: (verifier) => {
      const app = express();
      const router = express.Router();
      router.use(protectExpress(verifier, { scopes: ["read"] }));
      router.all("/things", (request, response) => void response.send(note(request.method)));
      app.use("/v", router);
      return listen(createServer(app));
    },
    async fastify(verifier) {
      const app = fastify();
      await app.register(
        async (inner) => {
          inner.addHook("onRequest", protectFastify(verifier, { scopes: ["read"] }));
          inner.all("/things", (request) => note(request.method));
          inner.setNotFoundHandler((request) => note(request.method));
        },
        { prefix: "/v" },
      );
      await app.listen({ port: 0, host: "127.0.0.1" });
      return { port: (app.server.address() as AddressInfo).port, close: () => app.close() };
    },
    async hono(verifier) {
      const inner = new Hono();
      inner.use("*", protectHono(verifier, { scopes: ["read"] }));
      inner.all("/things", (c) => c.text(note(c.req.method)));
      inner.get("*", (c) => c.text(note(c.req.method)));
      const app = new Hono();
      app.route("/v", inner);
      const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }) as import("node:http").Server;
      if (!server.listening) await once(server, "listening");
      return { port: (server.address() as AddressInfo).port, close: () => server.close() };
    },
    node: (verifier) => {
      const answer = (request: IncomingMessage, response: ServerResponse): void =>
        void response.end(note(request.method));
      return listen(createServer(protect(verifier, { scopes: ["read"] }, answer)));
    },
  };

  describe.each(Object.keys(servers))("%s", (framework) => {
    test("runs for nobody without a token, over a connection of somebody with one either", async () => {
      const { port, close } = await servers[framework]!(await room.open());
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const send = (method: string, path: string, authorization?: string): Promise<number> =>
        new Promise((resolve, reject) => {
          const headers = { ...(authorization !== undefined && { authorization }), "content-length": 0 };
          const request = openRequest({ host: "127.0.0.1", port, method, path, agent, headers });
          request.on("error", reject);
          request.on("response", (response) => {
            response.resume();
            response.on("end", () => resolve(response.statusCode!));
          });
          request.end();
        });
      const good = `Bearer ${room.mint()}`;
      expect(await send("GET", "/v/things", good)).toBe(200);
      expect(handled).toEqual(["GET"]);
      for (const method of ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "PATCH"]) {
        for (const path of ["/v/things", "/v/things?x=1", "/v/nothing", "/v/%74hings"]) {
          const status = await send(method, path);
          expect([method, path, status >= 400]).toEqual([method, path, true]);
          if (path.startsWith("/v/things") || path === "/v/%74hings") expect(status).toBe(401);
        }
      }
      expect(handled).toEqual(["GET"]);
      expect(await send("HEAD", "/v/things", good)).toBe(200);
      agent.destroy();
      await close();
    });
  });
});
