/** Being held until there is news (RFC 7240): what wakes a caller, what answers it at once, and how many may wait. */
import { once } from "node:events";
import { Socket } from "node:net";
import { connect } from "node:tls";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readWait } from "../../broker/authority/trl/prefer.ts";
import { openWaitingRoom, type Wait, type WaitingRoom } from "../../broker/authority/trl/waiting-room.ts";
import { setClientEnabled } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { keptSeconds } from "../../broker/registry/revoked-tokens.ts";
import { openFixture as openRegistryFixture } from "../registry/fixture.ts";
import { basic, type Answer, type Call } from "./fixture.ts";
import { ADMIN, hashes, makeBroker, named, openTrlFixture, read, revoke, type TrlFixture } from "./trl-fixture.ts";

const path = "/revoke/trl";

test.each<[header: string | readonly string[] | undefined, seconds: number]>([
  [undefined, 0],
  ["", 0],
  ["wait=10", 10],
  ['wait="10"', 10],
  ["WAIT = 10", 10],
  ["wait=600", 60],
  ["wait=0", 0],
  ["return=minimal, wait=7; foo=bar", 7],
  [["return=minimal", "wait=7"], 7],
  ["wait=5, wait=9", 5],
  ["wait=x, wait=9", 0],
  ["wait", 0],
  ["wait=", 0],
  ["wait=-1", 0],
  ["wait=1.5", 0],
  ['wait="10', 0],
  ["waiting=10", 0],
  ["wait=9999999999", 0],
])("of Prefer: %s a caller waits %s seconds", (header, seconds) => {
  expect(readWait(header)).toBe(seconds);
});

