/** Wrong usage and help, as transcripts: exit code 2 with one line, exit code 0 with help. Needs no authority. */
import { describe, expect, it } from "vitest";
import { postern } from "./transcript.ts";

describe("wrong usage is one line and exit code 2", () => {
  it.each([
    ["frobnicate", "postern: usage: unknown command 'frobnicate'"],
    ["frob\u001b[31m\u009bnicate", "postern: usage: unknown command 'frob?[31m?nicate'"],
    ["--frobnicate", "postern: usage: unknown option '--frobnicate'"],
    ["project frobnicate", "postern: project: unknown command 'frobnicate'"],
    ["projekt list", "postern: usage: unknown command 'projekt' (Did you mean project?)"],
    ["project create", "postern: project create: missing required argument 'slug'"],
    ["project create a b", "postern: project create: too many arguments for 'create'. Expected 1 argument but got 2."],
    ["project list --frob", "postern: project list: unknown option '--frob'"],
    ["project list --url", "postern: usage: option '--url <url>' argument missing"],
    ["project list --url http://localhost", "postern: project list: http://localhost is not an https address"],
    [
      "api create t --project p --kind ftp",
      "postern: api create: option '--kind <kind>' argument 'ftp' is invalid. Allowed choices are mqtt, http.",
    ],
    ["api create t --project p", "postern: api create: required option '--kind <kind>' not specified"],
    ["api create t --project p --kind mqtt", "postern: api create: an api of kind mqtt needs --topics"],
    ["api create t --project p --kind http", "postern: api create: an api of kind http needs --scopes"],
    [
      "api create t --project p --kind mqtt --topics a --scopes b",
      "postern: api create: --topics are for kind mqtt, --scopes for kind http",
    ],
    [
      "api create t --project p --kind http --scopes a --topics b",
      "postern: api create: --topics are for kind mqtt, --scopes for kind http",
    ],
    [
      "api create t --project p --kind mqtt --topics a --ttl 5",
      "postern: api create: option '--ttl <duration>' argument '5' is invalid. A duration is a number and a unit, for example 90s, 30m, 1h, 7d.",
    ],
    ["role create r --project p --api a", "postern: role create: a role needs --allow or --scope"],
    ["client show pump", "postern: client show: pump is a name; give --project or the id"],
    ["client show acme.pump --project other", "postern: client show: acme.pump is not in project other"],
    [
      "ticket create --project p --client c --uses 3",
      "postern: ticket create: give --client, or --uses and --role, not both",
    ],
    ["ticket create --project p", "postern: ticket create: give --client, or --uses and --role"],
    ["ticket create --role r", "postern: ticket create: required option '--project <slug>' not specified"],
    [
      "ticket create --project p --role r --uses 0",
      "postern: ticket create: option '--uses <n>' argument '0' is invalid. A count is a whole number, 1 or more.",
    ],
    ["token revoke", "postern: token revoke: missing required argument 'token-or-hash'"],
    ["cert revoke", "postern: cert revoke: missing required argument 'serial'"],
    ["project revoke-tokens p", "postern: project revoke-tokens: required option '--before <time>' not specified"],
    [
      "project revoke-tokens p --before yesterday",
      "postern: project revoke-tokens: option '--before <time>' argument 'yesterday' is invalid. A time is like 2026-11-22T06:00:00Z, or seconds since 1970, or now.",
    ],
    [
      "project revoke-tokens p --before -1",
      "postern: project revoke-tokens: option '--before <time>' argument '-1' is invalid. A time is like 2026-11-22T06:00:00Z, or seconds since 1970, or now.",
    ],
    [
      "api create t --project p --kind mqtt --topics a --purge soon",
      "postern: api create: option '--purge <when>' argument 'soon' is invalid. Allowed choices are client, always, never.",
    ],
    ["token get", "postern: token get: give --client with its secret or key, or --dir of an agent"],
    ["token get --client a.b", "postern: token get: give --secret, --key-file or POSTERN_CLIENT_SECRET"],
    ["frobnicate --help", "postern: usage: unknown command 'frobnicate'"],
    [
      "up --http-port 70000",
      "postern: up: option '--http-port <n>' argument '70000' is invalid. A port is a number from 0 to 65535.",
    ],
    [
      "agent publish t --qos 3",
      "postern: agent publish: option '--qos <n>' argument '3' is invalid. QoS is 0, 1 or 2.",
    ],
    ["login a b", "postern: login: too many arguments for 'login'. Expected 1 argument but got 2."],
    ["login a@b.example --password secret", "postern: login: unknown option '--password'"],
    ["developer confirm a@b.example", "postern: developer confirm: missing required argument 'code'"],
    ["agent subscribe", "postern: agent subscribe: missing required argument 'filter'"],
  ])("postern %s", async (line, stderr) => {
    expect(await postern(line.split(" "))).toEqual({ stdout: "", stderr: `${stderr}\n`, exitCode: 2 });
  });

  it.each([[""], ["project"], ["agent"]])("postern %s, without a verb, prints the usage on stderr", async (line) => {
    const { stdout, stderr, exitCode } = await postern(line === "" ? [] : [line]);
    expect({ stdout, exitCode, first: stderr.split("\n")[0] }).toEqual({
      stdout: "",
      exitCode: 2,
      first: `Usage: ${["postern", line].join(" ").trim()} [options] [command]`,
    });
  });
});

