/** `postern agent` and `postern up` from the command line, as transcripts against a real authority and broker. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openInstallation, type Installation } from "./installation.ts";
import { postern, type Transcript } from "./transcript.ts";

let installation: Installation;
let dir: string;

beforeAll(async () => {
  installation = await openInstallation();
  dir = join(installation.dir, "pump");
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await installation.json(
    "role create sensor --project acme --api telemetry --allow pub:acme/${name}/# --allow sub:acme/${name}/cmd",
  );
  await installation.json("client create pump --project acme --kind device --role sensor");
});
afterAll(() => installation.close());

const agent = (line: string, options = {}): Promise<Transcript> =>
  postern(["agent", ...line.split(" "), "--dir", dir], options);

describe("postern agent", () => {
  it("enrols with a ticket, also from stdin", async () => {
    const { ticket } = await installation.json("ticket create --client acme.pump");
    expect(await agent("enrol -", { stdin: `${ticket}\n` })).toEqual({
      stdout: `enrolled as acme.pump in ${dir}, apis: telemetry\n`,
      stderr: "",
      exitCode: 0,
    });
    expect(await agent(`enrol ${ticket}`)).toEqual({
      stdout: "",
      stderr: `postern: agent enrol: ${dir} is enrolled already, as acme.pump; choose another folder\n`,
      exitCode: 1,
    });
  });

  it("prints its token, and its status", async () => {
    const token = await agent("token");
    expect(token).toEqual({ stdout: expect.stringMatching(/^2D3S\S+\n$/), stderr: "", exitCode: 0 });
    const json = JSON.parse((await agent("token --json")).stdout);
    expect(json).toEqual({
      token: token.stdout.trim(),
      expiresIn: expect.any(Number),
      clientId: "acme.pump",
      audience: "acme.telemetry",
    });
    const status = JSON.parse((await agent("status --json")).stdout);
    expect(status).toMatchObject({
      clientId: "acme.pump",
      authority: installation.postern.issuer,
      certificate: { serial: expect.stringMatching(/^[0-9a-f]+$/) },
      tokens: [{ audience: "acme.telemetry" }],
    });
    expect((await agent("status")).stdout.split("\n")[0]).toBe("client       acme.pump");
    const { stdout } = await installation.run("cert list --client acme.pump --json");
    expect(JSON.parse(stdout)).toMatchObject([{ serial: status.certificate.serial, client: "acme.pump" }]);
  });

  it.each([
    ["publish acme/pump/state", { stdout: "published 2 bytes to acme/pump/state\n", stderr: "", exitCode: 0 }],
    [
      "publish acme/other --qos 0",
      {
        stdout: "",
        stderr: "postern: agent publish: acme/other is refused; acme.pump may publish acme/pump/#\n",
        exitCode: 1,
      },
    ],
    ["publish acme/pump/state --qos 0", { stdout: "sent 2 bytes to acme/pump/state\n", stderr: "", exitCode: 0 }],
    [
      "publish acme/pump/state --qos 2 --retain --json",
      {
        stdout: '{"event":"published","topic":"acme/pump/state","bytes":2,"qos":2,"retain":true}\n',
        stderr: "",
        exitCode: 0,
      },
    ],
    [
      "publish acme/other/state",
      {
        stdout: "",
        stderr: "postern: agent publish: acme/other/state is refused; acme.pump may publish acme/pump/#\n",
        exitCode: 1,
      },
    ],
    [
      "subscribe acme/other/state",
      {
        stdout: "",
        stderr: "postern: agent subscribe: subscribe acme/other/state: the broker refused\n",
        exitCode: 1,
      },
    ],
    [
      "publish a --api billing",
      { stdout: "", stderr: "postern: agent publish: acme.pump has no api billing\n", exitCode: 1 },
    ],
  ])("%s", async (line, transcript) => {
    expect(await agent(line, { stdin: "42" })).toEqual(transcript);
  });
});

describe("a subscriber", () => {
  it("prints payloads, in JSON with their topics, and ends after a count", async () => {
    await installation.json("role create boss --project acme --api telemetry --allow pub:acme/# --allow sub:acme/#");
    await installation.json("client create boss --project acme --kind device --role boss");
    const bossDir = join(installation.dir, "boss");
    const { ticket } = await installation.json("ticket create --client acme.boss");
    await postern(["agent", "enrol", ticket, "--dir", bossDir]);
    const { openAgent } = await import("../../agent/agent.ts");
    const boss = openAgent({ dir: bossDir });
    await boss.connect();
    const transcript = await agent("subscribe acme/pump/cmd --count 2 --qos 1 --json", {
      onStderr: () => {
        void boss.publish("acme/pump/cmd", "open", { qos: 1 });
        void boss.publish("acme/pump/cmd", Buffer.of(0xff), { qos: 1 });
      },
    });
    await boss.close();
    expect(transcript).toEqual({
      stdout: [
        '{"topic":"acme/pump/cmd","payload":"open","retain":false}',
        '{"topic":"acme/pump/cmd","payload":"/w==","encoding":"base64","retain":false}',
        "",
      ].join("\n"),
      stderr: "subscribed to acme/pump/cmd\n",
      exitCode: 0,
    });
  });
});

describe("postern token get as an agent", () => {
  it("asks for less than the roles allow, and leaves the agent's own token alone", async () => {
    const before = readFileSync(join(dir, "tokens.json"), "utf8");
    const { stdout } = await postern(["token", "get", "--dir", dir, "--scope", "pub:acme/pump/state"]);
    const description = JSON.parse((await postern(["token", "inspect", stdout.trim(), "--json"])).stdout);
    expect(description).toMatchObject({
      format: "cwt",
      allows: ["pub:acme/pump/state"],
      confirmation: { kind: "key" },
    });
    expect(readFileSync(join(dir, "tokens.json"), "utf8")).toBe(before);
  });
});
