/** `postern audit`: listed, exported, verified; and found out, whatever was done to it. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Sqlite } from "../../broker/sqlite/sqlite.ts";
import { openPlace, type Person, type Place } from "./people.ts";

let place: Place;
let dev: Person;
let whole: string;
let head: string;
beforeAll(async () => {
  place = await openPlace();
  dev = place.person("dev");
  await place.json("project create acme");
  await place.json("project create other");
  await place.json("api create web --project acme --kind http --scopes read --bearer");
  await place.json("role create reader --project acme --api web --scope read");
  await place.json("client create job --project acme --kind service --role reader");
  await place.run("token get --client acme.job --audience acme.web --secret wrong");
  whole = join(place.dir, "whole.ndjson");
  ({ head } = await place.json(`audit export ${whole}`));
});
afterAll(() => place.close());

const lines = (): string[] => readFileSync(whole, "utf8").trimEnd().split("\n");
const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";

describe("the list", () => {
  it("is of all that happened, newest first", async () => {
    const { stdout } = await place.run("audit list");
    expect(stdout).toMatch(
      new RegExp(
        `^seq  time +event +actor +subject +refused
8    ${time}  token.refused +stranger +- +client.secret \\([\\w-]{12}\\)
7 .* secret.created +admin +acme.job +-
6 .* client.created +admin +acme.job +-
`,
      ),
    );
    expect(stdout.trimEnd().split("\n")).toHaveLength(9);
    expect((await place.run("audit list --limit 1")).stdout.trimEnd().split("\n")).toHaveLength(2);
  });

  it("is of one project", async () => {
    const events = (await place.json("audit list --project other")).map(({ event }: { event: string }) => event);
    expect(events).toEqual(["project.created"]);
    expect((await place.json("audit list --project acme"))[0]).toMatchObject({
      event: "token.refused",
      actor: "stranger",
      facts: { method: "POST", path: "/token", claimed: "acme.job" },
    });
  });

  it("has the facts in one form, of all and of one project", async () => {
    const [all] = await place.json("audit list");
    const [own] = await place.json("audit list --project acme");
    expect(all).toMatchObject(own);
    expect(all.facts).toMatchObject({ method: "POST", address: "127.0.0.1" });
  });

  it.each(["0", "x", "10000"])("takes no limit of %s", async (limit) => {
    expect(await place.run(`audit list --limit ${limit}`)).toEqual({
      stdout: "",
      stderr: "postern: audit list: --limit is a number from 1 to 9999\n",
      exitCode: 2,
    });
  });

  it("of all is for the holder of the admin key, and of a project for who is in it", async () => {
    await dev.join();
    for (const line of ["audit list", "token revoke abc", "cert revoke 0a", "cert list", "invitation list"]) {
      expect(await dev.run(line)).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/: not authorized.* \(id [\w-]{12}\); of a project: --project\n$/),
      });
    }
    expect(await dev.run("audit list --project acme")).toMatchObject({
      stderr: expect.stringMatching(/no project acme/),
    });
    await dev.json("project create mine");
    expect(await dev.json("audit list --project mine")).toMatchObject([
      { event: "member.added" },
      { event: "project.created" },
    ]);
  });
});

describe("the export", () => {
  it("is one line a row, for its owner alone, with the head to note down", async () => {
    expect(statSync(whole).mode & 0o777).toBe(0o600);
    const rows = lines().map((line) => JSON.parse(line));
    expect(rows.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(Object.keys(rows[0])).toEqual("seq at event actor project subject reason refusal_id facts hash".split(" "));
    expect(head).toBe(`8:${rows[7].hash}`);
    expect(await place.run(`audit export ${whole}`)).toEqual({
      stdout: "",
      stderr: `postern: audit export: ${whole} is there already\n`,
      exitCode: 1,
    });
    const nowhere = join(place.dir, "none", "x");
    expect((await place.run(`audit export ${nowhere}`)).stderr).toBe(
      `postern: audit export: ${nowhere} cannot be written (ENOENT)\n`,
    );
  });

  it("goes to stdout without a file", async () => {
    const { stdout, exitCode } = await place.run("audit export");
    expect(exitCode).toBe(0);
    expect(stdout.startsWith(readFileSync(whole, "utf8"))).toBe(true);
  });
});

describe("the verification", () => {
  it("finds the log whole, at the authority and in the export", async () => {
    expect(await place.run(`audit verify ${whole} --head ${head}`)).toEqual({
      stdout: `the log is whole: 8 rows\nhead ${head}\n`,
      stderr: "",
      exitCode: 0,
    });
    const { ok, rows } = await place.json(`audit verify --head ${head}`);
    expect([ok, rows > 8]).toEqual([true, true]);
  });

  const flip = (line: string, at: number): string => {
    const bytes = Buffer.from(line);
    bytes[at]! ^= 1;
    return bytes.toString("latin1");
  };
  it.each<[what: string, change: (all: string[]) => string, row: number, why: RegExp]>([
    ["one byte", (all) => all.with(3, flip(all[3]!, 60)).join("\n") + "\n", 4, /its hash is not|it cannot be read/],
    [
      "one byte of a hash",
      (all) =>
        all
          .with(
            3,
            all[3]!.replace(/.(?="\}$)/, (c) => (c === "0" ? "1" : "0")),
          )
          .join("\n") + "\n",
      4,
      /its hash is not/,
    ],
    ["a row that is gone", (all) => all.toSpliced(2, 1).join("\n") + "\n", 3, /row 4 stands there/],
    ["two rows exchanged", (all) => all.with(2, all[3]!).with(3, all[2]!).join("\n") + "\n", 3, /row 4 stands there/],
    ["an end that is cut", (all) => all.slice(0, 5).join("\n") + "\n", 6, /ends before it, and row 8 was noted down/],
    ["an end that is cut within a row", (all) => all.join("\n").slice(0, -9), 8, /cannot be read/],
    ["nothing at all", () => "", 1, /ends before it/],
    ["something else", () => "PK\n", 1, /cannot be read/],
    ["an empty line", (all) => all.toSpliced(2, 0, "").join("\n") + "\n", 3, /cannot be read/],
    ["other line breaks", (all) => all.join("\r\n") + "\r\n", 1, /cannot be read/],
  ])("finds %s", async (_, change, row, why) => {
    const file = join(place.dir, "changed.ndjson");
    writeFileSync(file, change(lines()));
    const { stdout, stderr, exitCode } = await place.run(`audit verify ${file} --head ${head}`);
    expect([exitCode, stderr]).toEqual([1, ""]);
    expect(stdout).toMatch(new RegExp(`^row ${row} is wrong: `));
    expect(stdout).toMatch(why);
    const json = await place.run(`audit verify ${file} --head ${head} --json`);
    expect(JSON.parse(json.stdout)).toEqual({ ok: false, seq: row, why: expect.stringMatching(why) });
  });

  it("finds that all was made anew only by the head that was noted down", async () => {
    const another = head.replace(/.$/, (c) => (c === "0" ? "1" : "0"));
    expect(await place.run(`audit verify ${whole} --head ${another}`)).toEqual({
      stdout: "row 8 is wrong: its hash is not the one that was noted down\n",
      stderr: "",
      exitCode: 1,
    });
  });

  it.each(["7", "x:y", "7:abc"])("takes no head %s", async (wrong) => {
    expect(await place.run(`audit verify --head ${wrong}`)).toMatchObject({ exitCode: 2, stdout: "" });
  });

  it("of a file that is not there fails", async () => {
    expect(await place.run("audit verify /none/x")).toEqual({
      stdout: "",
      stderr: "postern: audit verify: /none/x cannot be read (ENOENT)\n",
      exitCode: 1,
    });
  });

  // the last one, because the log is not whole from here on
  it("finds one byte that was changed in the file of the registry", async () => {
    const db = new Sqlite(join(place.dataDir, "postern.db"));
    expect(() => db.exec(`UPDATE audit SET actor = 'admim' WHERE seq = 2`)).toThrow("append-only");
    db.exec(`DROP TRIGGER audit_is_not_changed; UPDATE audit SET actor = 'admim' WHERE seq = 2`);
    db.close();
    const why = "its hash is not that of its content and the row before";
    expect(await place.run("audit verify")).toEqual({ stdout: `row 2 is wrong: ${why}\n`, stderr: "", exitCode: 1 });
    const file = join(place.dir, "late.ndjson");
    expect((await place.run(`audit export ${file}`)).stderr).toBe(
      `postern: audit export: all of it was written, and row 2 is wrong: ${why}\n`,
    );
    expect((await place.run(`audit verify ${file}`)).stdout).toBe(`row 2 is wrong: ${why}\n`);
  });
});
