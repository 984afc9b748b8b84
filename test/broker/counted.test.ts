/** A running installation counts what happens at its gates, and its figures name nobody. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openInstallation, type Installation } from "../cli/installation.ts";
import { Wire } from "../gate/wire.ts";
import { readSeries } from "./scrape.ts";

let at: Installation;
let ca: string;
let adminKey: string;
let token: string;
const client = "yard.secretive-name";
const wires: Wire[] = [];

beforeAll(async () => {
  at = await openInstallation();
  ca = readFileSync(at.postern.caFile, "utf8");
  adminKey = readFileSync(at.postern.adminKeyFile, "utf8").trim();
  await at.json("project create yard");
  await at.json("api create gates --project yard --kind mqtt --topics yard/# --bearer");
  await at.json("role create opener --project yard --api gates --allow pub:yard/open --allow sub:yard/#");
  const { client_secret: secret } = await at.json(
    "client create secretive-name --project yard --kind service --role opener",
  );
  const got = await at.run(`token get --client ${client} --secret ${secret} --api gates`);
  if (got.exitCode !== 0) throw new Error(got.stderr);
  token = got.stdout.trim();
});
afterAll(async () => {
  for (const wire of wires) wire.drop();
  await at.close();
});

async function scrape(): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${adminKey}` };
    const outgoing = request(`${at.postern.issuer}/metrics`, { ca, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`${response.statusCode}: ${text}`)),
      );
    });
    outgoing.on("error", reject).end();
  });
}

async function connect(password: string): Promise<{ wire: Wire; returnCode: number | undefined }> {
  const wire = await Wire.open({ port: Number(new URL(at.postern.mqtts).port), ca });
  wires.push(wire);
  const { returnCode } = await wire.connect({ clientId: client, username: "any", password: Buffer.from(password) });
  return { wire, returnCode };
}

const deltaOf = async (act: () => Promise<void>): Promise<Map<string, number>> => {
  const before = readSeries(await scrape());
  await act();
  const after = readSeries(await scrape());
  return new Map(
    [...after]
      .map(([name, value]) => [name, value - (before.get(name) ?? 0)] as const)
      .filter(([name, value]) => value !== 0 && /^postern_(sessions|refusals)/.test(name)),
  );
};

describe("the figures of an installation", () => {
  it("count a refused connect under its reason", async () => {
    const delta = await deltaOf(async () => {
      expect((await connect("no token at all")).returnCode).toBe(4);
    });
    expect([...delta]).toEqual([['postern_refusals_total{at="connect",reason="credential.malformed"}', 1]]);
  });

  it("count a session, its refused filter and its refused publish, and its end", async () => {
    const delta = await deltaOf(async () => {
      const { wire, returnCode } = await connect(token);
      expect(returnCode).toBe(0);
      expect(readSeries(await scrape()).get("postern_sessions")).toBe(1);
      expect(await wire.subscribe(["garden/hidden-place"])).toEqual([128]);
      wire.send({ cmd: "publish", topic: "yard/hidden-place", payload: "", qos: 0, dup: false, retain: false });
      await wire.closed;
    });
    expect(delta).toEqual(
      new Map([
        ['postern_refusals_total{at="subscribe",reason="subscribe.filter"}', 1],
        ['postern_refusals_total{at="publish",reason="publish.topic"}', 1],
        ['postern_sessions_opened_total{kind="token"}', 1],
        ["postern_sessions_ended_total", 1],
      ]),
    );
  });

  it("name no client, no address, no topic and no key", async () => {
    const text = await scrape();
    expect(text).toContain('reason="publish.topic"');
    for (const secret of ["secretive", "yard", "garden", "hidden-place", "127.0.0.1", adminKey, token]) {
      expect([secret, text.includes(secret)]).toEqual([secret, false]);
    }
  });
});
