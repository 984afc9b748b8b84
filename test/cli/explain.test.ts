/** `postern explain`: what is refused is explained, and the command that it names changes it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openAdminClient } from "../../cli/admin-client.ts";
import { openPlace, type Person, type Place } from "./people.ts";
import { failed, postern, type Json } from "./transcript.ts";

let place: Place;
let dev: Person;
let secret: string;
beforeAll(async () => {
  place = await openPlace();
  dev = place.person("dev");
  await dev.join();
  await dev.json("project create acme");
  await dev.json("api create web --project acme --kind http --scopes read,write --bearer");
  await dev.json("role create reader --project acme --api web --scope read");
  await dev.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await dev.json("role create sensor --project acme --api telemetry --allow pub:acme/${name}/up");
  ({ client_secret: secret } = await dev.json("client create job --project acme --kind service --role reader"));
  await dev.json("client create pi --project acme --kind device --role sensor");
});
afterAll(() => place.close());

/** The newest refusal in the project's log. */
async function newest(): Promise<Json> {
  const rows: Json[] = await dev.json("audit list --project acme");
  return rows.find(({ refusal_id: id }) => id !== null);
}

const words = (command: string): string => command.replaceAll("'", "").replace("postern ", "");
const explain = (id: string): Promise<Json> => dev.json(`explain ${id}`);
const get = (scope: string): Promise<{ stderr: string; exitCode: number }> =>
  dev.run(`token get --client acme.job --audience acme.web --secret ${secret} --scope ${scope}`);

describe("a refusal", () => {
  it("of a scope names the role that lacks it, and is none once the role has it", async () => {
    const { stderr } = await get("write");
    const [, id] = /\(id ([\w-]{12})\)/.exec(stderr) ?? [];
    const { stdout, exitCode } = await dev.run(`explain ${id}`);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      new RegExp(
        `^refused   acme.job, .* UTC \\(token.refused\\)
reason    request.scope: nothing of the requested scope is allowed
checked   the roles of the client allow some of what was asked for
change    role reader, which acme.job has, lacks write: add it
command   postern role update reader --project acme --scope read --scope write
method    POST
path      /token
address   127.0.0.1
detail    nothing allowed on acme.web
audience  acme.web
asked     write
$`,
      ),
    );
    const { command } = await explain(id!);
    await dev.json(words(command));
    expect((await get("write")).exitCode).toBe(0);
    expect(await explain(id!)).toMatchObject({
      change: "nothing to change: the roles allow it by now; get a new token",
      command: null,
    });
  });

  it("at the broker is explained in the same way, and mended", async () => {
    const dir = join(place.dir, "pi");
    const { ticket } = await dev.json("ticket create --project acme --client pi");
    await dev.json(`agent enrol ${ticket} --dir ${dir}`);
    const publish = (topic: string): Promise<{ exitCode: number }> =>
      dev.run(`agent publish ${topic} --dir ${dir}`, { stdin: "21" });
    expect((await publish("acme/pi/other")).exitCode).toBe(1);
    const { event, actor, reason, refusal_id: id } = await newest();
    expect([event, actor, reason]).toEqual(["publish.refused", "acme.pi", "publish.topic"]);
    const { command, facts } = await explain(id);
    expect(facts).toMatchObject({ topic: "acme/pi/other" });
    expect(command).toBe(
      "postern role update sensor --project acme --allow 'pub:acme/${name}/up' --allow 'pub:acme/${name}/other'",
    );
    await dev.json(words(command));
    expect((await publish("acme/pi/other")).exitCode).toBe(1);
    const again = await explain((await newest()).refusal_id);
    expect(again.change).toBe("nothing to change: the roles allow it by now; get a new token");
    await dev.json(`agent token --dir ${dir}`);
  });

  it("is explained to who may read the log of its project, and to nobody else", async () => {
    const { refusal_id: id } = await newest();
    const other = place.person("other");
    await other.join();
    const none = (unknown: string) => ({
      stdout: "",
      stderr: `postern: explain: not found: no refusal ${unknown} in the log of a project of yours\n`,
      exitCode: 1,
    });
    expect(await other.run(`explain ${id}`)).toEqual(none(id));
    expect(await other.run("explain AAAAAAAAAAAA")).toEqual(none("AAAAAAAAAAAA"));
    expect(await place.json(`explain ${id}`)).toMatchObject({ id, project: "acme" });
    // what is of no project is for the holder of the admin key
    const lost = await other.run("token get --client none.none --audience x --secret y");
    const [, lostId] = /\(id ([\w-]{12})\)/.exec(lost.stderr) ?? [];
    expect(await other.run(`explain ${lostId}`)).toEqual(none(lostId!));
    expect(await place.json(`explain ${lostId}`)).toMatchObject({
      actor: "stranger",
      reason: "client.unknown",
      project: null,
      subject: null,
      facts: { claimed: "none.none" },
      command: "postern client create none --project none --kind <device|service|app>",
    });
  });

  it("is not for a key that may only read, and neither is the log, nor how the disk is", async () => {
    const { refusal_id: id } = await newest();
    const { issuer: url } = place.postern;
    const keyFor = async (scope: string): Promise<string> =>
      (await dev.json(`apikey create ${scope} --scope ${scope} --project acme`)).key;
    const [read, audit] = [await keyFor("read"), await keyFor("audit")];
    const as = (key: string, line: string) =>
      postern([...line.split(" "), "--url", url, "--ca", place.ca, "--key", key]);
    expect(await as(read, `explain ${id}`)).toEqual({
      stdout: "",
      stderr: `postern: explain: not found: no refusal ${id} in the log of a project of yours\n`,
      exitCode: 1,
    });
    expect(await as(read, "audit list --project acme")).toEqual(
      failed("postern: audit list: not authorized: the key has no scope audit"),
    );
    expect(await as(audit, `explain ${id}`)).toMatchObject({ exitCode: 0 });
    expect(await as(audit, "audit list --project acme")).toMatchObject({ exitCode: 0 });
    const client = openAdminClient({ url, key: read, ca: readFileSync(place.ca, "utf8") });
    expect(await client.get("/v1/status")).toMatchObject({ issuer: url, registration: "open", storage: null });
    client.close();
  });

  it("of who misspells a client or an api of a project is explained to those who keep the project", async () => {
    for (const line of [
      "token get --client acme.ghost --audience acme.web --secret y",
      "token verify x --api nope --project acme --secret y",
    ]) {
      const [, id] = /\(id ([\w-]{12})\)/.exec((await dev.run(line)).stderr) ?? [];
      expect(await explain(id!)).toMatchObject({
        actor: "stranger",
        project: "acme",
        reason: expect.stringMatching(/^(client|resource-server)\.unknown$/),
      });
    }
  });

  it("leaves no secret in the log", async () => {
    await dev.run(`token get --client acme.job --audience ${secret}x --secret ${secret}`);
    await dev.run(`token get --client acme.job --audience acme.web --secret ${secret}x`);
    const file = join(place.dir, "all.ndjson");
    await place.json(`audit export ${file}`);
    const text = readFileSync(file, "utf8");
    expect(text.length).toBeGreaterThan(1_000);
    expect(text.replaceAll(`${secret}x`, "the audience that was asked for")).not.toContain(secret);
  });
});
