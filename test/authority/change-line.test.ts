/** The line of developers who want something changed: by itself, and in front of `/v1`. */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { changeLimits, openChangeLine, type ChangeLine } from "../../broker/authority/v1/change-line.ts";
import { maxEntriesOfDeveloper } from "../../broker/authority/v1/registry-routes.ts";
import { createLogin } from "../../broker/registry/logins.ts";
import { addMember } from "../../broker/registry/members.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { addPerson, openAccounts, type Accounts, type Answer, type Person } from "./accounts-fixture.ts";
import { openFixture, type Fixture } from "./fixture.ts";

const most = changeLimits.atOnce + changeLimits.waiting;
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe("the line", () => {
  let line: ChangeLine;
  let begun: string[];
  beforeEach(() => {
    line = openChangeLine();
    begun = [];
  });

  /** A change that is done as soon as it has begun. */
  async function change(developer: string): Promise<void> {
    const place = line.enter(developer);
    await place.turn();
    begun.push(developer);
    place.leave();
  }

  it("begins one change in a turn of the event loop, whosever it is", async () => {
    const all = ["a", "a", "b"].map(change);
    expect(begun).toEqual([]);
    for (const count of [1, 2, 3]) {
      await turn();
      expect(begun).toHaveLength(count);
    }
    await Promise.all(all);
  });

  it("lets everybody have a turn before anybody has another", async () => {
    await Promise.all(["a", "a", "a", "a", "b", "b", "c"].map(change));
    expect(begun).toEqual(["a", "b", "c", "a", "b", "a", "a"]);
  });

  it("begins no more of one developer than may be under way, and others all the same", async () => {
    const places = Array.from({ length: changeLimits.atOnce + 1 }, () => line.enter("a"));
    const turns = places.map((place) => place.turn());
    await Promise.all(turns.slice(0, -1));
    let isBegun = false;
    const last = turns.at(-1)!.then(() => (isBegun = true));
    await change("b");
    expect(isBegun).toBe(false);
    places[0]!.leave();
    await last;
  });

  it("gives the turn of whoever asks for another one to the next", async () => {
    const places = Array.from({ length: changeLimits.atOnce }, () => line.enter("a"));
    await Promise.all(places.map((place) => place.turn()));
    const next = change("a");
    const again = places[0]!.turn().then(() => begun.push("again"));
    await next;
    await again;
    expect(begun).toEqual(["a", "again"]);
  });

  it("refuses more of one developer than it has places for, until one leaves", () => {
    const places = Array.from({ length: most }, () => line.enter("a"));
    const tooMany = expect.objectContaining({ reason: "rate.limited", retryAfterSeconds: 1 });
    expect(() => line.enter("a")).toThrow(tooMany);
    line.enter("b");
    places[0]!.leave();
    line.enter("a");
    expect(() => line.enter("a")).toThrow(tooMany);
  });
});

