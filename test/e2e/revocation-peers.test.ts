/**
 * Taking back as peers see it that are not ours: mosquitto_sub at the broker beside the authority and at one elsewhere,
 * openssl with a session to resume, curl with the lists. Everything is done with the command, as an operator does it.
 */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect } from "vitest";
import { openOpensslCa } from "../authority/openssl-ca.ts";
import { testWith } from "../peers.ts";
import { makeFolder, openInstallation, run, shell, start, startPostern } from "./fixture.ts";
import type { Installation, Json, Outcome, Running } from "./fixture.ts";
import { nextSecond } from "./revocation/room.ts";

const mosquitto = ["mosquitto_sub", "mosquitto_pub", "stdbuf"];

interface Place {
  readonly name: string;
  readonly port: string;
}

let installation: Installation;
let places: readonly Place[];
/** What shell scripts know. */
let env: Record<string, string>;
let folder: string;

beforeAll(async () => {
  installation = await openInstallation({ logLevel: "error" });
  folder = makeFolder();
  const { ticket } = await installation.json("ticket create --broker edge");
  const dir = join(folder, "edge");
  const edge = startPostern(`broker --json --data ${dir} --mqtts-port 0 --wss-port 0 --log-level error`, {
    env: { POSTERN_TICKET: ticket },
  });
  for (const project of ["acme", "zinc"]) {
    await installation.json(`project create ${project}`);
    await installation.json(`api create tele --project ${project} --kind mqtt --topics ${project}/# --bearer`);
    await installation.json(`role create all --project ${project} --api tele --allow pubsub:${project}/#`);
  }
  const { mqtts } = await edge.stdout.json({ event: "ready" });
  places = [
    { name: "beside the authority", port: String(installation.port.mqtts) },
    { name: "elsewhere", port: new URL(mqtts).port },
  ];
  env = { A: installation.ready.issuer, CA: installation.ready.ca, KEY: "" };
  env["KEY"] = await shell(folder, 'cat "$FILE"', { FILE: installation.ready.adminKey });
});

/** What a client connects with, as arguments of mosquitto. */
interface Held {
  readonly id: string;
  readonly args: readonly string[];
}

interface Service extends Held {
  readonly secret: string;
  readonly token: string;
}

interface Device extends Held {
  readonly dir: string;
  readonly serial: string;
}

async function makeService(id: string): Promise<Service> {
  const [project, name] = id.split(".");
  const made: Json = await installation.json(`client create ${name} --project ${project} --kind service --role all`);
  const secret: string = made.client_secret;
  const token = await getToken(id, secret);
  return { id, secret, token, args: ["-i", id, "-u", "any", "-P", token] };
}

async function getToken(id: string, secret: string): Promise<string> {
  return (await installation.json(`token get --client ${id} --secret ${secret} --api tele`)).access_token;
}

async function makeDevice(id: string): Promise<Device> {
  const [project, name] = id.split(".");
  await installation.json(`client create ${name} --project ${project} --kind device --role all`);
  const dir = await installation.enrol(id);
  const [{ serial }] = await installation.json(`cert list --client ${id}`);
  const args = ["-i", id, "--cert", join(dir, "certificate.pem"), "--key", join(dir, "key.pem")];
  return { id, dir, serial, args };
}

const at = ({ port }: Place): string[] => ["-h", "localhost", "-p", port, "--cafile", installation.ready.ca];

function subscribe(place: Place, { args }: Held, topic: string, ...more: string[]): Running {
  return start("stdbuf", ["-oL", "mosquitto_sub", ...at(place), ...args, "-d", "-t", topic, "-v", ...more]);
}

/** One way to take back, and who is ended by it. */
interface Row {
  readonly held: Held;
  /** Of CONNACK when it comes again, with which mosquitto_sub ends. */
  readonly code: number;
  readonly command: () => Promise<string> | string;
}

