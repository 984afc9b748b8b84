/** Registering and logging in from the command line, as transcripts against a real authority. They build on each other, top-down. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPlace, PASSWORD, type Person, type Place } from "./people.ts";
import { failed, postern } from "./transcript.ts";

let place: Place;
let ada: Person;
let issuer: string;
beforeAll(async () => {
  place = await openPlace();
  ada = place.person("ada");
  issuer = place.postern.issuer;
});
afterAll(() => place.close());

const done = (stdout: unknown, stderr: unknown = "") => ({ stdout, stderr, exitCode: 0 });
const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";
const stored = (person: Person) => join(person.folder, "postern", "logins.json");

describe("an account", () => {
  it("is registered with a password that is chosen at the terminal, twice, and not shown", async () => {
    const typed = `${PASSWORD}\r${PASSWORD}\r`;
    expect(await ada.run(`developer register ${ada.email} --name Ada --ca ${place.ca}`, { typed })).toEqual(
      done(
        `a code is on its way to ${ada.email}, if it can be registered; go on with postern developer confirm ${ada.email} CODE\n`,
        "password: \npassword again: \n",
      ),
    );
    expect(place.mails.map(({ to }) => to)).toEqual([ada.email]);
  });

  it("is not registered when the two are not the same", async () => {
    expect(await ada.run(`developer register bob@example.com --ca ${place.ca}`, { typed: "one\rother\r" })).toEqual(
      failed(expect.stringMatching(/\npostern: developer register: the two are not the same\n$/)),
    );
    expect(place.mails).toHaveLength(1);
  });

  it("is nobody's before the code comes back with the same password", async () => {
    const code = place.codeFor(ada.email);
    expect(await ada.run(`login ${ada.email} --ca ${place.ca}`)).toEqual(
      failed("postern: login: address or password is wrong\n"),
    );
    expect(await ada.run(`developer confirm ${ada.email} ${code} --ca ${place.ca}`, { stdin: "" })).toEqual(
      failed("postern: developer confirm: give POSTERN_PASSWORD, or --password-stdin\n", 2),
    );
    const other = { environment: { POSTERN_PASSWORD: "another one altogether" } };
    expect(await ada.run(`developer confirm ${ada.email} ${code} --ca ${place.ca}`, other)).toEqual(
      failed("postern: developer confirm: the code is not accepted\n"),
    );
    expect(await ada.run(`developer confirm ${ada.email} ${code} --ca ${place.ca}`)).toEqual(
      done(`confirmed ${ada.email}; log in with postern login ${ada.email}\n`),
    );
  });
});

describe("a login", () => {
  it("is made with a password from stdin, and says until when it is good", async () => {
    const line = `login ${ada.email} --password-stdin --ca ${place.ca}`;
    const transcript = await ada.run(line, { stdin: `${PASSWORD}\r\n` });
    expect(transcript).toEqual(
      done(expect.stringMatching(new RegExp(`^logged in to ${issuer} as ${ada.email} until ${time}\n$`))),
    );
  });

  it("is kept for its owner alone, with the CA, and its token is in no output", async () => {
    const { logins, last } = JSON.parse(readFileSync(stored(ada), "utf8"));
    expect(statSync(stored(ada)).mode & 0o777).toBe(0o600);
    expect(last).toBe(issuer);
    expect(logins[issuer]).toEqual({
      token: expect.stringMatching(/^ps1_[A-Za-z0-9_-]{43}$/),
      email: ada.email,
      ca: readFileSync(place.ca, "utf8"),
    });
    const answer = await ada.json(`login --ca ${place.ca}`);
    expect(answer).toEqual({
      url: issuer,
      developer: expect.objectContaining({ email: ada.email }),
      expires: expect.any(String),
      expires_at: expect.any(Number),
    });
  });

  it("lets later commands in, with nothing but the address, and with nothing at all", async () => {
    expect(await ada.run("project create acme")).toEqual(done("created project acme\n"));
    const environment = { XDG_CONFIG_HOME: ada.folder };
    const nothing = await postern(["developer", "show"], { environment });
    expect(nothing).toEqual(
      done(
        expect.stringMatching(
          new RegExp(
            `^developer  dev_[0-9a-f]{16}\nemail      ${ada.email}\nname       Ada\ncreated    ${time}\nprojects   acme:owner\n$`,
          ),
        ),
      ),
    );
  });

  it("gives way to the admin key of a folder, but not for what developers do", async () => {
    const environment = { XDG_CONFIG_HOME: ada.folder, POSTERN_PASSWORD: PASSWORD };
    const there = ["--data", place.dataDir];
    expect(await postern(["developer", "list", "--json", ...there], { environment })).toMatchObject({ exitCode: 0 });
    expect(await postern(["developer", "show", ...there], { environment })).toMatchObject({ exitCode: 0 });
    expect(await postern(["developer", "show", ...there], { environment: {} })).toEqual(
      failed(`postern: developer show: not logged in at ${issuer}; log in with postern login\n`),
    );
    expect(await ada.run("developer list")).toEqual(
      failed("postern: developer list: not authorized: for the holder of the admin key\n"),
    );
  });

  it.each<[string, string, string | undefined, string, number]>([
    ["an address that is not known", "login nobody@example.com", undefined, "address or password is wrong", 1],
    ["another password", "login ADA", "another one altogether\n", "address or password is wrong", 1],
    ["no password", "login ADA", "\n", "the password is empty", 1],
    ["nobody to ask for an address", "login", "", "missing required argument 'email'", 2],
    ["what is no address", "login ada", `${PASSWORD}\n`, "a field is not valid: email: not a mail address", 1],
  ])("is not made with %s", async (_name, line, stdin, why, exitCode) => {
    const bob = place.person("bob");
    const words = `${line.replace("ADA", ada.email)} --ca ${place.ca}`;
    const transcript = stdin === undefined ? bob.run(words) : bob.run(`${words} --password-stdin`, { stdin });
    expect(await transcript).toEqual(failed(`postern: login: ${why}\n`, exitCode));
    expect(existsSync(stored(bob))).toBe(false);
  });

  it("is asked for, address and password, at a terminal", async () => {
    const carol = place.person("carol");
    const typed = `${ada.email}\r${PASSWORD}\r`;
    expect(await carol.run(`login --ca ${place.ca}`, { typed })).toEqual(
      done(expect.stringMatching(/^logged in /), `email: ${ada.email}\npassword: \n`),
    );
  });

  it("is not made at a server that nobody trusts", async () => {
    expect(await place.person("bob").run(`login ${ada.email}`)).toEqual(
      failed(expect.stringMatching(/not from the expected authority; name its CA with --ca or POSTERN_CA\n$/)),
    );
  });

  it("is ended, at the authority and here", async () => {
    const carol = place.person("carol");
    const { token } = JSON.parse(readFileSync(stored(carol), "utf8")).logins[issuer];
    expect(await carol.run("logout")).toEqual(done(`logged out ${ada.email} from ${issuer}\n`));
    expect(JSON.parse(readFileSync(stored(carol), "utf8"))).toEqual({ logins: {} });
    expect(await carol.run(`developer show --key ${token} --ca ${place.ca}`)).toEqual(
      failed("postern: developer show: the key is not accepted\n"),
    );
    expect(await carol.run("logout")).toEqual(failed(`postern: logout: not logged in at ${issuer}\n`));
    // another login of the same developer goes on
    expect(await ada.run("developer show")).toMatchObject({ exitCode: 0 });
  });

  it("that has ended elsewhere says so, and is logged out of all the same", async () => {
    const { token, ca } = JSON.parse(readFileSync(stored(ada), "utf8")).logins[issuer];
    const dora = place.person("dora");
    const { storeLogin } = await import("../../cli/login-store.ts");
    storeLogin(issuer, { token: `${token.slice(0, -4)}AAAA`, email: ada.email, ca }, { XDG_CONFIG_HOME: dora.folder });
    expect(await dora.run("project list")).toEqual(
      failed(
        expect.stringMatching(
          /^postern: project list: the key is not accepted \(id [\w-]{12}\); the login of \S+ is over, log in again with postern login\n$/,
        ),
      ),
    );
    expect(await dora.run("logout")).toEqual(done(`logged out ${ada.email} from ${issuer}\n`));
  });

  it("is forgotten here when the authority is not there, which is said", async () => {
    const erin = place.person("erin");
    const environment = { XDG_CONFIG_HOME: erin.folder };
    const { storeLogin } = await import("../../cli/login-store.ts");
    storeLogin("https://localhost:1", { token: "ps1_x", email: "erin@example.com" }, environment);
    expect(await postern(["logout"], { environment })).toEqual(
      failed(
        "postern: logout: the login is forgotten here, but the authority does not know: POST https://localhost:1/v1/logout: connection refused\n",
      ),
    );
    expect(JSON.parse(readFileSync(stored(erin), "utf8"))).toEqual({ logins: {} });
  });
});

describe("a password", () => {
  it("is changed with the one before, from stdin, and this login goes on", async () => {
    const stdin = `wrong wrong wrong\n${PASSWORD}!\n`;
    expect(await ada.run("developer password --password-stdin", { stdin })).toEqual(
      failed("postern: developer password: address or password is wrong\n"),
    );
    expect(await ada.run("developer password --password-stdin", { stdin: `${PASSWORD}\n${PASSWORD}!\n` })).toEqual(
      done("changed the password; your other logins have ended\n"),
    );
    expect(await ada.run("developer show")).toMatchObject({ exitCode: 0 });
  });

  it("is changed from the environment, and at the terminal, where the new one is typed twice", async () => {
    const environment = { POSTERN_PASSWORD: `${PASSWORD}!`, POSTERN_NEW_PASSWORD: `${PASSWORD}?` };
    expect(await ada.run("developer password --json", { environment })).toEqual(done('{"changed":true}\n'));
    const typed = `${PASSWORD}?\r${PASSWORD}\r${PASSWORD}\r`;
    expect(await ada.run("developer password", { typed })).toEqual(
      done(
        "changed the password; your other logins have ended\n",
        "password: \nnew password: \nnew password again: \n",
      ),
    );
  });

  it("that is forgotten is reset with a code, and all logins end", async () => {
    expect(await ada.run(`developer reset ${ada.email}`)).toEqual(
      done(
        `if ${ada.email} has an account, a code is on its way; go on with postern developer reset ${ada.email} --code CODE\n`,
      ),
    );
    const code = place.codeFor(ada.email);
    expect(await ada.run(`developer reset ${ada.email} --code 0000000000`)).toEqual(
      failed("postern: developer reset: the code is not accepted\n"),
    );
    expect(await ada.run(`developer reset ${ada.email} --code ${code}`)).toEqual(
      done(`the password of ${ada.email} is the new one; its logins have ended\n`),
    );
    expect(await ada.run("developer show")).toEqual(
      failed(expect.stringMatching(/log in again with postern login\n$/)),
    );
    expect(await ada.run("login")).toMatchObject({ exitCode: 0 });
  });

  it("is asked for again for nobody in particular: an address that is not known hears the same", async () => {
    const before = place.mails.length;
    expect(await ada.run("developer reset nobody@example.com --json")).toEqual(done('{"status":"mail-sent"}\n'));
    expect(place.mails).toHaveLength(before);
  });

  it.each([
    ["developer reset a@b.example --password-stdin", "postern: developer reset: --password-stdin goes with --code\n"],
    [
      "developer password",
      "postern: developer password: give POSTERN_PASSWORD and POSTERN_NEW_PASSWORD, or --password-stdin\n",
    ],
  ])("%s is wrong usage", async (line, stderr) => {
    expect(await ada.run(line, { stdin: "" })).toEqual(failed(stderr, 2));
  });

  it("is in no message, log line or file", () => {
    const file = readFileSync(stored(ada), "utf8");
    expect(file + JSON.stringify(place.mails)).not.toContain(PASSWORD);
  });
});

describe("the end of an account", () => {
  it("needs the password, and comes after an owner is found for its projects", async () => {
    expect(await ada.run("developer delete")).toEqual(
      failed(expect.stringMatching(/^postern: developer delete: a project would have no owner: .*acme/)),
    );
    const fay = place.person("fay");
    await fay.join();
    expect(await fay.run("developer delete", { stdin: "" })).toEqual(
      failed("postern: developer delete: give POSTERN_PASSWORD, or --password-stdin\n", 2),
    );
    expect(await fay.run("developer delete")).toEqual(done(`deleted ${fay.email}\n`));
    expect(JSON.parse(readFileSync(stored(fay), "utf8"))).toEqual({ logins: {} });
  });

  it("is the administrator's to bring about as well", async () => {
    const gus = place.person("gus");
    await gus.join();
    const { id } = await gus.json("developer show");
    const listed = await place.run("developer list");
    expect(listed).toEqual(
      done(
        expect.stringMatching(
          new RegExp(
            `^developer +email +name +created +confirmed\n(dev_[0-9a-f]{16}  \\S+ +(Ada)? +${time}  yes\n){2}$`,
          ),
        ),
      ),
    );
    expect(await gus.run(`developer delete ${id}`)).toEqual(
      failed("postern: developer delete: not authorized: for the holder of the admin key\n"),
    );
    expect(await place.run(`developer delete ${id}`)).toEqual(done(`deleted ${id}\n`));
    expect(await place.run(`developer delete ${id}`)).toEqual(
      failed(`postern: developer delete: not found: no developer ${id}\n`),
    );
  });
});