describe("a developer", () => {
  let served: Accounts;
  let owner: Person;
  beforeEach(() => {
    served = openAccounts();
    createProject(served.r, "farm");
    owner = served.join("owner@example.com", { farm: "owner" });
  });
  afterEach(() => served.r.close());

  const clients = "/v1/projects/farm/clients";
  const make = (name: string, as?: string): Promise<Answer> =>
    served.ask("POST", clients, { body: { name, kind: "service" }, ...(as !== undefined && { as }) });
  const count = (answers: readonly Answer[], status: number): number =>
    answers.filter((answer) => answer.status === status).length;

  it("makes two hundred things one after the other, and is refused none", async () => {
    for (let n = 0; n < 200; n++) expect((await make(`c${n}`, owner.token)).status).toBe(201);
  });

  it("is refused what is too much at one time, by logins and keys together, and the administrator is not", async () => {
    const key = served.keyOf(owner, { scopes: ["read", "manage"] });
    const many = await Promise.all(
      Array.from({ length: most + 24 }, (_, n) => make(`c${n}`, n % 2 ? key : owner.token)),
    );
    expect([count(many, 201), count(many, 429)]).toEqual([most, 24]);
    const { headers, body } = many.at(-1)!;
    expect([headers["retry-after"], body.type]).toEqual(["1", "urn:postern:refusal:rate.limited"]);
    const byAdmin = await Promise.all(Array.from({ length: 60 }, (_, n) => make(`d${n}`)));
    expect(count(byAdmin, 201)).toBe(60);
    // reading is no change
    const read = await Promise.all(Array.from({ length: 60 }, () => served.ask("GET", clients, { as: owner.token })));
    expect(count(read, 200)).toBe(60);
  });

  it.each<[string, (n: number) => Promise<Answer>, number]>([
    ["that cannot be read", () => served.ask("POST", clients, { body: "{", as: owner.token }), 400],
    ["that is not what was asked for", () => served.ask("POST", clients, { body: {}, as: owner.token }), 422],
    ["that is refused", (n) => served.ask("DELETE", `${clients}/none-${n}`, { as: owner.token }), 404],
    ["that the login does not permit", () => served.ask("POST", "/v1/revocations", { body: {}, as: owner.token }), 403],
  ])("has every place again after requests %s", async (_, ask, status) => {
    for (let n = 0; n < 2 * most; n++) expect((await ask(n)).status).toBe(status);
  });

  it.each<[string, () => Promise<Answer>]>([
    ["with a body", () => make("late", owner.token)],
    ["without one", () => served.ask("DELETE", `${clients}/there`, { as: owner.token })],
  ])("who loses what they had while they wait is refused: %s", async (_, ask) => {
    await make("there");
    const [out, late] = await Promise.all([served.ask("POST", "/v1/logout", { as: owner.token }), ask()]);
    expect([out.status, late.status]).toEqual([204, 401]);
    const { items } = (await served.ask("GET", clients)).body;
    expect(items.map(({ name }: { name: string }) => name)).toEqual(["there"]);
  });

  it("names so many things in one call, and the administrator more", async () => {
    const revoke = (length: number, as?: string): Promise<Answer> =>
      served.ask("POST", "/v1/projects/farm/revocations", {
        body: { tokens: Array.from({ length: length - 1 }, () => `01${"0".repeat(64)}`), clients: ["farm.none"] },
        ...(as !== undefined && { as }),
      });
    // there are none of them
    expect((await revoke(maxEntriesOfDeveloper, owner.token)).status).toBe(404);
    const more = await revoke(maxEntriesOfDeveloper + 1, owner.token);
    expect([more.status, more.body.detail]).toEqual([422, "more than 1000 entries in one call"]);
    expect((await revoke(maxEntriesOfDeveloper + 1)).status).toBe(404);
  });
});

describe("bodies that are on their way", () => {
  let at: Fixture;
  let headers: { readonly authorization: string };
  let sockets: TLSSocket[];
  beforeEach(async () => {
    at = await openFixture();
    createProject(at.registry, "farm");
    const { id } = addPerson(at.registry, "owner@example.com");
    addMember(at.registry, "farm", id, "owner", "admin");
    headers = { authorization: `Bearer ${createLogin(at.registry, id).token}` };
    sockets = [];
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await at.close();
  });

  const ask = (what: string, body: object): Promise<number> =>
    at
      .call(`/v1/projects/farm/${what}`, { type: "application/json", body: JSON.stringify(body), headers })
      .then(({ status }) => status);

  /** Sends the first byte of a body, and waits until the authority has seen what stands before it. */
  async function begin(what: string): Promise<void> {
    const tls = { port: at.authority.port, host: "127.0.0.1", servername: "localhost", ca: at.ca.caPem };
    const socket = connect(tls);
    sockets.push(socket);
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    const head = [`POST /v1/projects/farm/${what} HTTP/1.1`, "Host: localhost"];
    const fields = ["Content-Type: application/json", "Content-Length: 100", `Authorization: ${headers.authorization}`];
    const before = ["GET /healthz HTTP/1.1", "Host: localhost", "", ""];
    socket.write([...before, ...head, ...fields, "", "{"].join("\r\n"));
    await once(socket, "data");
  }

  it.each(["clients", "revocations"])("and never come leave the line with the connection: %s", async (what) => {
    await Promise.all(Array.from({ length: most }, () => begin(what)));
    const change = (): Promise<number> => ask("clients", { name: "pi", kind: "service" });
    expect(await change()).toBe(429);
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(async () => expect([201, 409]).toContain(await change()), { timeout: 15_000 });
  });

  it("are few at a time where they may be long", async () => {
    for (let n = 0; n < changeLimits.atOnce; n++) await begin("revocations");
    let status: number | undefined;
    const next = ask("revocations", { clients: ["farm.none"] }).then((heard) => (status = heard));
    for (let n = 0; n < 10; n++) await at.call("/healthz");
    expect(status).toBeUndefined();
    sockets[0]!.destroy();
    expect(await next).toBe(404);
  });
});