describe("a held request", () => {
  let at: TrlFixture;
  beforeEach(async () => {
    at = await openTrlFixture();
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    vi.useRealTimers();
    await at.close();
  });

  /** Asks, and resolves when the authority has looked and holds the request. */
  async function held(query: string, call: Call): Promise<{ answer: Promise<Answer> }> {
    let isAnswered = false;
    const looked = vi.spyOn(at.registry, "nowSeconds");
    const headers = { ...call.headers, prefer: "wait=60" };
    const answer = at.call(path + query, { ...call, headers }).finally(() => (isAnswered = true));
    await vi.waitFor(() => expect(looked).toHaveBeenCalled(), 20_000);
    // the answer to this one has taken the way that the other's would have taken
    await at.call("/healthz");
    expect(isAnswered).toBe(false);
    looked.mockRestore();
    return { answer };
  }

  test("for a diff is answered when something is revoked, with what was", async () => {
    revoke(at, ["pi-1"]);
    const { answer } = await held("?diff=0&cursor=0", { as: at.pi });
    revoke(at, ["pi-2"]);
    const given = await answer;
    expect([given.status, given.headers["preference-applied"]]).toEqual([200, "wait=60"]);
    expect(hashes(read(given).diffSet![0]!.added)).toEqual(named("pi-2"));
  });

  test("for a list that never changed is answered by the first revocation", async () => {
    const { answer } = await held("?diff=0", { as: at.pi });
    revoke(at, ["pi-1"]);
    expect(read(await answer)).toMatchObject({ cursor: 0, more: false });
  });

  test("for the whole list is answered when it differs from the one that the caller has", async () => {
    revoke(at, ["pi-1"]);
    const { etag } = (await at.call(path, { as: at.pi })).headers;
    const { answer } = await held("", { as: at.pi, headers: { "if-none-match": etag! } });
    revoke(at, ["pi-2"]);
    const given = await answer;
    expect([given.status, hashes(read(given).fullSet)]).toEqual([200, named("pi-1", "pi-2")]);
  });

  test("is not answered for what concerns others", async () => {
    const { answer } = await held("?diff=0", { as: at.pi });
    revoke(at, ["board-1", "plant.board"]);
    createProject(at.registry, "elsewhere");
    revoke(at, ["pi-1"]);
    expect(read(await answer).cursor).toBe(0);
  });

  test("is answered once, with all that came in one turn", async () => {
    const { answer } = await held("?diff=0", { as: at.pi });
    revoke(at, ["pi-1"]);
    revoke(at, ["pi-2"]);
    expect(read(await answer)).toMatchObject({ cursor: 1, more: false });
  });

  test("is answered empty, or as unchanged, when the time is over", async () => {
    revoke(at, ["pi-1"]);
    const { etag } = (await at.call(path, { as: at.pi })).headers;
    const headers = { prefer: "wait=1" };
    const [diff, full] = await Promise.all([
      at.call(`${path}?diff=0&cursor=0`, { as: at.pi, headers }),
      at.call(path, { as: at.pi, headers: { ...headers, "if-none-match": etag! } }),
    ]);
    expect([diff.status, read(diff)]).toEqual([200, { diffSet: [], cursor: 0, more: false }]);
    expect([full.status, full.headers.etag]).toEqual([304, etag]);
    expect([diff.headers, full.headers].map((given) => given["preference-applied"])).toEqual(["wait=1", "wait=1"]);
  });

  test("learns of what has expired by then", async () => {
    revoke(at, ["brief", "plant.pi", "plant.tele", 10]);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { answer } = await held("?diff=0&cursor=0", { as: at.pi });
    at.clock.now += 10 + keptSeconds;
    vi.advanceTimersByTime(60_000);
    expect(hashes(read(await answer).diffSet![0]!.removed)).toEqual(named("brief"));
  });

  test("of somebody who may no longer ask is refused", async () => {
    const { answer } = await held("?diff=0", { as: at.pi });
    setClientEnabled(at.registry, "plant.pi", false);
    revoke(at, ["pi-1"]);
    expect([(await answer).status, at.reason()]).toEqual([401, "client.disabled"]);
  });

  test("is answered at once when the authority closes", async () => {
    const { answer } = await held("?diff=0", { headers: ADMIN });
    const closed = at.authority.close();
    const given = await answer;
    expect([given.status, given.headers.connection]).toEqual([200, "close"]);
    await closed;
  });

  test("makes room when its caller hangs up", async () => {
    const ask = async (): Promise<ReturnType<typeof connect>> => {
      const looked = vi.spyOn(at.registry, "nowSeconds");
      const socket = connect({ port: at.authority.port, host: "127.0.0.1", servername: "localhost", ca: at.ca.caPem });
      await once(socket, "secureConnect");
      const { authorization } = basic("plant.board", at.secret);
      socket.write(
        `GET ${path}?diff=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nPrefer: wait=60\r\n\r\n`,
      );
      await vi.waitFor(() => expect(looked).toHaveBeenCalled(), 20_000);
      looked.mockRestore();
      return socket;
    };
    const sockets = [];
    for (let i = 0; i < 8; i++) sockets.push(await ask());
    // the ninth of one requester is not held, and says so
    const call = { headers: { ...basic("plant.board", at.secret), prefer: "wait=60" } };
    const refused = await at.call(`${path}?diff=0`, call);
    expect([refused.status, refused.headers["preference-applied"]]).toEqual([200, undefined]);
    sockets[0]!.destroy();
    let next: Promise<Answer>;
    await vi.waitFor(async () => {
      next = at.call(`${path}?diff=0`, call);
      const first = await Promise.race([next.then(() => "answered"), at.call("/healthz").then(() => "held")]);
      expect(first).toBe("held");
    }, 20_000);
    revoke(at, ["board-1", "plant.board"]);
    expect((await next!).headers["preference-applied"]).toBe("wait=60");
    for (const socket of sockets) socket.destroy();
  });

  test.each<[what: string, query: string]>([
    ["the whole list", ""],
    ["updates that are there", "?diff=0"],
    ["updates after a cursor", "?diff=0&cursor=0"],
    ["an error", "?diff=x"],
  ])("is none where there is an answer: %s", async (_what, query) => {
    revoke(at, ["pi-1"]);
    revoke(at, ["pi-2"]);
    const answer = await at.call(path + query, { as: at.pi, headers: { prefer: "wait=60" } });
    expect(answer.body.length).toBeGreaterThan(0);
  });

  test("of a broker wakes for its own view and for what it follows", async () => {
    const edge = await makeBroker(at, "edge");
    const { trust } = read(await at.call(`${path}?diff=0&trust=`, { as: edge }));
    const query = `?diff=0&trust=${trust!.cursor}`;
    const first = await held(query, { as: edge });
    setClientEnabled(at.registry, "plant.pi", false);
    expect(read(await first.answer).trust!.entries).toMatchObject([{ id: "plant.pi", client: { enabled: false } }]);
  });
});

