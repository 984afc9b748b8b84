/** Protected routes in every framework, over real HTTP: who is let in, and the exact answer to everybody else. */
import { createHmac } from "node:crypto";
import { request as openRequest } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { toBase64url } from "../../shared/base64url.ts";
import { toJwk, jwkThumbprint } from "../../shared/cose-key.ts";
import type { Verifier } from "../../verify/index.ts";
import { frameworks, type Provider } from "./frameworks.ts";
import { makeSigner, openRoom, type Room } from "./issuer.ts";

interface Answer {
  readonly status: number;
  readonly challenges: string[];
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

const origin = "https://api.example";
const signer = makeSigner();
let room: Room;
let verifier: Verifier;
beforeAll(async () => {
  room = await openRoom();
  verifier = await room.open({ origin });
});
afterAll(() => room.close());
beforeEach(() => void (room.lines.length = 0));

/** Header fields are sent as they stand here, each as often as it does. */
function send(port: number, target: string, fields: [string, string][] = [], body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const host = fields.some(([name]) => name.toLowerCase() === "host") ? [] : [["host", "api.example"]];
    const headers = [...host, ...fields, ["connection", "close"]].flat();
    const length = body === undefined ? [] : ["content-length", `${Buffer.byteLength(body)}`];
    const request = openRequest({
      host: "127.0.0.1",
      port,
      path: target,
      method: body === undefined ? "GET" : "POST",
      headers: [...headers, ...length] as unknown as Record<string, string>,
    });
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const { statusCode = 0, headersDistinct } = response;
        // one field or several (RFC 9110, section 11.6.1)
        const challenges = (headersDistinct["www-authenticate"] ?? []).flatMap((one) => one.split(/, (?=DPoP )/));
        resolve({ status: statusCode, challenges, headers: response.headers, body: Buffer.concat(chunks).toString() });
      });
    });
    request.end(body);
  });
}

const bearer = (token: string): [string, string][] => [["authorization", `Bearer ${token}`]];
const part = (value: object): string => toBase64url(Buffer.from(JSON.stringify(value)));
const reason = (): unknown => room.lines.findLast(({ msg }) => msg === "refused" || msg === "failed")?.["reason"];
const mintBound = (): string => room.mint({ cnf: { kind: "thumbprint", jkt: jwkThumbprint(signer.publicKey) } });
const dpop = (token: string, proof: string): [string, string][] => [
  ["authorization", `DPoP ${token}`],
  ["dpop", proof],
];
const url = `${origin}/v/things`;

function forge(header: object, sign: (text: string) => string): string {
  const text = `${part({ typ: "at+jwt", kid: "k1", ...header })}.${room.mint().split(".")[1]}`;
  return `${text}.${sign(text)}`;
}
const withHmac = (): string => {
  const pem = room.issuer.signer.publicKey.keyObject.export({ type: "spki", format: "pem" });
  return forge({ alg: "HS256" }, (text) => createHmac("sha256", pem).update(text).digest("base64url"));
};
const withOwnKey = (): string =>
  forge({ alg: "ES256", jwk: toJwk(signer.publicKey) }, (text) => toBase64url(signer.sign(Buffer.from(text))));

