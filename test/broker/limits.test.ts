/** The limits of an installation reach the room that each is for. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { afterAll, beforeAll, expect, it } from "vitest";
import { defaultLimits, highestLimits, type PosternLimits } from "../../broker/limits.ts";
import { openInstallation, type Installation } from "../cli/installation.ts";
import { Wire } from "../gate/wire.ts";

let at: Installation;
let ca: string;
let secret: string;
beforeAll(async () => {
  at = await openInstallation({ httpBodyBytes: 1500, tokenBytes: 700, strangersPerAddress: 1 });
  ca = readFileSync(at.postern.caFile, "utf8");
  await at.json("project create acme");
  await at.json("api create open --project acme --kind mqtt --topics acme/# --bearer");
  const allow = Array.from({ length: 20 }, (_, i) => `--allow pub:acme/a-topic-of-many/${i}`).join(" ");
  await at.json(`role create many --project acme --api open ${allow}`);
  ({ client_secret: secret } = await at.json("client create feed --project acme --kind service --role many"));
});
afterAll(() => at.close());

async function post(path: string, body: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const outgoing = request(`${at.postern.issuer}${path}`, { method: "POST", ca, headers }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode));
    });
    outgoing.on("error", reject).end(body);
  });
}

it("bodies at the authority", async () => {
  expect(await post("/token", JSON.stringify({ a: "b".repeat(1400) }))).not.toBe(413);
  expect(await post("/token", JSON.stringify({ a: "b".repeat(1500) }))).toBe(413);
});

it("tokens that the authority issues", async () => {
  const got = await at.run(`token get --client acme.feed --secret ${secret} --api open`);
  expect(got).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("invalid_scope") });
});

it("anonymous clients at the gate", async () => {
  const port = Number(new URL(at.postern.mqtts).port);
  const wires = [await Wire.open({ port, ca }), await Wire.open({ port, ca })];
  const codes = [];
  for (const wire of wires) codes.push((await wire.connect({})).returnCode);
  expect(codes).toEqual([0, 5]);
  for (const wire of wires) wire.drop();
});

it("by default are whole numbers of 1 and more, and within what they may be set to", () => {
  const names = Object.keys(defaultLimits) as (keyof PosternLimits)[];
  expect(names.toSorted()).toEqual(Object.keys(highestLimits).toSorted());
  const wrong = names.filter((name) => {
    const limit = defaultLimits[name];
    return !Number.isSafeInteger(limit) || limit < 1 || limit > highestLimits[name];
  });
  expect(wrong).toEqual([]);
});
