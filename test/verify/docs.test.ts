/** The examples of docs/verify.md run as they stand there, in at most ten lines. */
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as node from "@hono/node-server";
import express from "express";
import * as fastify from "fastify";
import * as hono from "hono";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as verify from "../../verify/index.ts";
import { openRoom, type Room } from "./issuer.ts";

const text = readFileSync(new URL("../../docs/verify.md", import.meta.url), "utf8");
const examples = [...text.matchAll(/^```js (\w+)\n(.*?)^```$/gms)].map(([, name, code]) => [name!, code!] as const);
let room: Room;
beforeAll(async () => void (room = await openRoom()));
afterAll(() => room.close());

test("there is one for each framework", () => {
  expect(examples.map(([name]) => name)).toEqual(["express", "fastify", "hono", "node"]);
});

test.each(examples)("%s", async (_name, code) => {
  expect(code.trimEnd().split("\n").length).toBeLessThanOrEqual(10);
  const opened: verify.Verifier[] = [];
  let app: fastify.FastifyInstance | undefined;
  const modules: Record<string, unknown> = {
    express: { default: express },
    fastify: { fastify: () => (app = fastify.fastify()) },
    hono,
    "@hono/node-server": node,
    "node:http": { createServer },
    "postern/verify": {
      ...verify,
      createVerifier: async (options: verify.VerifierOptions) => {
        expect(options).toMatchObject({ audience: "plant.tele", credential: { id: "plant/tele", secret: "secret" } });
        opened.push(await room.open({ mode: "local" }));
        return opened[0];
      },
    },
  };
  const runnable = code
    .replaceAll(/^import (\w+) from "(.*)";$/gm, 'const $1 = modules["$2"].default;')
    .replaceAll(/^import (\{.*\}) from "(.*)";$/gm, 'const $1 = modules["$2"];')
    .replace("3000", "0")
    .replace(/^(app\.listen|serve|createServer\(\w+\)\.listen)\(/m, "return $1(");
  const run = Object.getPrototypeOf(async () => {}).constructor as new (
    ...names: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  const started = await new run("modules", "process", runnable)(modules, { env: { POSTERN_SECRET: "secret" } });
  const server = started as { address(): AddressInfo | null; close(): void; listening: boolean };
  const isAddress = typeof started === "string";
  if (!isAddress && !server.listening) await once(server as never, "listening");
  const port = isAddress ? new URL(started).port : server.address()!.port;
  const ask = async (token?: string): Promise<[number, string]> => {
    const authorization = token === undefined ? undefined : { authorization: `Bearer ${token}` };
    const response = await fetch(`http://localhost:${port}/readings`, { headers: { ...authorization } });
    return [response.status, await response.text()];
  };
  expect(await ask(room.mint({ scope: "readings:read" }))).toEqual([200, '{"for":"plant.board"}']);
  expect((await ask(room.mint({ scope: "other" })))[0]).toBe(403);
  expect(await ask()).toEqual([401, ""]);
  if (isAddress) await app!.close();
  else server.close();
});
