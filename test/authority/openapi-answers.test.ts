/**
 * That the OpenAPI document is true of the paths beside the table of `/v1`: the authority is asked in every way that gives
 * another status, and each answer has to be in the document with its media type, its shape and its headers. Nothing else is there.
 */
import { once } from "node:events";
import { connect } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { routes } from "../../broker/authority/v1/registry-table.ts";
import { decode, encode, type CborMap } from "../../shared/cbor.ts";
import { encodeIntrospectionRequest } from "../../shared/introspection.ts";
import { ACE, openFixture, type Answer, type Device, type Fixture } from "./fixture.ts";
import { readJson } from "./http-apis.ts";
import {
  assertDescribed,
  formOf,
  keysOf,
  mediaType,
  operationOf,
  resolve,
  shapeOf,
  spoken,
  type Document,
} from "./openapi-document.ts";
import { admin, closeAuthorities, forToken, openAuthorities, table, undo, unread, type Ask } from "./openapi-rows.ts";

let at: Fixture;
let pi: Device;
let document: Document;
beforeAll(async () => {
  ({ at, pi } = await openAuthorities());
  document = readJson(await at.call("/openapi.json")) as unknown as Document;
});
afterEach(undo);
afterAll(closeAuthorities);

describe.each(Object.entries(table).map(([name, rows]) => ({ name, rows: [...rows, ...unread] })))(
  "$name",
  ({ name, rows }) => {
    const [method, path] = name.split(" ") as [string, string];
    const answers = new Map<Ask, Answer>();
    /** Asks once. */
    const answerTo = async (ask: Ask): Promise<Answer> => {
      const answer = answers.get(ask) ?? (await ask(path));
      answers.set(ask, answer);
      undo();
      return answer;
    };

    test.each(rows)("answers %s as it says: %i", async (_, status, ask) => {
      const answer = await answerTo(ask);
      expect(answer.status).toBe(status);
      assertDescribed(document, operationOf(document, method, path), answer);
    });

    test("has no status, no media type and no header besides", async () => {
      const met = new Set<string>();
      for (const [, , ask] of rows) {
        const { status, headers } = await answerTo(ask);
        met.add(`${status} ${mediaType(headers["content-type"])}`);
        for (const header of spoken) if (header in headers) met.add(`${status} with ${header}`);
      }
      const said = Object.entries(operationOf(document, method, path).responses).flatMap(([status, one]) => {
        const { content = { "": {} }, headers = {} } = resolve(document, one);
        const names = Object.keys(headers).map((header) => `with ${header.toLowerCase()}`);
        return [...Object.keys(content), ...names].map((what) => `${status} ${what}`);
      });
      // who does not come to an end is told so before anybody knows where to, as below; and nothing fails by us
      const others = said.filter((one) => !one.startsWith("408 ") && !one.startsWith("default "));
      expect([...met].toSorted()).toEqual(others.toSorted());
    });
  },
);

test("nothing is left out but the rows of the table of /v1", () => {
  const rows = new Set(routes.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`));
  const all = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(all.filter((one) => !rows.has(one)).toSorted()).toEqual(Object.keys(table).toSorted());
});

test("a request that does not come to an end is answered as any operation says", async () => {
  const slow = await openFixture({ requestMs: 300 });
  try {
    const socket = connect({
      port: slow.authority.port,
      host: "127.0.0.1",
      ca: slow.ca.caPem,
      servername: "localhost",
    });
    await once(socket, "secureConnect");
    socket.write(`POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${ACE}\r\nContent-Length: 100\r\n\r\n`);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    // the end may be a reset as well: what counts is what came before it
    socket.on("error", () => {});
    await new Promise((resolve) => void socket.once("close", resolve));
    const [head, body] = Buffer.concat(chunks).toString().split("\r\n\r\n");
    expect([head!.split(" ")[1], body]).toEqual(["408", ""]);
  } finally {
    await slow.close();
  }
  const all = Object.values(document.paths).flatMap((item) => Object.values(item));
  for (const { responses } of all) expect(resolve(document, responses["408"]!).content).toBeUndefined();
});

test("a path answers methods that it has not with 405, and names those of the document", async () => {
  const all = Object.entries(document.paths).map(([path, item]) => {
    const methods = Object.keys(item).map((method) => method.toUpperCase());
    // whoever may GET may ask for the head alone (RFC 9110, section 9.3.2)
    return { form: formOf(path), methods: methods.includes("GET") ? [...methods, "HEAD"] : methods };
  });
  for (const path of Object.keys(document.paths).map((one) => one.replaceAll(/\{\w+\}/g, "x"))) {
    const { status, headers } = await at.call(path, { method: "OPTIONS", headers: admin });
    const methods = new Set(all.filter(({ form }) => form.test(path)).flatMap((one) => one.methods));
    expect([path, status, headers.allow?.split(", ").toSorted()]).toEqual([path, 405, [...methods].toSorted()]);
  }
});

test("what is sent in CBOR has the keys of the document", () => {
  const keys = [
    decode(encodeIntrospectionRequest({ token: "x", clientId: "plant.pi", clientAssertion: encode("x") })),
    decode(forToken({ audience: "a", scope: "s", clientId: "c", clientAssertion: encode("x"), reqCnf: pi.key })),
  ].map((one) => new Set((one as CborMap).keys()));
  const said = ["/introspect", "/token"].map((path) => {
    const { schema } = operationOf(document, "POST", path).requestBody!.content[ACE]!;
    return new Set(keysOf(shapeOf(document, schema)));
  });
  expect(said).toEqual(keys);
});
