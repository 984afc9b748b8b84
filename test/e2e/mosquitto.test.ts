/** mosquitto_sub with a bearer token from the command line, beside an agent with a key: MQTT 3.1.1 and 3.1. */
import { beforeAll, describe, expect, it } from "vitest";
import { testWith } from "../peers.ts";
import { openInstallation, postern, posternJson, run, start } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";

const peers = ["mosquitto_sub", "stdbuf"];
let installation: Installation;
let pi: string;
let token: string;
let secret: string;

beforeAll(async () => {
  installation = await openInstallation();
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/# --bearer");
  await installation.json("api create strict --project acme --kind mqtt --topics acme/#");
  await installation.json("role create sensor --project acme --api telemetry --allow pub:acme/${name}/#");
  await installation.json("role create reader --project acme --api telemetry --allow sub:acme/+/machine");
  await installation.json("role create strict --project acme --api strict --allow sub:acme/#");
  await installation.json("client create pi --project acme --kind device --role sensor");
  pi = await installation.enrol("acme.pi");
  const service = "client create wall --project acme --kind service --role reader --role strict";
  secret = (await installation.json(service)).client_secret;
});

function subscribe(words: string, password = token, clientId = "acme.wall"): Running {
  const tls = ["-h", "localhost", "-p", String(installation.port.mqtts), "--cafile", installation.ready.ca];
  const credential = ["-i", clientId, "-u", "any", "-P", password];
  // -d says what the broker answers, on stdout, which is kept back in blocks unless told otherwise
  return start("stdbuf", ["-oL", "mosquitto_sub", ...tls, ...credential, "-d", ...words.split(" ")]);
}

const publish = (topic: string, stdin: string) => postern(`agent publish ${topic} --dir ${pi}`, { stdin });

describe("postern token get", () => {
  it("gives a service a bearer token for its secret", async () => {
    const answer = await installation.json("token get --client wall --project acme --audience acme.telemetry", {
      env: { POSTERN_CLIENT_SECRET: secret },
    });
    expect(answer).toMatchObject({ access_token: expect.any(String), token_type: "Bearer", expires_in: 3600 });
    token = answer.access_token;
    expect(await posternJson(`token inspect ${token}`)).toMatchObject({
      format: "jwt",
      claims: { sub: "acme.wall", aud: "acme.telemetry" },
      confirmation: null,
      allows: ["sub:acme/+/machine"],
    });
    const { stdout } = await installation.run(`token get --client acme.wall --secret ${secret} --api telemetry`);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  });

  it.each([
    ["a wrong secret", () => `--secret ${secret}x --api telemetry`],
    ["an api that lets no bearer in", () => `--secret ${secret} --api strict`],
    ["an api that is not there", () => `--secret ${secret} --api nothing`],
  ])("refuses %s in one line", async (_name, flags) => {
    expect(await installation.run(`token get --client acme.wall ${flags()}`)).toEqual({
      stdout: "",
      stderr: expect.stringMatching(/^postern: token get: [^\n]+\n$/),
      exitCode: 1,
    });
  });
});

describe("mosquitto_sub", () => {
  testWith(peers, "receives what the agent publishes where the token allows it", async () => {
    const reader = subscribe("-t acme/+/machine -q 1 -v -C 2");
    await reader.stdout.next(/^Subscribed \(mid: 1\): 1$/);
    expect(await publish("acme/pi/machine", "one")).toMatchObject({ exitCode: 0 });
    expect(await publish("acme/pi/private", "not for this role")).toMatchObject({ exitCode: 0 });
    expect(await publish("acme/pi/machine", "two")).toMatchObject({ exitCode: 0 });
    expect(await reader.stdout.next(/^acme\//)).toBe("acme/pi/machine one");
    expect(await reader.stdout.next(/^acme\//)).toBe("acme/pi/machine two");
    expect((await reader.ended()).exitCode).toBe(0);
  });

  testWith(peers, "is refused filters that the token does not cover, each by itself", async () => {
    const reader = subscribe("-t acme/# -t acme/+/machine -t $SYS/# -t $share/g/acme/# -t acme/pi/private -C 1");
    await reader.stdout.next(/^Subscribed \(mid: 1\): 128, 0, 128, 128, 128$/);
    await publish("acme/pi/private", "not for this role");
    await publish("acme/pi/machine", "only this");
    const { stdout, exitCode } = await reader.ended();
    expect(exitCode).toBe(0);
    expect(stdout).toContain("only this");
    expect(stdout).not.toContain("not for this role");
  });

  testWith(peers, "is told so when nothing is left", async () => {
    const { stdout, stderr } = await subscribe("-t acme/#").ended();
    expect(`${stdout}${stderr}`).toContain("All subscription requests were denied");
  });

  testWith(peers, "is let in with MQTT 3.1 as well", async () => {
    const reader = subscribe("-V mqttv31 -t acme/+/machine -v -C 1");
    await reader.stdout.next(/^Subscribed \(mid: 1\): 0$/);
    await publish("acme/pi/machine", "old and good");
    expect(await reader.stdout.next(/^acme\//)).toBe("acme/pi/machine old and good");
    expect((await reader.ended()).exitCode).toBe(0);
  });

  // code 5, not authorized, for who is somebody else; code 4 for a credential that is none
  testWith(peers, "is refused under another's client id, before that one notices", async () => {
    const owner = subscribe("-t acme/+/machine -C 1", token, "acme.wall:desk");
    await owner.stdout.next(/^Subscribed/);
    for (const clientId of ["acme.pi", "acme.wall2", "acme.wall:", "wall"]) {
      const { exitCode, stdout, stderr } = await subscribe("-t acme/+/machine", token, clientId).ended();
      expect([exitCode, `${stdout}${stderr}`]).toEqual([5, expect.stringMatching(/not authori[sz]ed/i)]);
    }
    await publish("acme/pi/machine", "still here");
    expect((await owner.ended()).stdout).toContain("still here");
  });

  testWith(peers, "is refused with what is no token, and with a bound token without a proof", async () => {
    const { token: bound } = await posternJson(`agent token --dir ${pi}`);
    const [header, payload, signature] = token.split(".") as [string, string, string];
    const forged = [header, payload, signature.replace(/^./, (first) => (first === "A" ? "B" : "A"))].join(".");
    for (const password of ["secret", secret, bound, forged]) {
      expect((await subscribe("-t acme/+/machine", password).ended()).exitCode).toBe(4);
    }
  });

  testWith(peers, "with another trust does not get as far as the broker", async () => {
    const args = ["-h", "localhost", "-p", String(installation.port.mqtts), "--capath", "/etc/ssl/certs"];
    const { exitCode, stderr } = await run("mosquitto_sub", [...args, "-i", "acme.wall", "-t", "acme/+/machine"]);
    expect([exitCode !== 0, stderr.toLowerCase()]).toEqual([true, expect.stringMatching(/tls|certificate|protocol/)]);
  });
});
