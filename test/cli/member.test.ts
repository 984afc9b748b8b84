/** Invitations, members and API keys from the command line, as transcripts against a real authority. They build on each other. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { SMTPServer } from "smtp-server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openInstallation } from "./installation.ts";
import { openPlace, PASSWORD, type Person, type Place } from "./people.ts";
import { failed, postern } from "./transcript.ts";

let place: Place;
let ada: Person;
let bob: Person;
beforeAll(async () => {
  place = await openPlace({ registration: "invite" });
  [ada, bob] = [place.person("ada"), place.person("bob")];
});
afterAll(() => place.close());

const done = (stdout: unknown) => ({ stdout, stderr: "", exitCode: 0 });
const matching = (text: string) => expect.stringMatching(new RegExp(`^${text}$`));
const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";
const secret = "pi1_[A-Za-z0-9_-]+";

describe("an invitation to register", () => {
  it("is the administrator's to make, who is told it, as is the address", async () => {
    expect(await place.run(`developer invite ${ada.email}`)).toEqual(
      done(
        matching(
          `invited ${ada.email} to register, until ${time}; invitation [0-9a-f]{12}\ninvitation, shown only now: ${secret}\n`,
        ),
      ),
    );
    expect(place.mails.map(({ to }) => to)).toEqual([ada.email]);
  });

  it("is listed, and revoked", async () => {
    const { id } = JSON.parse((await place.run("developer invite nobody@example.com --json")).stdout);
    expect(await place.run(`invitation revoke ${id}`)).toEqual(done(`revoked invitation ${id}\n`));
    expect(await place.run("invitation list")).toEqual(
      done(
        matching(
          `invitation +email +for +status +expires\n([0-9a-f]{12}  \\S+ +registration  (pending|revoked)  ${time}\n){2}`,
        ),
      ),
    );
    expect(await place.run("invitation revoke 0123456789ab")).toEqual(
      failed(expect.stringMatching(/^postern: invitation revoke: not found: /)),
    );
  });

  it("lets its address in at once, and no other", async () => {
    const invitation = place.codeFor(ada.email);
    expect(await bob.run(`developer register ${bob.email} --ca ${place.ca}`)).toEqual(
      failed("postern: developer register: the invitation is not accepted\n"),
    );
    expect(await bob.run(`developer register ${bob.email} --invitation ${invitation} --ca ${place.ca}`)).toEqual(
      failed("postern: developer register: the invitation is not accepted\n"),
    );
    expect(await ada.run(`developer register ${ada.email} --invitation ${invitation} --ca ${place.ca}`)).toEqual(
      done(matching(`registered ${ada.email} as dev_[0-9a-f]{16}; log in with postern login ${ada.email}\n`)),
    );
    expect(await ada.run(`login ${ada.email} --ca ${place.ca}`)).toMatchObject({ exitCode: 0 });
  });
});

describe("members", () => {
  it("begin with whoever made the project", async () => {
    await ada.json("project create acme");
    expect(await ada.run("member list --project acme")).toEqual(
      done(matching(`developer +email +name +role\ndev_[0-9a-f]{16}  ${ada.email} +owner\n`)),
    );
  });

  it("are invited by mail alone, and accept", async () => {
    expect(await ada.run(`member invite ${bob.email} --project acme --role auditor`)).toEqual(
      done(matching(`invited ${bob.email} to acme as auditor, until ${time}; invitation [0-9a-f]{12}\n`)),
    );
    const invited = place.codeFor(bob.email);
    await place.json(`developer invite ${bob.email}`);
    const registering = `developer register ${bob.email} --invitation ${place.codeFor(bob.email)} --ca ${place.ca}`;
    await bob.json(registering);
    await bob.json(`login ${bob.email} --ca ${place.ca}`);
    expect(await bob.run("project list")).toEqual(done("no projects yet\n"));
    expect(await ada.run(`member accept ${invited}`)).toEqual(
      failed(expect.stringMatching(/^postern: member accept: the invitation is not accepted/)),
    );
    expect(await bob.run(`member accept ${invited}`)).toEqual(done("you are auditor of acme\n"));
    expect(await bob.run("project list")).toEqual(done(expect.stringMatching(/\nacme /)));
    expect(await ada.run("invitation list --project acme")).toEqual(
      done(expect.stringMatching(/ auditor of acme  accepted  /)),
    );
  });

  it("do what their role says", async () => {
    expect(await bob.run("role create reader --project acme --api none --allow sub:a")).toEqual(
      failed("postern: role create: not authorized: the role auditor does not permit manage\n"),
    );
    expect(await ada.run(`member set ${bob.email} --project acme --role enroller`)).toEqual(
      done(`${bob.email} is enroller of acme\n`),
    );
    const listed = await ada.json("member list --project acme");
    expect(listed.map(({ email, role }: Record<string, string>) => [email, role]).toSorted()).toEqual([
      [ada.email, "owner"],
      [bob.email, "enroller"],
    ]);
  });

  it("are taken out, or leave, but for the last owner", async () => {
    const { id } = await ada.json("developer show");
    expect(await ada.run(`member remove ${id} --project acme`)).toEqual(
      failed(expect.stringMatching(/^postern: member remove: a project would have no owner/)),
    );
    expect(await ada.run("member remove nobody@example.com --project acme")).toEqual(
      failed("postern: member remove: not found: no member nobody@example.com in project acme\n"),
    );
    expect(await bob.run(`member remove ${ada.email} --project acme`)).toEqual(
      failed("postern: member remove: not authorized: the role enroller does not permit own\n"),
    );
    expect(await bob.run(`member remove ${bob.email.toUpperCase()} --project acme`)).toEqual(
      done(`removed ${bob.email.toUpperCase()} from acme\n`),
    );
    expect(await bob.run("member list --project acme")).toEqual(
      failed("postern: member list: not found: no project acme\n"),
    );
  });

  it.each([
    ["member invite a@b.example --project acme", "member invite: required option '--role <role>' not specified"],
    [
      "member set x --project acme --role king",
      "member set: option '--role <role>' argument 'king' is invalid. Allowed choices are owner, admin, auditor, enroller.",
    ],
    ["member list", "member list: required option '--project <slug>' not specified"],
  ])("%s is wrong usage", async (line, why) => {
    expect(await ada.run(line)).toEqual(failed(`postern: ${why}\n`, 2));
  });
});

describe("an API key", () => {
  it("is made by a developer who has logged in, shown once, and good for what its scopes say", async () => {
    expect(await ada.run("apikey list")).toEqual(done("no API keys\n"));
    // the admin key of a folder is nobody's
    expect(await place.run("apikey list")).toEqual(
      failed(`postern: apikey list: not logged in at ${place.postern.issuer}; log in with postern login\n`),
    );
    const created = await ada.run("apikey create ci --project acme --scope read --scope enrol --ttl 30d");
    expect(created).toEqual(
      done(
        matching(
          `created API key ci with id [0-9a-f]+, for read enrol, until ${time}\nkey, shown only now: pk1_[0-9a-f]+_[A-Za-z0-9_-]{43}\n`,
        ),
      ),
    );
    const key = /pk1_\S+/.exec(created.stdout)![0];
    const asKey = ["--url", place.postern.issuer, "--ca", place.ca, "--key", key];
    expect(await postern(["member", "list", "--project", "acme", ...asKey])).toMatchObject({ exitCode: 0 });
    expect(await postern(["project", "create", "more", ...asKey])).toMatchObject({ exitCode: 1 });
    expect(await postern(["apikey", "list", ...asKey])).toEqual(
      failed("postern: apikey list: not authorized: for developers who have logged in\n"),
    );
    // in the variable as well, before a login
    const environment = { XDG_CONFIG_HOME: ada.folder, POSTERN_KEY: key };
    const line = ["role", "create", "r", "--project", "acme", "--api", "a", "--allow", "sub:a"];
    expect(await postern([...line, "--url", place.postern.issuer], { environment })).toEqual(
      failed("postern: role create: not authorized: the key has no scope manage\n"),
    );
  });

  it("is listed without itself, and revoked", async () => {
    const [{ id, ...rest }] = await ada.json("apikey list");
    expect(rest).toEqual({
      name: "ci",
      scopes: ["read", "enrol"],
      project: "acme",
      created_at: expect.any(Number),
      expires: expect.any(String),
      expires_at: rest.created_at + 30 * 86_400,
      last_used_at: expect.any(Number),
      status: "valid",
    });
    const row = `${id}  ci    acme     read enrol  ${time}  ${time}  ${time}`;
    const heading = "id +name  project  scopes +created +last used +expires +status";
    expect(await ada.run("apikey list")).toEqual(done(matching(`${heading}\n${row}  valid\n`)));
    expect(await ada.run(`apikey revoke ${id}`)).toEqual(done(`revoked API key ${id}\n`));
    expect(await ada.run("apikey list")).toEqual(done(matching(`${heading}\n${row}  revoked\n`)));
    expect(await bob.run(`apikey revoke ${id}`)).toEqual(
      failed(expect.stringMatching(/^postern: apikey revoke: not found: /)),
    );
  });

  it.each([
    ["apikey create", "apikey create: missing required argument 'name'", 2],
    ["apikey create k --ttl 5", /^postern: apikey create: option '--ttl <duration>' argument '5' is invalid/, 2],
    ["apikey create k --scope fly", /^postern: apikey create: a field is not valid: scopes/, 1],
    ["apikey create k --project other", /^postern: apikey create: not found: no project other/, 1],
  ])("%s is refused in one line", async (line, why, exitCode) => {
    const stderr = typeof why === "string" ? `postern: ${why}\n` : expect.stringMatching(why);
    expect(await ada.run(line)).toEqual(failed(stderr, exitCode));
  });
});

describe("with a mail server", () => {
  it("a code goes there, from the sender of the settings, and is in no line of the log", async () => {
    const texts: string[] = [];
    const server = new SMTPServer({
      authOptional: true,
      disabledCommands: ["STARTTLS"],
      logger: false,
      onData(stream, { envelope }, ended) {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          const sender = envelope.mailFrom === false ? "" : envelope.mailFrom.address;
          texts.push([sender, ...envelope.rcptTo.map(({ address }) => address), Buffer.concat(chunks)].join("\n"));
          ended();
          server.emit("mail");
        });
      },
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.server.address() as AddressInfo;
    const lines: string[] = [];
    const installation = await openInstallation(
      {},
      {
        accounts: {
          registration: "open",
          mail: { smtp: `smtp://localhost:${port}`, from: "Postern <postern@example.org>" },
        },
        log: pino({ level: "trace" }, { write: (line: string) => lines.push(line) }),
      },
    );
    try {
      const arrived = once(server, "mail");
      const environment = { POSTERN_PASSWORD: PASSWORD };
      await installation.run("developer register eve@example.com", { environment });
      await arrived;
    } finally {
      await installation.close();
      server.close();
    }
    expect(texts).toEqual([expect.stringMatching(/^postern@example\.org\neve@example\.com\n/)]);
    const code = /^Your code is (\S+?)\r?$/m.exec(texts[0]!)![1]!;
    expect(lines.join("")).toContain("mail sent");
    expect(lines.join("")).not.toContain(code);
    expect(lines.join("")).not.toContain("eve@example.com");
  });
});