const rows: readonly (readonly [string, () => Promise<Row>])[] = [
  [
    "token revoke",
    async () => {
      const held = await makeService("acme.t");
      return { held, code: 4, command: () => `token revoke ${held.token}` };
    },
  ],
  [
    "cert revoke",
    async () => {
      const held = await makeDevice("acme.c");
      return { held, code: 5, command: () => `cert revoke ${held.serial.toUpperCase()}` };
    },
  ],
  [
    "client disable",
    async () => {
      const held = await makeService("acme.d");
      return { held, code: 4, command: () => "client disable acme.d" };
    },
  ],
  [
    "client delete",
    async () => {
      const held = await makeDevice("acme.e");
      return { held, code: 4, command: () => "client delete e --project acme" };
    },
  ],
  [
    "project revoke-tokens",
    async () => {
      const held = await makeService("zinc.p");
      const command = async () => `project revoke-tokens zinc --before ${await nextSecond()}`;
      return { held, code: 4, command };
    },
  ],
  [
    "key revoke",
    async () => {
      const held = await makeService("acme.k");
      const keys: Json[] = await installation.json("key list");
      return { held, code: 4, command: () => `key revoke ${keys.find(({ active }) => active).kid}` };
    },
  ],
];

describe("mosquitto_sub", () => {
  testWith(mosquitto, "hears of no will of those that a command ends, at either broker", async () => {
    const watch = { acme: await makeDevice("acme.watch"), zinc: await makeDevice("zinc.watch") };
    // the wills are good ones: that of who is merely lost is published
    const lost = await makeDevice("acme.lost");
    const told = subscribe(places[0]!, watch.acme, "acme/will", "-C", "1");
    const losing = subscribe(
      places[0]!,
      lost,
      "acme/none",
      "--will-topic",
      "acme/will",
      "--will-payload",
      "of the lost",
    );
    await Promise.all([told.stdout.next(/^Subscribed/), losing.stdout.next(/^Subscribed/)]);
    losing.signal("SIGKILL");
    expect(await told.stdout.next(/^acme\/will/)).toBe("acme/will of the lost");
    for (const [name, makeRow] of rows) {
      const { held, code, command } = await makeRow();
      const [project] = held.id.split(".") as ["acme" | "zinc"];
      const will = ["--will-topic", `${project}/will`, "--will-payload", `of ${held.id}`, "--will-qos", "1"];
      const sessions = await Promise.all(
        places.map(async (place) => {
          const watcher = subscribe(place, watch[project], `${project}/will`, "-C", "1");
          const session = subscribe(place, held, `${project}/none`, ...will);
          await Promise.all([watcher.stdout.next(/^Subscribed/), session.stdout.next(/^Subscribed/)]);
          return { place, watcher, session };
        }),
      );
      const { exitCode, stderr } = await installation.run(await command());
      expect([name, exitCode, stderr]).toEqual([name, 0, ""]);
      for (const { place, watcher, session } of sessions) {
        // the contract's second, counted from the end of the command; 7 is a connection that was lost
        expect([name, place.name, (await session.ended(1_000)).exitCode]).toEqual([name, place.name, 7]);
        const again = await subscribe(place, held, `${project}/none`).ended();
        expect([name, place.name, again.exitCode]).toEqual([name, place.name, code]);
        const bell = ["-t", `${project}/will`, "-m", "of nobody", "-q", "1"];
        const by = watch[project].args.with(1, `${watch[project].id}:bell`);
        expect(await run("mosquitto_pub", [...at(place), ...by, ...bell])).toMatchObject({ exitCode: 0 });
        expect(await watcher.stdout.next(/^\w+\/will/)).toBe(`${project}/will of nobody`);
      }
    }
  });

  testWith(
    [...mosquitto, "openssl"],
    "with a certificate of another authority is ended by the list that has it",
    async () => {
      const ca = openOpensslCa(join(folder, "plant"));
      const file = (name: string, text: string): string => {
        writeFileSync(join(folder, name), text);
        return join(folder, name);
      };
      await installation.json("client create x --project acme --kind device --role all");
      await installation.json(`cert authority-add plant ${file("plant.pem", ca.pem)}`);
      await installation.json(`cert import-crl plant ${file("before.crl", ca.makeList())}`);
      const certificate = file("x.pem", ca.issue("acme.x", "5A"));
      const key = join(folder, "plant", "device.key");
      const args = ["-i", "acme.x", "--cert", certificate, "--key", key];
      const sessions = places.map((place) => subscribe(place, { id: "acme.x", args }, "acme/none"));
      await Promise.all(sessions.map((session) => session.stdout.next(/^Subscribed/)));
      ca.revoke("5A");
      await installation.json(`cert import-crl plant ${file("after.crl", ca.makeList())}`);
      for (const session of sessions) expect((await session.ended(1_000)).exitCode).toBe(7);
      for (const place of places) {
        expect((await subscribe(place, { id: "acme.x", args }, "acme/none").ended()).exitCode).toBe(5);
      }
      expect(await installation.run(`cert import-crl plant ${join(folder, "before.crl")}`)).toEqual({
        stdout: "",
        stderr: expect.stringMatching(/^postern: cert import-crl: a field is not valid: crl: its number [^\n]+\n$/),
        exitCode: 1,
      });
    },
  );
});

