/**
 * A provider's verifier in a process of its own, and what may happen between it and the authority, or to that. A token that was
 * taken back is never let in for longer than the verifier says, whatever goes wrong; where nothing can be known nobody is; and
 * when it is well again, so is the verifier, by itself.
 */
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { start, within, type Json, type Running } from "../fixture.ts";
import { Desk, until, type Service } from "../revocation/room.ts";
import { openBehind, openWired, type Wired } from "../revocation/wire.ts";

/** What the verifier lives by, the least that there is. */
const boundSeconds = 3;
/** How long it may take to find out that all is well: an attempt that hangs, and the pause after it, for each connection. */
const recoveryMs = 40_000;

interface Held {
  readonly service: Service;
  readonly token: string;
}

const program = fileURLToPath(new URL("verifier.mjs", import.meta.url));

let wired: Wired;
let desk: Desk;
let provider: Running;
let port: number;
/** Good all the time. */
let steady: Held;
let count = 0;

async function make(): Promise<Held> {
  const service = await desk.makeService(`shop.n${count++}`, ["orders"]);
  return { service, token: await desk.token(service) };
}

async function decide({ token }: Held): Promise<Json> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: token });
  return answer.json();
}

async function statusOf(): Promise<Json> {
  return (await fetch(`http://127.0.0.1:${port}/`)).json();
}

const anyText = expect.any(String) as string;
const letIn = ({ service }: Held): object => ({ client: service.id, verifiedBy: "feed" });
const isWell = (): Promise<void> => until(async () => expect(await decide(steady)).toEqual(letIn(steady)), recoveryMs);

beforeAll(async () => {
  wired = await openWired();
  desk = wired.desk;
  await desk.makeProject("shop");
  const at = "/v1/projects/shop";
  await desk.json("POST", `${at}/apis`, { name: "orders", kind: "http", scopes: ["read"], bearer: true });
  await desk.json("POST", `${at}/roles`, { name: "orders", api: "orders", scopes: ["read"] });
  const { secret } = await desk.json("POST", `${at}/apis/orders/secrets`, {});
  const { issuer, ca } = wired.installation.ready;
  const options = {
    issuer,
    audience: "shop.orders",
    ca: readFileSync(ca, "utf8"),
    credential: { id: "shop/orders", secret },
    maxStalenessSeconds: boundSeconds,
  };
  provider = start(process.execPath, [program], { stdin: JSON.stringify(options) });
  ({ port } = await provider.stdout.json({ event: "ready" }));
  steady = await make();
  await isWell();
});
afterAll(async () => {
  await wired.wire.close();
});

/**
 * Takes a token back and asks about it all the time until the verifier says this reason. It is let in by the list alone, and
 * not a moment after the bound. Gives back how long it took.
 */
async function takeBack(taken: Held, reason: string): Promise<number> {
  expect(await decide(taken)).toEqual(letIn(taken));
  await desk.revoke({ tokens: [taken.token] });
  const revokedAt = performance.now();
  const late: number[] = [];
  await until(async () => {
    const askedMs = performance.now() - revokedAt;
    const decided = await decide(taken);
    if (decided.reason === undefined && askedMs > boundSeconds * 1000) late.push(askedMs);
    expect(decided).toEqual({ reason });
  }, recoveryMs);
  expect(late).toEqual([]);
  return performance.now() - revokedAt;
}

/**
 * Something goes wrong, and then a token is taken back: nobody is let in any more. Then it is well again, and
 * what the token is worth then is given back.
 */
async function passThrough(begin: () => void): Promise<Json> {
  const taken = await make();
  begin();
  await takeBack(taken, "authority.unreachable");
  await until(async () => expect(await decide(steady)).toEqual({ reason: "authority.unreachable" }));
  await until(async () => expect(await statusOf()).toMatchObject({ reachable: false, lastError: anyText }));
  wired.wire.turn("through");
  await isWell();
  await until(async () => expect(await statusOf()).toMatchObject({ reachable: true }));
  return decide(taken);
}

describe("a verifier whose way to the authority", { timeout: 180_000 }, () => {
  it("is well refuses what is taken back", async () => {
    await takeBack(await make(), "token.revoked");
    expect(await decide(steady)).toEqual(letIn(steady));
  });

  it("is silent on every connection that is open finds another one", async () => {
    const taken = await make();
    const { failures } = await statusOf();
    // the next question follows at once, so that there always is one that is held
    wired.wire.silence();
    await takeBack(taken, "token.revoked");
    await isWell();
    expect((await statusOf()).failures).toBeGreaterThan(failures);
  });

  it("is cut", async () => {
    expect(await passThrough(() => wired.wire.turn("cut"))).toEqual({ reason: "token.revoked" });
  });

  it("leads nowhere", async () => {
    expect(await passThrough(() => wired.wire.turn("void"))).toEqual({ reason: "token.revoked" });
  });

  it("is slow hears all the same", async () => {
    const taken = await make();
    wired.wire.turn("slow");
    await isWell();
    await takeBack(taken, "token.revoked");
    expect(await decide(steady)).toEqual(letIn(steady));
    wired.wire.turn("through");
    await isWell();
  });
});

describe("a verifier whose authority", { timeout: 180_000 }, () => {
  async function reopen(): Promise<void> {
    desk.close();
    const { folder } = wired.installation;
    const installation = await openBehind(wired.ports, folder);
    desk = new Desk({ ...installation.ready, address: "127.0.0.2" });
    wired = { ...wired, installation, desk };
  }

  it("is killed with -9 and started again goes on by itself, and knows what it acknowledged", async () => {
    const taken = await make();
    expect(await decide(taken)).toEqual(letIn(taken));
    await desk.revoke({ tokens: [taken.token] });
    wired.installation.up.signal("SIGKILL");
    await wired.installation.up.ended();
    await until(async () => expect(await decide(steady)).toEqual({ reason: "authority.unreachable" }));
    await reopen();
    await isWell();
    expect(await decide(taken)).toEqual({ reason: "token.revoked" });
  });

  it("is restored from an older copy goes on refusing what it was told", async () => {
    const { folder, dataDir } = wired.installation;
    const kill = async (): Promise<void> => {
      wired.installation.up.signal("SIGKILL");
      await within("the end of the authority", wired.installation.up.ended());
    };
    const lost = await make();
    await kill();
    const copy = join(folder, "copy");
    cpSync(dataDir, copy, { recursive: true });
    await reopen();
    await isWell();
    for (const taken of [await make(), await make(), lost]) await takeBack(taken, "token.revoked");
    await kill();
    rmSync(dataDir, { recursive: true });
    cpSync(copy, dataDir, { recursive: true });
    await reopen();
    await provider.stderr.next(/the list of revoked tokens is read again/);
    await isWell();
    // the authority has forgotten
    expect(await desk.json("POST", "/introspect", { token: lost.token })).toMatchObject({ active: true });
    expect(await decide(lost)).toEqual({ reason: "token.revoked" });
    await takeBack(await make(), "token.revoked");
  });
});
