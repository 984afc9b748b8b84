/** Commands and the answers of an authority that is not as they expect it: over real TLS, from a script. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CHAIN_START, formatRow, hashRow, type ChainedRow } from "../../shared/audit-chain.ts";
import { makeAuthority } from "../gate/certificates.ts";
import { postern, type Transcript, type TranscriptOptions } from "./transcript.ts";

/** What is answered to a request, by its number. */
type Answer = (response: ServerResponse, number: number) => void;

let server: Server;
let dir: string;
let ca: string;
let url: string;
let asked: IncomingMessage[];
/** Bodies. */
let sent: string[];
let answer: Answer;

beforeAll(async () => {
  const authority = await makeAuthority();
  const { cert, key } = await authority.server();
  const receive = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const number = asked.push(request) - 1;
    sent.push(await text(request));
    answer(response, number);
  };
  server = createServer({ cert, key }, (request, response) => void receive(request, response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  url = `https://localhost:${(server.address() as AddressInfo).port}`;
  dir = mkdtempSync(join(tmpdir(), "postern-answers-"));
  ca = join(dir, "ca.pem");
  writeFileSync(ca, authority.cert);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => void ([asked, sent] = [[], []]));

/** `postern <line>` with that authority. */
function run(line: string, options?: TranscriptOptions): Promise<Transcript> {
  return postern([...line.split(" "), "--url", url, "--key", "k", "--ca", ca], options);
}

const json =
  (...values: readonly unknown[]): Answer =>
  (response, number) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(values.at(number) ?? null));
const says =
  (status: number, body: object, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, { "content-type": "application/problem+json", ...headers }).end(JSON.stringify(body));
const failed = (stderr: string) => ({ stdout: "", stderr: `postern: ${stderr}\n`, exitCode: 1 });
const queries = (): string[] => asked.map(({ url: path = "" }) => path.slice(path.indexOf("?")));

/** A chain of so many rows. */
function makeRows(count: number, facts: string | null = null): ChainedRow[] {
  let previous: Uint8Array = CHAIN_START;
  return Array.from({ length: count }, (_, index) => {
    const texts = { project: null, subject: null, reason: null, refusal_id: null, facts };
    const row = { seq: index + 1, at: 1_790_000_000, event: "thing.made", actor: "admin", ...texts };
    previous = hashRow(previous, row);
    return { ...row, hash: Buffer.from(previous).toString("hex") };
  });
}

describe("an answer that is none", () => {
  it.each<[what: string, line: string, given: Answer, why: string]>([
    ["an object instead of a list", "project list", json({}), "the answer is no list"],
    ["nothing instead of a list", "project list", (response) => response.writeHead(204).end(), "the answer is no list"],
    ["a list of another kind", "audit list", json({ items: {} }), "the answer is no list"],
    ["no list, in a verification", "audit verify", json([]), "the answer is no list"],
    [
      "the same page again and again",
      "project list",
      json({ items: [{ slug: "a", created_at: 0 }], next: "a" }, { items: [{ slug: "a", created_at: 0 }], next: "a" }),
      "the answer is the same page again and again",
    ],
    ["a page of a web site", "project list", (response) => response.end("<html>"), "the answer is not JSON"],
  ])("%s fails in one line", async (_, line, given, why) => {
    answer = given;
    expect(await run(line)).toEqual(failed(`${line}: ${why}`));
  });

  it("that leads elsewhere is not followed: the key is for the authority that was named", async () => {
    answer = (response) => response.writeHead(307, { location: "/elsewhere" }).end();
    expect(await run("project list")).toEqual(failed("project list: HTTP 307"));
    expect(asked).toHaveLength(1);
  });

  it("holds no token", async () => {
    answer = json({ token_type: "Bearer" });
    const line = "token get --client acme.job --secret s";
    expect(await run(line)).toEqual(failed("token get: the authority's answer holds no token"));
    answer = json({ token_type: "Bearer" });
    expect(await run(`${line} --format cwt`)).toEqual(failed("token get: the authority's answer holds no token"));
  });
});

describe("a list", () => {
  it("is read to its end, page after page, with what was asked for", async () => {
    const page = (slug: string, next?: string) => ({ items: [{ slug, created_at: 0 }], next });
    answer = json(page("a", "a"), page("b", "b b"), page("c"));
    expect(JSON.parse((await run("project list --json")).stdout)).toMatchObject([
      { slug: "a" },
      { slug: "b" },
      { slug: "c" },
    ]);
    expect(asked.map(({ url: path }) => path)).toEqual([
      "/v1/projects",
      "/v1/projects?after=a",
      "/v1/projects?after=b%20b",
    ]);
    asked = [];
    answer = json({ items: [{}], next: "0a" }, { items: [] });
    await run("cert list --client a.b --json");
    expect(queries()).toEqual(["?client=a.b", "?client=a.b&after=0a"]);
  });
});

describe("a refusal", () => {
  it.each<[what: string, given: Answer, why: string]>([
    ["that is vague names its id", says(401, { title: "no", id: "abc" }), "no (id abc)"],
    ["that is a fault names its id", says(500, { title: "internal error", id: "abc" }), "internal error (id abc)"],
    ["that says what is wrong does not", says(404, { title: "not found", id: "abc" }), "not found"],
    [
      "of too many requests says when to come back",
      says(429, { title: "slower" }, { "retry-after": "7" }),
      "slower; try again in 7 s",
    ],
    ["without words is its status", says(418, {}), "HTTP 418"],
    [
      "of fields names them all",
      says(422, { title: "not valid", errors: [{ detail: "too long", pointer: "#/slug" }, { pointer: "#/kind" }, {}] }),
      "not valid: slug: too long, kind: not valid, not valid",
    ],
  ])("%s", async (_, given, why) => {
    answer = given;
    expect(await run("project list")).toEqual(failed(`project list: ${why}`));
  });

  it("of one project asks for no other project", async () => {
    answer = says(403, { title: "not authorized" });
    expect((await run("audit list --project acme")).stderr).toBe("postern: audit list: not authorized\n");
    expect((await run("audit list")).stderr).toBe("postern: audit list: not authorized; of a project: --project\n");
  });
});

describe("what an authority answers", () => {
  const role = "own\u001b[2Jer\u009b31m\r";

  it("moves no cursor, in text or in JSON, and is in JSON what it was", async () => {
    answer = json({ project: "acme", role }, { project: "acme", role });
    expect((await run("member accept pi1_x")).stdout).toBe("you are own?[2Jer?31m? of acme\n");
    const { stdout } = await run("member accept pi1_x --json");
    // oxlint-disable-next-line no-control-regex
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(JSON.parse(stdout)).toEqual({ project: "acme", role });
  });
});

describe("in text and in JSON", () => {
  const none: Answer = (response) => response.writeHead(204).end();
  const at = 1_790_000_000;
  const time = "2026-09-21 14:13:20 UTC";
  const environment = { POSTERN_PASSWORD: "p", XDG_CONFIG_HOME: "/nowhere" };
  const refusal = {
    id: "abc",
    at,
    event: "token.refused",
    reason: "request.scope",
    told: "no",
    actor: "a.b",
    project: "a",
    subject: null,
    check: "c",
    change: "nothing to change",
    command: null,
  };
  const key = { id: "0a", name: "ci", project: null, scopes: ["read"], created_at: at, expires_at: at };
  const secret = { id: "0a", created_at: at, expires_at: at, idle_seconds: 1, last_used_at: null, status: "valid" };

  it.each<[line: string, given: Answer, said: string, value: object]>([
    [
      "developer confirm a@b.example c",
      none,
      "confirmed a@b.example; log in with postern login a@b.example",
      {
        email: "a@b.example",
        confirmed: true,
      },
    ],
    [
      "developer reset a@b.example --code c",
      none,
      "the password of a@b.example is the new one; its logins have ended",
      {
        email: "a@b.example",
        reset: true,
      },
    ],
    ["developer delete dev_1", none, "deleted dev_1", { id: "dev_1" }],
    ["developer delete", none, "deleted your account", { deleted: true }],
    ["apikey revoke 0a", none, "revoked API key 0a", { id: "0a", revoked: true }],
    ["invitation revoke 0a", none, "revoked invitation 0a", { id: "0a", revoked: true }],
    ["member set dev_1 --project a --role owner", none, "dev_1 is owner of a", { id: "dev_1", role: "owner" }],
    ["member remove dev_1 --project a", none, "removed dev_1 from a", { id: "dev_1", project: "a", removed: true }],
    ["secret retire 0a --client a.b", none, "retired secret 0a of a.b", { id: "0a", status: "retired" }],
    [
      "secret create --client a.b",
      json({ ...secret, secret: "s" }, { ...secret, secret: "s" }),
      `created secret 0a of a.b, good until ${time}\nsecret, shown only now: s`,
      { ...secret, secret: "s" },
    ],
    [
      "apikey list",
      json(
        { items: [{ ...key, last_used_at: null, status: "valid" }] },
        { items: [{ ...key, last_used_at: null, status: "valid" }] },
      ),
      `id  name  project  scopes  created                  last used  expires                  status\n0a  ci    all      read    ${time}  never      ${time}  valid`,
      [{ ...key, last_used_at: null, status: "valid" }],
    ],
    [
      "developer list",
      json(...[0, 1].map(() => ({ items: [{ id: "d", email: "e", name: "", created_at: at, confirmed: false }] }))),
      `developer  email  name  created                  confirmed\nd          e            ${time}  no`,
      [{ id: "d", email: "e", name: "", created_at: at, confirmed: false }],
    ],
    [
      "explain abc",
      json(
        ...[0, 1].map(() => ({ ...refusal, facts: { method: "POST", asked: ["a", "b"], count: 2, more: { x: 1 } } })),
      ),
      `refused  a.b, ${time} (token.refused)\nreason   request.scope: no\nchecked  c\nchange   nothing to change\nmethod   POST\nasked    a b\ncount    2\nmore     {"x":1}`,
      { ...refusal, facts: { method: "POST", asked: ["a", "b"], count: 2, more: { x: 1 } } },
    ],
    [
      "client update a.b",
      json(...[0, 1].map(() => ({ id: "a.b", roles: [] }))),
      "a.b now has roles -",
      { id: "a.b", roles: [] },
    ],
  ])("%s says the same", async (line, given, said, value) => {
    answer = given;
    expect(await run(line, { environment })).toEqual({ stdout: `${said}\n`, stderr: "", exitCode: 0 });
    const { stdout } = await run(`${line} --json`, { environment });
    expect(JSON.parse(stdout)).toEqual(value);
  });

  const hash = `01${"ab".repeat(32)}`;
  it.each<[line: string, path: string, body: object]>([
    ["client update a.b", "PATCH /v1/projects/a/clients/b", { roles: [] }],
    ["client update b --project a --role r --role s", "PATCH /v1/projects/a/clients/b", { roles: ["r", "s"] }],
    ["secret create --api b --project a --ttl 2h", "POST /v1/projects/a/apis/b/secrets", { ttl_seconds: 7200 }],
    ["secret create --client a.b --idle 1h", "POST /v1/projects/a/clients/b/secrets", { idle_seconds: 3600 }],
    [
      "api create b --project a --kind mqtt --topics x --topics y z --ttl 1m --format jwt --bearer --purge never --audience u",
      "POST /v1/projects/a/apis",
      {
        name: "b",
        kind: "mqtt",
        audience: "u",
        topics: ["x", "y", "z"],
        ttl_seconds: 60,
        format: "jwt",
        bearer: true,
        purge: "never",
      },
    ],
    [
      "api create b --project a --kind http --scopes x,y --scopes z",
      "POST /v1/projects/a/apis",
      { name: "b", kind: "http", scopes: ["x", "y", "z"] },
    ],
    [
      "apikey create ci --scope read --scope own --ttl 1d --project a",
      "POST /v1/me/api-keys",
      { name: "ci", project: "a", scopes: ["read", "own"], ttl_seconds: 86_400 },
    ],
    [`token revoke ${hash} --project a`, "POST /v1/projects/a/revocations", { tokens: [hash] }],
  ])("%s asks for no more than it says", async (line, path, body) => {
    answer = json({ roles: [], scopes: [], tokens: 1 });
    await run(line);
    expect(asked.map(({ method, url: to }) => `${method} ${to}`)).toEqual([path]);
    expect(sent.map((one): unknown => JSON.parse(one))).toEqual([body]);
  });
});

describe("the list of what happened", () => {
  it("asks on where a page holds fewer rows than were asked for, and for no more than that", async () => {
    const [one, two, three] = makeRows(3);
    answer = json({ items: [three], next: "3" }, { items: [two], next: "2" }, { items: [one] });
    const { stdout } = await run("audit list --limit 2 --json");
    expect(JSON.parse(stdout).map(({ seq }: ChainedRow) => seq)).toEqual([3, 2]);
    expect(queries()).toEqual(["?limit=2&before=999999999999999", "?limit=1&before=3"]);
  });

  it("is empty in one sentence", async () => {
    answer = json({ items: [] });
    expect((await run("audit list --project acme")).stdout).toBe("nothing happened yet\n");
  });

  it("shows facts that are no JSON as they are, and a refusal without an id", async () => {
    const [row] = makeRows(1, "{");
    answer = json({ items: [{ ...row, reason: "admin.key" }] }, { items: [{ ...row, reason: "admin.key" }] });
    expect(JSON.parse((await run("audit list --json")).stdout)).toMatchObject([{ facts: "{" }]);
    expect((await run("audit list")).stdout).toMatch(/ admin\.key \(no id\)\n$/);
  });
});

describe("the export of a log", () => {
  const rows = makeRows(3);
  const page = { items: rows.slice(0, 2), next: "2" };
  const target = (): string => join(dir, "log.ndjson");

  it("is put together from pages of any size", async () => {
    answer = (response, number) => json(page, { items: rows.slice(2) })(response, number % 2);
    expect(await run(`audit export ${target()}`)).toEqual({
      stdout: `wrote 3 rows to ${target()}\nhead 3:${rows[2]!.hash}\n`,
      stderr: "",
      exitCode: 0,
    });
    const all = rows.map((row) => `${formatRow(row)}\n`).join("");
    expect(readFileSync(target(), "utf8")).toBe(all);
    expect(queries()).toEqual(["?limit=1000&after=0", "?limit=1000&after=2"]);
    rmSync(target());
    // the log alone, where it goes to stdout
    expect(await run("audit export")).toEqual({ stdout: all, stderr: "", exitCode: 0 });
  });

  it.each<[what: string, second: Answer, why: RegExp]>([
    ["is gone after the first page", (response) => response.destroy(), /closed by the other side$/],
    ["breaks down after the first page", says(500, { title: "internal error" }), /internal error$/],
    ["answers no list", json(null, {}), /the answer is no list$/],
    ["answers what is no row", json(null, { items: [{ seq: 3 }] }), /the authority answers what is no row$/],
    ["answers the same page again", json(null, page), /the same page again and again$/],
  ])("leaves no file that would pass for the whole log, where the authority %s", async (_, second, why) => {
    answer = (response, number) => (number === 0 ? json(page) : second)(response, number);
    const { stdout, stderr, exitCode } = await run(`audit export ${target()}`);
    expect([stdout, exitCode]).toEqual(["", 1]);
    expect(stderr.slice(0, -1)).toMatch(why);
    expect(stderr).toMatch(/^postern: audit export: .*\n$/);
    expect(existsSync(target())).toBe(false);
  });

  it("of a log that is not whole is all of it, with the first row that is wrong", async () => {
    const wrong = rows.map((row) => ({ ...row, actor: row.seq === 1 ? row.actor : "x" }));
    answer = json({ items: wrong });
    const why = "its hash is not that of its content and the row before";
    expect(await run(`audit export ${target()}`)).toEqual(
      failed(`audit export: all of it was written, and row 2 is wrong: ${why}`),
    );
    expect(readFileSync(target(), "utf8").trimEnd().split("\n")).toHaveLength(3);
    rmSync(target());
  });

  it("leaves a file alone that was there before", async () => {
    writeFileSync(target(), "mine");
    answer = json(page, { items: rows.slice(2) });
    expect(await run(`audit export ${target()}`)).toEqual(failed(`audit export: ${target()} is there already`));
    expect(readFileSync(target(), "utf8")).toBe("mine");
    rmSync(target());
  });
});

describe("the verification of a log", () => {
  it("says in JSON what it says in text", async () => {
    const rows = makeRows(2);
    answer = json({ items: rows }, { items: rows });
    const head = `2:${rows[1]!.hash}`;
    expect((await run("audit verify")).stdout).toBe(`the log is whole: 2 rows\nhead ${head}\n`);
    expect(JSON.parse((await run("audit verify --json")).stdout)).toEqual({ ok: true, rows: 2, head });
  });

  it("names the place of what is no row", async () => {
    answer = json({ items: [...makeRows(1), { seq: 2 }] });
    expect(await run("audit verify")).toEqual({
      stdout: "row 2 is wrong: it cannot be read\n",
      stderr: "",
      exitCode: 1,
    });
  });

  it("of a file takes no bytes that are no text, where a row has the character that stands for such", async () => {
    const [row] = makeRows(1, '"\ufffd"');
    const file = join(dir, "text.ndjson");
    const line = Buffer.from(`${formatRow(row!)}\n`);
    writeFileSync(file, line);
    expect((await postern(["audit", "verify", file])).exitCode).toBe(0);
    const at = line.indexOf(Buffer.of(0xef, 0xbf, 0xbd));
    writeFileSync(file, Buffer.concat([line.subarray(0, at), Buffer.of(0xff), line.subarray(at + 3)]));
    expect((await postern(["audit", "verify", file])).stdout).toBe("row 1 is wrong: it cannot be read\n");
  });

  it("of a file without line breaks ends at the first megabytes", async () => {
    const file = join(dir, "long.ndjson");
    const [row] = makeRows(1, "x".repeat(5 * 1024 * 1024));
    writeFileSync(file, `${formatRow(row!)}\n`);
    expect((await postern(["audit", "verify", file])).stdout).toBe("row 1 is wrong: it cannot be read\n");
  });
});

describe("what stands for nothing", () => {
  it.each([
    ["invitation revoke", ["invitation", "revoke", ""]],
    ["member list", ["member", "list", "--project", ""]],
    ["developer delete", ["developer", "delete", ""]],
  ])("an empty name in %s is not the path of the whole list", async (what, words) => {
    expect(await postern([...words, "--url", url, "--key", "k", "--ca", ca])).toEqual(
      failed(`${what}: a name is empty`),
    );
    expect(asked).toEqual([]);
  });

  it.each([".", ".."])("a name %s is no step of a path", async (name) => {
    expect(await run(`invitation revoke ${name}`)).toEqual(failed(`invitation revoke: ${name} is no name`));
    expect(asked).toEqual([]);
  });

  it("an empty variable counts for none", async () => {
    const environment = { POSTERN_URL: "", POSTERN_KEY: "", POSTERN_CA: "", POSTERN_DATA: "" };
    expect(await postern(["project", "list"], { environment })).toEqual(
      failed(
        "project list: no authority in ./postern-data; start one with postern up, log in to one, or give --url or --data",
      ),
    );
    const secrets = { POSTERN_CLIENT_SECRET: "", POSTERN_API_SECRET: "" };
    for (const [line, why] of [
      ["token get --client a.b", "token get: give --secret, --key-file or POSTERN_CLIENT_SECRET"],
      ["token verify x --client a.b", "token verify: give --secret or POSTERN_CLIENT_SECRET, or --key-file"],
      ["token verify x --api b --project a", "token verify: give --secret or POSTERN_API_SECRET, or --key-file"],
    ] as const) {
      expect(await run(line, { environment: secrets })).toEqual({ ...failed(why), exitCode: 2 });
    }
    expect(asked).toEqual([]);
  });
});

describe("what should not be sent is not, nor said again where it is secret", () => {
  it.each([
    [
      "a key with a line break",
      ["--url", "https://localhost:1", "--key", "se\ncret"],
      "the key has what no key has in it",
    ],
    ["a key of no letters", ["--url", "https://localhost:1", "--key", ""], "the key has what no key has in it"],
    [
      "a password in the address",
      ["--url", "https://user:secret@localhost:1", "--key", "k"],
      "an address has no user and no password in it",
    ],
    [
      "a password in an address of another kind",
      ["--url", "http://:secret@localhost:1"],
      "an address has no user and no password in it",
    ],
  ])("%s", async (_, words, why) => {
    expect(await postern(["project", "list", ...words])).toEqual({ ...failed(`project list: ${why}`), exitCode: 2 });
  });

  it("the CA of a folder to an authority that is not the one of the folder", async () => {
    const folder = join(dir, "other");
    mkdirSync(folder);
    writeFileSync(
      join(folder, "authority.json"),
      JSON.stringify({ url: "https://other.example", local: "https://localhost:1" }),
    );
    writeFileSync(join(folder, "ca.pem"), readFileSync(ca));
    const environment = { POSTERN_DATA: folder };
    answer = json({ items: [] });
    expect((await postern(["project", "list", "--url", url, "--key", "k"], { environment })).stderr).toMatch(
      /not from the expected authority; name its CA with --ca or POSTERN_CA\n$/,
    );
    expect(asked).toEqual([]);
  });

  it("what a folder trusts, where that is nothing: the system's trust is not asked instead", async () => {
    const folder = join(dir, "blank");
    mkdirSync(folder);
    for (const [name, text] of Object.entries({ "authority.json": JSON.stringify({ url }), "admin.key": "k" })) {
      writeFileSync(join(folder, name), text);
    }
    writeFileSync(join(folder, "ca.pem"), "\n");
    expect(await postern(["project", "list", "--data", folder])).toEqual(
      failed(`project list: the CA of ${url} that is kept here is empty`),
    );
    writeFileSync(join(folder, "ca.pem"), "");
    const environment = { POSTERN_DATA: folder };
    expect(await postern(["project", "list", "--url", url, "--key", "k"], { environment })).toEqual(
      failed(`project list: the CA of ${url} that is kept here is empty`),
    );
    expect(await postern(["project", "list", "--url", url, "--key", "k", "--ca", join(folder, "admin.key")])).toEqual(
      failed(`project list: ${join(folder, "admin.key")} holds no certificate in PEM`),
    );
    expect(asked).toEqual([]);
  });

  it("an admin key in a folder that cannot be one", async () => {
    writeFileSync(join(dir, "authority.json"), JSON.stringify({ url }));
    writeFileSync(join(dir, "admin.key"), "\n");
    expect(await postern(["project", "list", "--data", dir])).toEqual(
      failed(`project list: ${dir} holds no admin key that can be one`),
    );
    expect(asked).toEqual([]);
  });
});