// CONNACK, of code 0 and 5
const accepted = "\x20\x02\0\0";
const notAuthorized = "\x20\x02\0\x05";

function expectResumed(stdout: string, connack: string): void {
  expect(stdout).toMatch(/^Reused, TLSv1\.[23],/m);
  expect(stdout).toContain(connack);
}

describe("openssl s_client", () => {
  testWith(["openssl"], "does not get a revoked certificate in with a session that it resumes", async () => {
    const device = await makeDevice("acme.s");
    // CONNECT, clean session, client id alone; then DISCONNECT, upon which the broker closes
    const id = Buffer.from(device.id);
    const body = [0, 4, ...Buffer.from("MQTT"), 4, 2, 0, 60, 0, id.length, ...id];
    const stdin = Buffer.from([0x10, body.length, ...body, 0xe0, 0]);
    const visit = (place: Place, version: string, session: string): Promise<Outcome> => {
      const own = ["-cert", join(device.dir, "certificate.pem"), "-key", join(device.dir, "key.pem")];
      const to = ["-connect", `localhost:${place.port}`, "-CAfile", installation.ready.ca, version, "-ign_eof"];
      return run("openssl", ["s_client", ...to, ...own, ...session.split(" ")], { stdin });
    };
    const ways = places.flatMap((place) => ["-tls1_2", "-tls1_3"].map((version) => ({ place, version })));
    const visits = (session: (file: string) => string): Promise<Outcome[]> =>
      Promise.all(ways.map((way, n) => visit(way.place, way.version, session(join(folder, `session-${n}`)))));
    for (const { stdout } of await visits((file) => `-sess_out ${file}`)) expect(stdout).toContain(accepted);
    const resumed = await visits((file) => `-sess_in ${file}`);
    for (const { stdout } of resumed) expectResumed(stdout, accepted);
    await installation.json(`cert revoke ${device.serial}`);
    await expectNews(places[1]!, device);
    const refused = await visits((file) => `-sess_in ${file}`);
    for (const { stdout } of refused) expectResumed(stdout, notAuthorized);
  });
});

/** Waits until a broker refuses who was let in. */
async function expectNews(place: Place, { args }: Held): Promise<void> {
  await expect
    .poll(async () => (await run("mosquitto_pub", [...at(place), ...args, "-t", "acme/none", "-n"])).exitCode, {
      timeout: 20_000,
    })
    .not.toBe(0);
}