/** Fields, target and body of a request; then status, error, scheme of the challenge that has it, and the reason in the log. */
type Row = [
  name: string,
  request: () => { fields?: [string, string][]; target?: string; body?: string },
  status: number,
  error: string,
  reason: string,
  scheme?: "DPoP",
];
const form: [string, string] = ["content-type", "application/x-www-form-urlencoded"];
const rows: Row[] = [
  [
    "Bearer without a token",
    () => ({ fields: [["authorization", "Bearer"]] }),
    400,
    "invalid_request",
    "credential.malformed",
  ],
  ["two tokens in a header", () => ({ fields: bearer("a b") }), 400, "invalid_request", "credential.malformed"],
  ["a token in quotes", () => ({ fields: bearer('"a"') }), 400, "invalid_request", "credential.malformed"],
  ["what is no token", () => ({ fields: bearer("abc") }), 401, "invalid_token", "cbor.truncated"],
  [
    "a token for another audience",
    () => ({ fields: bearer(room.mint({ aud: "x.y" })) }),
    401,
    "invalid_token",
    "token.audience",
  ],
  [
    "an expired token",
    () => ({ fields: bearer(room.mint({ exp: room.clock.now })) }),
    401,
    "invalid_token",
    "token.expired",
  ],
  [
    "a token of another issuer",
    () => ({ fields: bearer(room.mint({ iss: "https://x" }, signer)) }),
    401,
    "invalid_token",
    "token.issuer",
  ],
  [
    "a token of an unknown key",
    () => ({ fields: bearer(room.mint({}, makeSigner("k9"))) }),
    401,
    "invalid_token",
    "token.key-unknown",
  ],
  [
    "a token of 5 KiB",
    () => ({ fields: bearer(`a.${"a".repeat(5 * 1024)}.a`) }),
    401,
    "invalid_token",
    "token.too-large",
  ],
  ["a token of 8 KiB", () => ({ fields: bearer("a".repeat(8 * 1024)) }), 401, "invalid_token", "token.too-large"],
  ["alg none", () => ({ fields: bearer(forge({ alg: "none" }, () => "")) }), 401, "invalid_token", "token.algorithm"],
  ["HS256 with the public key", () => ({ fields: bearer(withHmac()) }), 401, "invalid_token", "token.algorithm"],
  ["a token with a key of its own", () => ({ fields: bearer(withOwnKey()) }), 401, "invalid_token", "token.signature"],
  [
    "a token without the scope",
    () => ({ fields: bearer(room.mint({ scope: "write" })) }),
    403,
    "insufficient_scope",
    "scope.insufficient",
  ],
  [
    "a token in the query",
    () => ({ target: `/v/things?access_token=${room.mint()}` }),
    400,
    "invalid_request",
    "token.query",
  ],
  [
    "a token in the query, escaped",
    () => ({ target: `/v/things?a=1&access%5Ftoken=x` }),
    400,
    "invalid_request",
    "token.query",
  ],
  [
    "a token in header and query",
    () => ({ fields: bearer(room.mint()), target: "/v/things?access_token=x" }),
    400,
    "invalid_request",
    "token.query",
  ],
  [
    "two Authorization headers",
    () => ({ fields: [...bearer(room.mint()), ...bearer(room.mint())] }),
    400,
    "invalid_request",
    // where the fetch standard has joined them, they are one that is no credential
    "request.malformed",
  ],
  ["a DPoP token as a bearer", () => ({ fields: bearer(mintBound()) }), 401, "invalid_token", "proof.missing"],
  [
    "a bearer token as DPoP",
    () => {
      const token = room.mint();
      return { fields: dpop(token, room.prove(signer, token, { url })) };
    },
    401,
    "invalid_token",
    "token.unbound",
    "DPoP",
  ],
  [
    "DPoP without a proof",
    () => ({ fields: [["authorization", `DPoP ${mintBound()}`]] }),
    401,
    "invalid_token",
    "proof.missing",
    "DPoP",
  ],
  [
    "a proof for another method",
    () => {
      const token = mintBound();
      return { fields: dpop(token, room.prove(signer, token, { url, method: "POST" })) };
    },
    401,
    "invalid_dpop_proof",
    "dpop.method",
    "DPoP",
  ],
  [
    "a proof for another path",
    () => {
      const token = mintBound();
      return { fields: dpop(token, room.prove(signer, token, { url: `${origin}/v/other` })) };
    },
    401,
    "invalid_dpop_proof",
    "dpop.url",
    "DPoP",
  ],
  [
    "a proof for the host that the request names",
    () => {
      const token = mintBound();
      const proof = room.prove(signer, token, { url: "https://evil.example/v/things" });
      const forwarded: [string, string][] = [
        ["x-forwarded-host", "evil.example"],
        ["forwarded", "host=evil.example;proto=https"],
      ];
      return { fields: [["host", "evil.example"], ...forwarded, ...dpop(token, proof)] };
    },
    401,
    "invalid_dpop_proof",
    "dpop.url",
    "DPoP",
  ],
  [
    "a proof for another token",
    () => {
      const token = mintBound();
      return { fields: dpop(token, room.prove(signer, mintBound(), { url })) };
    },
    401,
    "invalid_dpop_proof",
    "dpop.token",
    "DPoP",
  ],
  [
    "a proof by another key",
    () => {
      const token = mintBound();
      return { fields: dpop(token, room.prove(makeSigner(), token, { url })) };
    },
    401,
    "invalid_token",
    "proof.key",
    "DPoP",
  ],
];

