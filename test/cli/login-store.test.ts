/** Logins that are kept: where, how, for whom; and which key a command takes of all that it may find. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findAccess, type GlobalOptions, type WantedKey } from "../../cli/context.ts";
import { findLastLogin, findLogin, forgetLogin, loginFolder, storeLogin } from "../../cli/login-store.ts";
import { leaveFolder } from "./transcript.ts";

let dir: string;
let environment: NodeJS.ProcessEnv;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-logins-"));
  environment = { XDG_CONFIG_HOME: dir, POSTERN_DATA: undefined };
  file = join(dir, "postern", "logins.json");
});
let comeBack: () => void;
beforeEach(() => {
  comeBack = leaveFolder();
});
afterEach(() => {
  comeBack();
  rmSync(dir, { recursive: true });
});

const ada = { token: "ps1_ada", email: "ada@example.com", ca: "CA of one" };
const bob = { token: "ps1_bob", email: "bob@example.com" };
const one = "https://one.example:8443";
const two = "https://two.example";

describe("a login", () => {
  it("is kept in a folder of its owner's, in a file that nobody else can read, and nothing beside it", () => {
    storeLogin(`${one}/`, ada, environment);
    expect([statSync(join(dir, "postern")).mode & 0o777, statSync(file).mode & 0o777]).toEqual([0o700, 0o600]);
    expect(readdirSync(join(dir, "postern"))).toEqual(["logins.json"]);
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ last: one, logins: { [one]: ada } });
  });

  it("is read-protected again in a file that others could read", () => {
    storeLogin(one, ada, environment);
    chmodSync(file, 0o644);
    storeLogin(two, bob, environment);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("is found by the origin of its authority, and replaced by the next there", () => {
    storeLogin(one, ada, environment);
    storeLogin(two, bob, environment);
    expect(findLogin(`${one}/some/path?query`, environment)).toEqual({ ...ada, url: one });
    expect(findLogin("https://ONE.example:8443", environment)).toEqual({ ...ada, url: one });
    expect(findLogin("https://one.example", environment)).toBeUndefined();
    storeLogin(one, bob, environment);
    expect(findLogin(one, environment)).toEqual({ ...bob, url: one });
    expect(findLogin(two, environment)).toEqual({ ...bob, url: two });
  });

  it("that was made last is that, until it is forgotten; the only one is the last", () => {
    expect(findLastLogin(environment)).toBeUndefined();
    storeLogin(one, ada, environment);
    storeLogin("https://three.example", bob, environment);
    storeLogin(two, bob, environment);
    expect(findLastLogin(environment)?.url).toBe(two);
    forgetLogin(two, environment);
    expect(findLastLogin(environment)).toBeUndefined();
    forgetLogin("https://three.example", environment);
    expect(findLastLogin(environment)?.url).toBe(one);
    forgetLogin(one, environment);
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ logins: {} });
  });

  it.each([
    ["", "holds no logins"],
    ["{}", "holds no logins"],
    ["[]", "holds no logins"],
    ['{"logins": "x"}', "holds no logins"],
  ])("is not read from %j, which is not overwritten", (content, why) => {
    mkdirSync(join(dir, "postern"));
    writeFileSync(file, content);
    expect(() => findLogin(one, environment)).toThrow(why);
    expect(() => storeLogin(one, ada, environment)).toThrow(why);
    expect(readFileSync(file, "utf8")).toBe(content);
  });

  it.each([
    [{ [one]: { token: 5, email: "a" } }],
    [{ [one]: { token: "t\nu", email: "a" } }],
    [{ [one]: { token: "", email: "a" } }],
    [{ [one]: { token: "t" } }],
    [{ [one]: null }],
    [{ [one]: { ...ada, ca: 5 } }],
    [{ [`${one}/`]: ada }],
    [{ "http://one.example:8443": ada }],
  ])("is not one when it says %j", (logins) => {
    mkdirSync(join(dir, "postern"));
    writeFileSync(file, JSON.stringify({ last: one, logins }));
    expect([findLogin(one, environment), findLastLogin(environment)]).toEqual([undefined, undefined]);
  });

  it("is not found under a name that every object has", () => {
    mkdirSync(join(dir, "postern"));
    writeFileSync(file, JSON.stringify({ last: "constructor", logins: {} }));
    expect(findLastLogin(environment)).toBeUndefined();
  });

  it.each([
    [{ XDG_CONFIG_HOME: "/config" }, "/config/postern"],
    [{ XDG_CONFIG_HOME: "relative" }, join(homedir(), ".config", "postern")],
    [{ XDG_CONFIG_HOME: "" }, join(homedir(), ".config", "postern")],
    [{}, join(homedir(), ".config", "postern")],
  ])("with the environment %j is in %s", (given, folder) => {
    expect(loginFolder(given)).toBe(folder);
  });

  it("that cannot be written says where", () => {
    writeFileSync(join(dir, "postern"), "a file");
    expect(() => storeLogin(one, ada, environment)).toThrow(`${file} cannot be written (`);
  });
});

describe("the key of a command", () => {
  let data: string;
  beforeEach(() => {
    data = join(dir, "data");
    mkdirSync(data);
    writeFileSync(join(data, "authority.json"), JSON.stringify({ url: one, local: one }));
    writeFileSync(join(data, "admin.key"), "admin-key\n");
    writeFileSync(join(data, "ca.pem"), "CA of the folder");
  });
  const login = { url: one, issuer: one, key: ada.token, email: ada.email, ca: "CA of one" };
  const folder = { url: one, issuer: one, key: "admin-key", ca: "CA of the folder" };

  it.each<[string, GlobalOptions, Record<string, string>, WantedKey, object]>([
    ["--key, before all others", { url: one, key: "flag" }, { POSTERN_KEY: "variable" }, "any", { key: "flag" }],
    ["POSTERN_KEY, before a login", { url: one }, { POSTERN_KEY: "variable" }, "any", { key: "variable" }],
    ["that of the folder, before a login", {}, { POSTERN_DATA: "DATA" }, "any", folder],
    ["that of the folder that is named, before the environment", { data: "DATA" }, { POSTERN_KEY: "v" }, "any", folder],
    ["a login at the address", { url: one }, {}, "any", login],
    ["a login at the address of the environment", {}, { POSTERN_URL: one }, "any", login],
    ["the last login", {}, {}, "any", { url: two, issuer: two, key: bob.token, email: bob.email }],
    ["of a developer: the last login", {}, {}, "developer", { url: two, key: bob.token, email: bob.email }],
    ["of a developer: --key", { url: one, key: "flag" }, {}, "developer", { url: one, key: "flag", ca: "CA of one" }],
    [
      "of a developer: a login and not that of the folder",
      { data: "DATA" },
      {},
      "developer",
      { ...login, ca: "CA of the folder" },
    ],
    [
      "of nobody: none",
      { url: one, key: "flag" },
      { POSTERN_KEY: "v" },
      "none",
      { url: one, issuer: one, ca: "CA of one" },
    ],
    ["of nobody: none of the folder", { data: "DATA" }, {}, "none", { url: one, issuer: one, ca: "CA of the folder" }],
    [
      "of another authority than the folder's: not that of the folder",
      { url: two },
      { POSTERN_DATA: "DATA" },
      "any",
      { url: two, key: bob.token },
    ],
    ["of another authority: none", { url: "https://three.example" }, {}, "any", { url: "https://three.example" }],
    ["with the CA of the login, for whatever key", { url: one, key: "k" }, {}, "any", { key: "k", ca: "CA of one" }],
  ])("is %s", async (_name, options, variables, wanted, found) => {
    storeLogin(one, ada, environment);
    storeLogin(two, bob, environment);
    const fill = <Given extends object>(given: Given): Given =>
      JSON.parse(JSON.stringify(given).replaceAll("DATA", data).replaceAll(`POSTERN_${data}`, "POSTERN_DATA")) as Given;
    const access = await findAccess(fill(options), { ...environment, ...fill(variables) }, wanted);
    if (!("key" in found)) expect(access).not.toHaveProperty("key");
    expect(access).toMatchObject(found);
  });

  it("is not taken from a folder without an authority to the last login", async () => {
    storeLogin(two, bob, environment);
    rmSync(join(data, "authority.json"));
    await expect(findAccess({ data }, environment)).rejects.toThrow(`no authority in ${data}`);
    await expect(findAccess({}, { ...environment, POSTERN_DATA: data })).rejects.toThrow(`no authority in ${data}`);
  });

  it("that was given is not sent to the last login, which nobody named", async () => {
    storeLogin(two, bob, environment);
    await expect(findAccess({ key: "flag" }, environment)).rejects.toThrow("no authority in");
    await expect(findAccess({}, { ...environment, POSTERN_KEY: "k" })).rejects.toThrow("no authority in");
  });

  it("may be unreadable in the folder where there is a login, and is missed where there is none", async () => {
    // a folder in its place cannot be read by anybody
    rmSync(join(data, "admin.key"));
    mkdirSync(join(data, "admin.key"));
    await expect(findAccess({ data }, environment)).rejects.toThrow(/admin\.key cannot be read/);
    storeLogin(one, ada, environment);
    expect(await findAccess({ data }, environment)).toMatchObject({ key: ada.token, ca: "CA of the folder" });
  });

  it("is found in a folder whatever the logins say", async () => {
    mkdirSync(join(dir, "postern"));
    writeFileSync(file, "no JSON");
    expect(await findAccess({ data }, environment)).toEqual(folder);
    expect(await findAccess({ url: two, key: "k" }, environment)).toEqual({ url: two, issuer: two, key: "k" });
    await expect(findAccess({ url: two }, environment)).rejects.toThrow("holds no logins");
  });
});