describe("curl", () => {
  testWith(["curl"], "takes a token back and reads it on the list, to the byte", async () => {
    const service = await makeService("acme.h");
    const own = { ...env, ME: `${service.id}:${service.secret}`, TOKEN: service.token };
    const hashed = createHash("sha256").update(service.token).digest("hex");
    const script = `
      list() { curl -s --cacert "$CA" "$@"; }
      list -u "$ME" "$A/revoke/trl" | od -An -v -tx1
      list -u "$ME" "$A/revoke/trl?cursor=0" | od -An -v -tx1
      list -u "$ME" "$A/revoke/trl?diff=-1" | od -An -v -tx1
      list -u "$ME" "$A/revoke/trl?diff=1&cursor=x" | od -An -v -tx1
      list -u "$ME" "$A/revoke/trl?diff=0&cursor=9" | od -An -v -tx1
      # held until there is news, which the next command is
      list -u "$ME" --max-time 15 -H 'Prefer: wait=30' "$A/revoke/trl?diff=0" > news &
      list -o /dev/null -w '%{http_code}\\n' -u "$ME" --data-urlencode "token=$TOKEN" "$A/revoke"
      wait $!
      od -An -v -tx1 news
      list -u "$ME" "$A/revoke/trl" | od -An -v -tx1
      list -u "$ME" "$A/revoke/trl?diff=0&cursor=9" | od -An -v -tx1
      list -o /dev/null -D - -u "$ME" "$A/revoke/trl" | tr -d '\\r' | sed -n 's/^etag: //Ip' > tag
      list -o /dev/null -w '%{http_code}\\n' -u "$ME" -H "If-None-Match: $(cat tag)" "$A/revoke/trl"
      list -o /dev/null -w '%{http_code}\\n' -H "Authorization: Bearer $KEY" -H "If-None-Match: $(cat tag)" "$A/revoke/trl"
      list -o /dev/null -w '%{http_code}\\n' "$A/revoke/trl"
      list -o /dev/null -w '%{http_code}\\n' -X POST -u "$ME" "$A/revoke/trl"`;
    const lines = (await shell(folder, script, own)).replaceAll(/\n (?=.. .. .. .. .. .. .. .. )/g, "\n ");
    const compact = lines.replaceAll(/ /g, "").replaceAll(/(?<=^[0-9a-f]{32})\n(?=[0-9a-f]{2,32}$)/gm, "");
    expect(compact.split("\n")).toEqual([
      "a2008002f6",
      "a101a10001",
      "a101a10000",
      "a101a2000001f6",
      "a3018002f603f4",
      "200",
      `a30181828081582101${hashed}020003f4`,
      `a20081582101${hashed}0200`,
      "a101a10002",
      "304",
      "200",
      "401",
      "405",
    ]);
  });

  testWith(
    ["curl", "openssl"],
    "brings the list of certificates on which openssl finds who was taken back",
    async () => {
      const [lost, held, gone, good] = await Promise.all(
        ["l", "m", "n", "o"].map((name) => makeDevice(`acme.${name}`)),
      );
      const check = async (): Promise<string[]> => {
        const script = `
        curl -s --fail --cacert "$CA" -o own.crl "$A/crl"
        openssl crl -inform DER -in own.crl -verify -CAfile "$CA" -out own.pem 2>&1
        for dir in $DIRS; do
          openssl verify -crl_check -CAfile "$CA" -CRLfile own.pem "$dir/certificate.pem" 2>&1 |
            grep -oE 'OK|certificate revoked' || echo '?'
        done`;
        const DIRS = [lost, held, gone, good].map((device) => device!.dir).join(" ");
        return (await shell(folder, script, { ...env, DIRS })).split("\n");
      };
      expect(await check()).toEqual(["verify OK", "OK", "OK", "OK", "OK"]);
      await installation.json(`cert revoke ${lost!.serial}`);
      await installation.json(`client disable ${held!.id}`);
      await installation.json(`client delete ${gone!.id}`);
      const revoked = "certificate revoked";
      expect(await check()).toEqual(["verify OK", revoked, revoked, revoked, "OK"]);
      await installation.json(`client enable ${held!.id}`);
      expect(await check()).toEqual(["verify OK", revoked, "OK", revoked, "OK"]);
    },
  );
});
