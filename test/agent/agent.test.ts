/** The agent against a real authority and broker: enrolling, publishing, being refused, renewing, and coming back. */
import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openAgent, type Agent, type AgentOptions } from "../../agent/agent.ts";
import { enrol } from "../../agent/enrol.ts";
import { readTokens, writeTokens } from "../../agent/state.ts";
import { formatTicket, parseTicket } from "../../shared/ticket.ts";
import { toBase64url } from "../../shared/base64url.ts";
import { openInstallation, type Installation } from "../cli/installation.ts";

let installation: Installation;
let dir: string;

beforeAll(async () => {
  installation = await openInstallation();
  dir = join(installation.dir, "pump");
  await installation.json("project create acme");
  // both ends cut off parts of a second, and a quarter of the life has to be enough to renew it on a machine that is busy
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/# --ttl 10s");
  await installation.json(
    "role create sensor --project acme --api telemetry --allow pub:acme/${name}/state --allow sub:acme/#",
  );
  await installation.json("client create pump --project acme --kind device --role sensor");
  await enrol(await ticketFor("pump"), dir);
});
afterAll(() => installation.close());

async function ticketFor(name: string): Promise<string> {
  return (await installation.json(`ticket create --project acme --client ${name}`)).ticket;
}

async function withAgent(use: (agent: Agent) => Promise<void>, options: Partial<AgentOptions> = {}): Promise<void> {
  const agent = openAgent({ dir, ...options });
  try {
    await use(agent);
  } finally {
    await agent.close();
  }
}

describe("enrolment", () => {
  it("writes down who the agent is and where everything is", () => {
    expect(JSON.parse(readFileSync(join(dir, "agent.json"), "utf8"))).toEqual({
      authority: installation.postern.issuer,
      clientId: "acme.pump",
      issuer: installation.postern.issuer,
      brokers: { mqtts: installation.postern.mqtts, wss: installation.postern.wss },
      apis: [{ name: "telemetry", audience: "acme.telemetry", kind: "mqtt" }],
    });
  });

  it("refuses an authority whose CA is not the pinned one, and has not sent the secret by then", async () => {
    const fresh = join(installation.dir, "pinned");
    await installation.json("client create pinned --project acme --kind device");
    const ticket = await ticketFor("pinned");
    const forged = formatTicket({ ...parseTicket(ticket), pin: "00".repeat(32) });
    await expect(enrol(forged, fresh)).rejects.toMatchObject({ kind: "refused", code: "ticket.pin" });
    // the ticket has its use left
    await expect(enrol(ticket, fresh)).resolves.toMatchObject({ clientId: "acme.pinned" });
  });

  it("works again with the same ticket when the answer was lost: the key is the same", async () => {
    const fresh = join(installation.dir, "lost");
    await installation.json("client create lost --project acme --kind device");
    const ticket = await ticketFor("lost");
    await enrol(ticket, fresh);
    const key = readFileSync(join(fresh, "key.pem"), "utf8");
    for (const name of ["agent.json", "certificate.pem", "ca.pem"]) rmSync(join(fresh, name));
    await expect(enrol(ticket, fresh)).resolves.toMatchObject({ clientId: "acme.lost" });
    expect(readFileSync(join(fresh, "key.pem"), "utf8")).toBe(key);
  });

  it("refuses a ticket that another key has used up", async () => {
    const [first, second] = [join(installation.dir, "first"), join(installation.dir, "second")];
    await installation.json("client create once --project acme --kind device");
    const ticket = await ticketFor("once");
    await enrol(ticket, first);
    await expect(enrol(ticket, second)).rejects.toMatchObject({
      kind: "refused",
      message: expect.stringMatching(/^the ticket was refused: the ticket is not accepted/),
    });
    expect(existsSync(join(second, "agent.json"))).toBe(false);
  });

  it("refuses a folder that is enrolled already", async () => {
    await expect(enrol(await ticketFor("pump"), dir)).rejects.toThrow("is enrolled already, as acme.pump");
  });
});

