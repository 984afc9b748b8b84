/** `postern broker` and the tickets of brokers, as transcripts; and the process that it is, from its ready line to its end. */
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseTicket } from "../../shared/ticket.ts";
import { makeFolder, startPostern } from "../e2e/fixture.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { postern } from "./transcript.ts";

let installation: Installation;
beforeAll(async () => {
  installation = await openInstallation();
});
afterAll(() => installation.close());

const done = (stdout: unknown) => ({ exitCode: 0, stdout, stderr: "" });
const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";

describe("an administrator", () => {
  it.each<[line: string, stdout: string | RegExp]>([
    ["broker list", "no brokers yet\n"],
    ["ticket create --broker edge --host mq.example --host 10.0.0.7 --ttl 1h", /^pt1_[A-Za-z0-9_-]+\n$/],
    ["ticket create --broker spare", /^pt1_[A-Za-z0-9_-]+\n$/],
    [
      "broker list",
      "broker  hosts                certified until\nedge    mq.example 10.0.0.7  -\nspare   -                    -\n",
    ],
    [
      "ticket list --broker edge",
      new RegExp(`^ticket +for +used +expires +revoked\n[0-9a-f]{16} +broker edge +no +${time} +no\n$`),
    ],
    ["broker delete spare", "deleted broker spare\n"],
    [
      "broker list --json",
      /^\[\{"name":"edge","hosts":\["mq.example","10.0.0.7"\],"created_at":\d+,"certified_until":null\}\]\n$/,
    ],
  ])("postern %s", async (line, stdout) => {
    const expected = typeof stdout === "string" ? stdout : expect.stringMatching(stdout);
    expect(await installation.run(line)).toEqual(done(expected));
  });

  it("gets with --json what openssl and curl need", async () => {
    const { ticket, ...parts } = await installation.json("ticket create --broker edge --ttl 1h");
    const { expires, ...said } = parts;
    expect(said).toEqual(parseTicket(ticket));
    expect(said.authority).toBe(installation.postern.issuer);
    expect(Math.abs(Date.parse(expires) - Date.now() - 3_600_000)).toBeLessThan(60_000);
  });

  it("ends a ticket, by its text or its id", async () => {
    const { ticket } = await installation.json("ticket create --broker edge");
    expect(await installation.run(`ticket revoke ${ticket} --broker edge`)).toEqual(
      done(expect.stringMatching(/^revoked ticket [0-9a-f]{16}\n$/)),
    );
    const listed = await installation.json("ticket list --broker edge");
    const ended = listed.filter(({ revoked }: { revoked: boolean }) => revoked);
    expect(ended).toHaveLength(1);
    expect((await installation.run(`ticket revoke ${ended[0].id} --broker edge`)).exitCode).toBe(0);
  });

  it.each<[line: string, exitCode: number, why: string]>([
    ["ticket create --broker spare", 1, "ticket create: it exists already or is in use: broker spare existed"],
    ["ticket create --broker a.b", 1, "ticket create: a field is not valid: a name is"],
    [
      "ticket create --broker edge --host *.example",
      2,
      "ticket create: option '--host <host>' argument '*.example' is invalid",
    ],
    ["ticket create --broker edge --project acme", 2, "ticket create: a broker is of no project and has no roles"],
    ["ticket create --broker edge --role r", 2, "ticket create: a broker is of no project and has no roles"],
    ["ticket create --project acme --role r --host h", 2, "ticket create: --host is for --broker"],
    ["ticket list", 2, "ticket list: give --project or --broker"],
    ["ticket list --project acme --broker edge", 2, "ticket list: give --project or --broker, not both"],
    ["ticket revoke 0000 --broker edge", 1, "ticket revoke: not found: no ticket 0000"],
    ["broker delete nobody", 1, "broker delete: not found: no broker nobody"],
  ])("postern %s is refused with exit code %i", async (line, exitCode, why) => {
    const transcript = await installation.run(line);
    expect(transcript).toEqual({ exitCode, stdout: "", stderr: expect.stringContaining(`postern: ${why}`) });
    expect(transcript.stderr.trimEnd()).not.toContain("\n");
  });
});

describe("postern broker", () => {
  it.each<[line: string, exitCode: number, why: string]>([
    ["broker", 2, "broker: give --data, a folder of the broker's own"],
    ["broker edge", 2, "broker: too many arguments"],
    ["broker --data DIR --max-staleness 24", 2, "broker: option '--max-staleness <duration>' argument '24' is invalid"],
    ["broker --data DIR --http-port 1", 2, "broker: unknown option '--http-port'"],
    [
      "broker --data DIR",
      1,
      "broker: no enrolled broker in DIR; give --ticket (or POSTERN_TICKET) with one from postern ticket create --broker NAME",
    ],
    ["broker --data DIR --ticket pt1_x", 1, "broker: this is not a ticket"],
    ["broker --data DIR --config DIR/none.toml", 1, "broker: DIR/none.toml cannot be read (ENOENT)"],
  ])("%s: exit code %i", async (line, exitCode, why) => {
    const dir = makeFolder();
    const words = line.split(" ").map((word) => word.replace("DIR", dir));
    expect(await postern(words)).toEqual({
      exitCode,
      stdout: "",
      stderr: expect.stringContaining(`postern: ${why.replaceAll("DIR", dir)}`),
    });
    expect(existsSync(join(dir, "broker.json"))).toBe(false);
  });

  it("refuses the folder of an authority, and leaves it as it is", async () => {
    const { ticket } = await installation.json("ticket create --broker edge");
    const before = readFileSync(join(installation.dataDir, "ca.pem"), "utf8");
    const { exitCode, stderr } = await installation.run(`broker --ticket ${ticket}`);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("is the data folder of an authority")]);
    expect(readFileSync(join(installation.dataDir, "ca.pem"), "utf8")).toBe(before);
  });

  it("says one line when it is ready, with the host of its certificate, and ends on SIGTERM with exit code 0", async () => {
    const { ticket } = await installation.json("ticket create --broker edge --host localhost --host mq.example");
    const dir = join(makeFolder(), "edge");
    const flags = `--data ${dir} --mqtts-port 0 --wss-port 0 --bind 127.0.0.1`;
    const first = startPostern(`broker --json ${flags} --mqtt-port 0 --ticket ${ticket}`);
    const ready = await first.stdout.json();
    expect(ready).toEqual({
      event: "ready",
      mqtts: expect.stringMatching(/^mqtts:\/\/mq\.example:\d+$/),
      wss: expect.stringMatching(/^wss:\/\/mq\.example:\d+$/),
      mqtt: expect.stringMatching(/^mqtt:\/\/localhost:\d+$/),
      ca: join(dir, "ca.pem"),
    });
    expect(readFileSync(ready.ca, "utf8")).toBe(readFileSync(installation.postern.caFile, "utf8"));
    const { exitCode, stdout } = await first.stop();
    expect([exitCode, stdout.split("\n")]).toEqual([0, [expect.any(String), ""]]);

    const again = startPostern(`broker ${flags} --host localhost --log-level silent`);
    expect((await again.stdout.next()).replaceAll(/:\d+/g, ":PORT")).toBe(
      "postern is ready: broker mqtts://localhost:PORT, wss://localhost:PORT of authority https://localhost:PORT, " +
        `trust ${ready.ca}`,
    );
    expect(await again.stop()).toMatchObject({ exitCode: 0, stderr: "" });
    const certificate = new X509Certificate(readFileSync(join(dir, "certificate.pem")));
    expect(certificate.subject).toBe("CN=broker:edge");
  });
});