describe.each(Object.keys(frameworks))("%s", (framework) => {
  let provider: Provider;
  beforeAll(async () => void (provider = await frameworks[framework]!(verifier)));
  afterAll(() => provider.close());

  test("lets a token in and tells the route who brings it", async () => {
    const { status, body } = await send(provider.port, "/v/things?a=b", bearer(room.mint()));
    expect([status, JSON.parse(body)]).toEqual([
      200,
      { client: "plant.board", scopes: ["read", "write"], verifiedBy: "keys" },
    ]);
    expect((await send(provider.port, "/v/things", [["AUTHORIZATION", `bEARER  ${room.mint()}`]])).status).toBe(200);
    expect(
      (await send(provider.port, "/v/things", [...bearer(room.mint()), ["content-type", "text/plain"]], "x")).status,
    ).toBe(200);
  });

  test("asks for credentials where there are none, without an error", async () => {
    for (const fields of [
      [],
      [["authorization", "Basic YTpi"]],
      [["authorization", "BearerX abc"]],
      [["authorization", ""]],
    ]) {
      const { status, challenges, headers, body } = await send(
        provider.port,
        "/v/things",
        fields as [string, string][],
      );
      expect({ status, challenges, body }).toEqual({
        status: 401,
        challenges: ['Bearer realm="plant.tele"', 'DPoP realm="plant.tele", algs="ES256"'],
        body: "",
      });
      expect(headers["cache-control"]).toBe("no-store");
      expect(reason()).toBe("credential.missing");
    }
  });

  test.each(rows)("refuses %s", async (_name, make, status, error, why, scheme) => {
    const { fields, target = "/v/things", body } = make();
    const answer = await send(provider.port, target, fields, body);
    const isJoined = framework === "hono" && why === "request.malformed";
    expect(reason()).toBe(isJoined ? "credential.malformed" : why);
    const told = JSON.parse(answer.body) as Record<string, string>;
    expect({ status: answer.status, error: told["error"] }).toEqual({ status, error });
    expect(told["error_description"]).toMatch(/^[a-z][\w ]+ \(id [\w-]{12}\)$/i);
    const { id } = room.lines.findLast(({ msg }) => msg === "refused")!;
    expect(told["error_description"]).toContain(`(id ${String(id)})`);
    const isOther = scheme === "DPoP" ? 1 : 0;
    const scope = status === 403 ? ', scope="read"' : "";
    const parameters = `, error="${error}", error_description="${told["error_description"]}"${scope}`;
    expect(answer.challenges).toEqual([
      `Bearer realm="plant.tele"${isOther === 0 ? parameters : ""}`,
      `DPoP realm="plant.tele", algs="ES256"${isOther === 1 ? parameters : ""}`,
    ]);
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    // the exact reason is for the log alone
    expect(JSON.stringify(answer)).not.toContain(why);
  });

  test("takes a DPoP proof once, for the address that is configured", async () => {
    const token = mintBound();
    const proof = room.prove(signer, token, { url });
    const spoofed: [string, string][] = [["host", "evil.example"], ...dpop(token, proof)];
    expect((await send(provider.port, "/v/things?a=b", spoofed)).status).toBe(200);
    const again = await send(provider.port, "/v/things", dpop(token, proof));
    expect([again.status, reason()]).toEqual([401, "dpop.replayed"]);
    const twice = await send(provider.port, "/v/things", [...dpop(token, proof), ["dpop", proof]]);
    expect(twice.status).toBe(framework === "hono" ? 401 : 400);
  });

  test("refuses or never reads a token in a form", async () => {
    const body = `access_token=${room.mint()}`;
    const answer = await send(provider.port, "/v/things", [form], body);
    const isRead = framework === "express" || framework === "fastify";
    expect([answer.status, reason()]).toEqual(isRead ? [400, "token.query"] : [401, "credential.missing"]);
  });

  test("holds a caller to what is its own", async () => {
    expect((await send(provider.port, "/v/devices/board", bearer(room.mint()))).status).toBe(200);
    const { status, challenges } = await send(provider.port, "/v/devices/pi", bearer(room.mint()));
    expect([status, reason()]).toEqual([403, "scope.insufficient"]);
    expect(challenges[0]).not.toContain('scope="');
  });

  test("does not let through or leak what fails inside of it", async () => {
    const { port, close } = await frameworks[framework]!({
      ...verifier,
      audience: "plant.tele",
      origin,
      log: verifier.log,
      verify: () => Promise.reject(new Error("secret of the house")),
    });
    const answer = await send(port, "/v/things", bearer(room.mint()));
    expect([answer.status, answer.challenges, reason()]).toEqual([500, [], "internal"]);
    expect(answer.body).toMatch(/^{"error":"server_error","error_description":"the service failed \(id [\w-]{12}\)"}$/);
    await close();
  });

  test("says when to come back where the authority is away", async () => {
    const away = await room.open({ authorityUrl: "https://localhost:1" });
    const { port, close } = await frameworks[framework]!(away);
    const { status, challenges, headers, body } = await send(port, "/v/things", bearer(room.mint()));
    expect([status, challenges, headers["retry-after"]]).toEqual([503, [], "5"]);
    expect(JSON.parse(body)).toMatchObject({ error: "temporarily_unavailable" });
    expect(reason()).toBe("authority.unreachable");
    await close();
  });

  test("does not know a principal on a route that is not protected, or whose handler fails", async () => {
    const { status, body } = await send(provider.port, "/open", bearer(room.mint()));
    expect(status).toBe(500);
    expect(body).not.toContain("plant.board");
    expect(body).not.toContain("broken");
  });
});

test("without an origin no proof is taken, and none is asked for", async () => {
  const { port, close } = await frameworks["node"]!(await room.open());
  expect((await send(port, "/v/things")).challenges).toEqual(['Bearer realm="plant.tele"']);
  const token = mintBound();
  const { status, challenges } = await send(port, "/v/things", dpop(token, room.prove(signer, token, { url })));
  expect([status, reason()]).toEqual([401, "dpop.url"]);
  expect(challenges[1]).toContain('error="invalid_dpop_proof"');
  await close();
});

test("the form of a request for proxies does not say for whom it is", async () => {
  const { port, close } = await frameworks["node"]!(verifier);
  const token = mintBound();
  const proof = room.prove(signer, token, { url: "https://evil.example/v/things" });
  await send(port, "https://evil.example/v/things", dpop(token, proof));
  expect(reason()).toBe("dpop.url");
  const good = room.prove(signer, token, { url });
  expect((await send(port, "https://evil.example/v/things", dpop(token, good))).status).toBe(200);
  await close();
});