describe("the waiting room", () => {
  const { r } = openRegistryFixture();
  const rooms: WaitingRoom[] = [];
  afterEach(() => rooms.splice(0).forEach((room) => room.close()));

  function open(limits: { total: number; perRequester: number }): WaitingRoom {
    const room = openWaitingRoom(r, limits);
    rooms.push(room);
    return room;
  }

  const wait = (requester: string, hasNews = (): boolean => false): Wait => {
    return {
      requester,
      milliseconds: 60_000,
      socket: new Socket(),
      hasNews,
    };
  };

  test("is bounded in all and for each requester", async () => {
    const room = open({ total: 3, perRequester: 2 });
    const first = wait("a");
    const entered = [first, wait("a"), wait("a"), wait("b"), wait("c")].map((one) => room.enter(one));
    expect(entered.map((one) => one !== undefined)).toEqual([true, true, false, true, false]);
    first.socket.emit("close");
    expect(await entered[0]).toBe("gone");
    expect(room.enter(wait("c"))).toBeDefined();
  });

  test("is shared by projects: none has more places than are free", () => {
    const room = open({ total: 100, perRequester: 2 });
    const fill = (project?: string): number => {
      const all = Array.from({ length: 100 }, (_, n) => room.enter({ ...wait(`${project}.c${n}`), project }));
      return all.filter((one) => one !== undefined).length;
    };
    expect(["a", "b", "c", "a", "b"].map(fill)).toEqual([50, 25, 13, 0, 0]);
    // who is of no project may have all that is left
    expect([fill(), fill("d")]).toEqual([12, 0]);
  });

  test("gives back what a project had", async () => {
    const room = open({ total: 4, perRequester: 4 });
    const enter = (): { readonly one: Wait; readonly end: Promise<string> | undefined } => {
      const one = { ...wait("a.x"), project: "a" };
      return { one, end: room.enter(one) };
    };
    for (let round = 0; round < 3; round++) {
      const all = [enter(), enter(), enter()];
      expect(all.map(({ end }) => end !== undefined)).toEqual([true, true, false]);
      for (const { one, end } of all) {
        one.socket.emit("close");
        await end;
      }
    }
  });

  test("asks everybody once after all changes of a turn, and lets go of those with news", async () => {
    const room = open({ total: 3, perRequester: 3 });
    const asked = vi.fn<() => boolean>().mockReturnValueOnce(false).mockReturnValue(true);
    const waiting = room.enter(wait("a", asked));
    createProject(r, "one");
    createProject(r, "two");
    expect(asked).not.toHaveBeenCalled();
    await new Promise(setImmediate);
    expect(asked).toHaveBeenCalledTimes(1);
    createProject(r, "three");
    expect(await waiting).toBe("news");
  });

  test("lets go of whoever cannot be asked", async () => {
    const waiting = open({ total: 1, perRequester: 1 }).enter(
      wait("a", () => {
        throw new Error("no");
      }),
    );
    createProject(r, "four");
    expect(await waiting).toBe("news");
  });

  test("lets all go when it closes, and nobody in afterwards", async () => {
    const room = open({ total: 2, perRequester: 2 });
    const [first, second] = [room.enter(wait("a")), room.enter(wait("b"))];
    room.close();
    expect([await first, await second]).toEqual(["closing", "closing"]);
    expect(room.enter(wait("a"))).toBeUndefined();
  });
});