describe("connected", () => {
  it("publishes what the token allows, and hears it", async () => {
    await withAgent(async (agent) => {
      await agent.connect();
      const heard = new Promise((resolve) => {
        void agent.subscribe(
          "acme/+/state",
          ({ topic, payload }) => resolve([topic, Buffer.from(payload).toString()]),
          1,
        );
      });
      await agent.subscribe("acme/none", () => undefined);
      await agent.publish("acme/pump/state", "42", { qos: 1 });
      expect(await heard).toEqual(["acme/pump/state", "42"]);
    });
  });

  it("is refused what it does not, and is told so", async () => {
    await withAgent(
      async (agent) => {
        await agent.connect();
        await expect(agent.publish("acme/other/state", "42", { qos: 1 })).rejects.toMatchObject({ kind: "refused" });
        await expect(agent.publish("acme/pump/state", "42", { qos: 1 })).rejects.toMatchObject({
          kind: "not-connected",
        });
      },
      { retry: "never" },
    );
  });

  it("is refused a filter beyond its grants, and stays connected", async () => {
    await withAgent(async (agent) => {
      await agent.connect();
      await expect(agent.subscribe("#", () => undefined)).rejects.toMatchObject({ kind: "refused", code: "suback" });
      await agent.publish("acme/pump/state", "42", { qos: 1 });
    });
  });

  it("renews its token within the session, and outlives the first", async () => {
    await withAgent(async (agent) => {
      const ends: unknown[] = [];
      agent.events.on("disconnected", (failure) => ends.push(failure));
      const first = await agent.token();
      await agent.connect();
      await once(agent.events, "renewed");
      await once(agent.events, "renewed");
      expect((await agent.token()).text).not.toBe(first.text);
      await agent.publish("acme/pump/state", "still here", { qos: 1 });
      expect(ends).toEqual([]);
    });
  });

  it("drops a cached token that the broker refuses, and asks for another", async () => {
    await withAgent(async (agent) => {
      await agent.connect();
    });
    const { time, tokens } = readTokens(dir);
    const stale = { ...tokens["acme.telemetry"]!, token: toBase64url(Buffer.of(0xd2, 0x80)), lifetimeSeconds: 1e6 };
    writeTokens(dir, {
      time,
      tokens: { "acme.telemetry": { ...stale, expiresAtSeconds: time!.lastSeenSeconds + 1e6 } },
    });
    await withAgent(
      async (agent) => {
        await agent.connect();
        await expect(agent.publish("acme/pump/state", "42", { qos: 1 })).resolves.toBeUndefined();
      },
      { retry: "never" },
    );
  });

  it("does not end its own session from a second connection with a suffix", async () => {
    await withAgent(async (agent) => {
      await agent.connect();
      await withAgent(async (second) => second.connect(), { suffix: "second" });
      await expect(agent.publish("acme/pump/state", "42", { qos: 1 })).resolves.toBeUndefined();
    });
  });

  it("proves its key with an assertion where it shows no certificate", async () => {
    rmSync(join(dir, "tokens.json"));
    await withAgent(
      async (agent) => {
        await agent.connect();
        await expect(agent.publish("acme/pump/state", "42", { qos: 1 })).resolves.toBeUndefined();
      },
      { proof: "assertion" },
    );
  });

  it("is refused for good while the client is disabled, and back when it is enabled", async () => {
    await installation.json("client disable acme.pump");
    rmSync(join(dir, "tokens.json"));
    await withAgent(async (agent) => expect(agent.connect()).rejects.toMatchObject({ kind: "refused" }), {
      retry: "never",
    });
    await installation.json("client enable acme.pump");
    await withAgent(async (agent) => agent.connect(), { retry: "never" });
  });
});

describe("the choice of an api", () => {
  it.each([
    [undefined, "acme.telemetry"],
    ["telemetry", "acme.telemetry"],
    ["acme.telemetry", "acme.telemetry"],
  ])("%s is %s", (api, audience) => {
    expect(openAgent({ dir, ...(api !== undefined && { api }) }).api.audience).toBe(audience);
  });

  it("refuses one that the agent does not have", () => {
    expect(() => openAgent({ dir, api: "billing" })).toThrow("acme.pump has no api billing");
  });
});
