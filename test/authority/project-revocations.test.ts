/** What a project takes back, and its certificates: its own, and of another project's nothing, with real tokens. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createLogin } from "../../broker/registry/logins.ts";
import { addMember } from "../../broker/registry/members.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { encodeTokenRequest, readTokenResponse } from "../../shared/ace.ts";
import { parsePermission } from "../../shared/scope.ts";
import { tokenHashes } from "../../shared/token.ts";
import { addPerson } from "./accounts-fixture.ts";
import { ACE, furnish, makeDevice, openFixture, type Device, type Fixture } from "./fixture.ts";

const none = { tokens: 0, certificates: 0, clients: 0, keys: 0, projects: 0 };

let at: Fixture;
let mine: Device;
let theirs: Device;
let token: string;

beforeEach(async () => {
  at = await openFixture();
  furnish(at.registry);
  createProject(at.registry, "zoo");
  createApi(at.registry, { project: "zoo", name: "tele", kind: "mqtt", topics: ["z/#"] });
  createRole(at.registry, { project: "zoo", api: "tele", name: "all", permissions: [parsePermission("sub:z/#")] });
  createClient(at.registry, { project: "zoo", name: "pi", kind: "device", roles: ["all"] });
  [mine, theirs] = [await makeDevice(at, "plant.pi"), await makeDevice(at, "zoo.pi")];
  const { id } = addPerson(at.registry, "admin@example.com");
  addMember(at.registry, "plant", id, "admin", "admin");
  ({ token } = createLogin(at.registry, id));
});
afterEach(() => at.close());

async function ask(path: string, wish?: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const { status, body } = await at.call(`/v1/projects/plant${path}`, {
    ...(wish !== undefined && { type: "application/json", body: JSON.stringify(wish) }),
    headers: { authorization: `Bearer ${token}` },
  });
  return { status, body: JSON.parse(body.toString()) as Record<string, unknown> };
}

const revoke = (wish: unknown): ReturnType<typeof ask> => ask("/revocations", wish);

async function getToken(as: Device, audience: string): Promise<Uint8Array> {
  const answer = await at.call("/token", { type: ACE, body: encodeTokenRequest({ audience }), as });
  return readTokenResponse(answer.body).accessToken;
}

const asText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
const isRevoked = (bytes: Uint8Array): boolean => at.trust.isTokenRevoked(tokenHashes(bytes));

describe("a project", () => {
  it("lists the certificates of its clients", async () => {
    const serials = async (query: string): Promise<unknown> =>
      ((await ask(`/certificates${query}`)).body["items"] as { client: string }[]).map(({ client }) => client);
    expect(await serials("")).toEqual(["plant.pi"]);
    expect(await serials("?client=plant.pi")).toEqual(["plant.pi"]);
    expect(await serials("?client=zoo.pi")).toEqual([]);
    expect(await serials(`?after=${"f".repeat(40)}`)).toEqual([]);
  });

  it("takes its own back: tokens, by themselves and by their hashes, and the rest", async () => {
    const [one, two, three] = [
      await getToken(mine, "plant.tele"),
      await getToken(mine, "plant.tele"),
      await getToken(mine, "plant.tele"),
    ];
    const first = await revoke({ tokens: [asText(one), tokenHashes(two)[0]] });
    expect([first.status, first.body]).toEqual([200, { ...none, tokens: 2 }]);
    expect([one, two, three].map(isRevoked)).toEqual([true, true, false]);
    const rest = await revoke({ certificates: [mine.serial], clients: ["plant.pi"], before: "now" });
    expect(rest.body).toEqual({ ...none, certificates: 1, clients: 1, projects: 1 });
    expect(isRevoked(three)).toBe(true);
    const actors = at.registry.db.prepare("SELECT DISTINCT actor FROM audit WHERE event LIKE '%revoked'").pluck().all();
    expect(actors).toEqual([expect.stringMatching(/^developer:dev_[0-9a-f]{16}$/)]);
  });

  it("hears of another's what it hears of none, and then nothing is taken back", async () => {
    const own = asText(await getToken(mine, "plant.tele"));
    const foreign = await getToken(theirs, "zoo.tele");
    const bad = `${asText(foreign).slice(0, -4)}AAAA`;
    const [hash] = tokenHashes(foreign);
    const noHash = `01${"0".repeat(64)}`;
    for (const [wish, like, detail] of [
      [{ tokens: [own, asText(foreign)] }, { tokens: [own, bad] }, "no such token that is alive"],
      [{ tokens: [own, hash] }, { tokens: [own, noHash] }, `no live token with the hash ${hash}`],
      [
        { tokens: [own], certificates: [theirs.serial] },
        { tokens: [own], certificates: ["0b"] },
        `no certificate ${theirs.serial}`,
      ],
      [{ tokens: [own], clients: ["zoo.pi"] }, { tokens: [own], clients: ["zoo.po"] }, "no client zoo.pi"],
    ] as const) {
      const [answer, missing] = [await revoke(wish), await revoke(like)];
      expect([answer.status, answer.body["detail"]]).toEqual([404, detail]);
      const plain = ({ detail: text, ...same }: Record<string, unknown>): unknown => ({
        ...same,
        id: "",
        detail: String(text).split(" ", 2),
      });
      expect(plain(missing.body)).toEqual(plain(answer.body));
    }
    expect(isRevoked(foreign)).toBe(false);
    expect(at.registry.db.prepare("SELECT count(*) FROM audit WHERE event LIKE '%revoked'").pluck().get()).toBe(0);
  });

  it.each([
    ["nothing", {}],
    ["nothing in lists", { clients: [] }],
    ["a signing key", { keys: ["ab"] }],
    ["another project's tokens", { projects: [{ project: "zoo", before: "now" }] }],
    ["what is to come", { before: 4_000_000_000 }],
    ["what is no token", { tokens: ["nonsense"] }],
  ])("does not take back %s", async (_, wish) => {
    const { status, body } = await revoke(wish);
    expect([status, body["type"]]).toEqual([422, "urn:postern:refusal:registry.invalid"]);
  });
});