describe("what failed is one line and exit code 1", () => {
  it.each([
    [
      "project list --data /nowhere",
      "postern: project list: no authority in /nowhere; start one with postern up, log in to one, or give --url or --data",
    ],
    [
      "project list --url https://localhost:1",
      "postern: project list: no key for https://localhost:1; give --key, POSTERN_KEY or --data, or log in with postern login",
    ],
    [
      "project list --url https://localhost:1 --key k",
      "postern: project list: GET https://localhost:1/v1/projects: connection refused",
    ],
    [
      "project list --url https://localhost:1 --key k --ca /nowhere",
      "postern: project list: /nowhere cannot be read (ENOENT)",
    ],
    ["agent enrol pt1_xyz --dir /nowhere", "postern: agent enrol: this is not a ticket"],
    [
      "agent status --dir /nowhere",
      "postern: agent status: no enrolled agent in /nowhere; run postern agent enrol with a ticket",
    ],
    [
      "agent publish a/b --dir /nowhere",
      "postern: agent publish: no enrolled agent in /nowhere; run postern agent enrol with a ticket",
    ],
    [
      "token inspect abc",
      expect.stringMatching(/^postern: token inspect: this is no token \((cbor|token|cose)\.[a-z-]+\)\n$/),
    ],
    [
      `token inspect ${"a".repeat(10_000)}`,
      expect.stringMatching(/^postern: token inspect: this is no token \(\w+\.[a-z-]+\)\n$/),
    ],
    ["up --config /nowhere.toml", "postern: up: /nowhere.toml cannot be read (ENOENT)"],
  ])("postern %s", async (line, stderr) => {
    expect(await postern(line.split(" "))).toEqual({
      stdout: "",
      stderr: typeof stderr === "string" ? `${stderr}\n` : stderr,
      exitCode: 1,
    });
  });
});

describe("help is exit code 0", () => {
  it.each([
    ["--help", "Usage: postern [options] [command]"],
    ["project --help", "Usage: postern project [options] [command]"],
    ["api create --help", "Usage: postern api create [options] <name>"],
    ["help agent", "Usage: postern agent [options] [command]"],
    ["up --help", "Usage: postern up [options]"],
    ["login --help", "Usage: postern login [options] [email]"],
    ["member invite --help", "Usage: postern member invite [options] <email>"],
  ])("postern %s", async (line, first) => {
    const { stdout, stderr, exitCode } = await postern(line.split(" "));
    expect({ first: stdout.split("\n")[0], stderr, exitCode }).toEqual({ first, stderr: "", exitCode: 0 });
  });

  it("of a verb has its own options and those of all commands, not those of its noun", async () => {
    const { stdout } = await postern(["broker", "list", "--help"]);
    expect([...stdout.matchAll(/^ {2}(?:-h, )?--(\w+)/gm)].map(([, name]) => name)).toEqual([
      "help",
      "json",
      "data",
      "url",
      "key",
      "ca",
    ]);
    expect((await postern(["broker", "--help"])).stdout).toMatch(/--bind .*--json/s);
  });

  it("names every noun", async () => {
    const { stdout } = await postern(["--help"]);
    const others = ["login", "logout", "developer", "apikey", "member", "invitation"];
    for (const noun of [
      "up",
      ...others,
      "project",
      "api",
      "role",
      "client",
      "ticket",
      "token",
      "cert",
      "key",
      "agent",
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${noun} `, "m"));
    }
  });

  it("prints the version", async () => {
    expect(await postern(["--version"])).toEqual({
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
      stderr: "",
      exitCode: 0,
    });
  });
});
