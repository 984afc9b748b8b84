/** Who holds something that was taken back and would like to go on with it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fromBase64url, toBase64url } from "../../../shared/base64url.ts";
import { createSigner, twinOf } from "../../../shared/es256.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import { nowSeconds, type Fixture } from "../../gate/fixture.ts";
import { cnfOf, hashesOf, openHolders, otherHashOf, type Holder, type Holders, type Way } from "../../gate/holders.ts";

let h: Holders;
let f: Fixture;
beforeAll(async () => {
  h = await openHolders();
  ({ f } = h);
});
afterAll(() => f.close());

/** The same token with the other form of its signature, which nobody needs a key for. */
function twinToken(token: Uint8Array): Uint8Array {
  return Buffer.concat([token.subarray(0, -64), twinOf(token.subarray(-64))]);
}
function twinJwt(jwt: string): string {
  const end = jwt.lastIndexOf(".") + 1;
  return jwt.slice(0, end) + toBase64url(twinOf(fromBase64url(jwt.slice(end))));
}
const twinOfAll = (holder: Holder): Holder => ({ ...holder, cwt: twinToken(holder.cwt), jwt: twinJwt(holder.jwt) });

describe("a token with the other form of its signature", () => {
  const rows: [Way, string, (holder: Holder) => Buffer][] = [
    ["proof", "by its hash", ({ cwt }) => hashesOf(cwt)],
    ["certificate and token", "by its hash", ({ cwt }) => hashesOf(cwt)],
    ["bearer", "as it was given out", ({ jwt }) => hashesOf(jwt)],
    ["bearer", "in the other spelling", ({ jwt }) => otherHashOf(jwt)],
  ];

  it.each(rows)("is refused when the one that was given out is revoked: %s, %s", async (way, _how, hashes) => {
    const holder = await h.hold();
    f.trust.revokeTokens(hashes(holder));
    await expect(h.connect(way, twinOfAll(holder))).rejects.toThrow("token.revoked");
  });

  it.each(rows)("ends its session when the one that was given out is revoked: %s, %s", async (way, _how, hashes) => {
    const holder = await h.hold();
    const wire = await h.connect(way, twinOfAll(holder));
    f.trust.revokeTokens(hashes(holder));
    expect(h.sessionOf(holder)?.isTakenBack ?? true).toBe(true);
    await wire.closed;
  });

  it("neither renews a session nor is kept for a certificate", async () => {
    const holder = await h.hold();
    const wire = await h.connect("certificate", holder);
    f.trust.revokeTokens(hashesOf(holder.cwt));
    await wire.publish("authz-info", Buffer.from(twinToken(holder.cwt)), { qos: 0 });
    await wire.closed;
    expect(f.lastReason("authz-info")).toBe("token.revoked");
  });
});

describe("another signing key under the name of one that is known", () => {
  it("ends the sessions that stand on the first", async () => {
    const holder = await h.hold();
    const first = createSigner("again", makePrivateKey());
    f.trust.learnKey("again", first.publicKey);
    const cwt = f.cwt(holder.id, { cnf: cnfOf(holder.privateKey), allow: ["pubsub:#"], signer: first });
    const wire = await h.connect("proof", { ...holder, cwt });
    f.trust.learnKey("again", createSigner("again", makePrivateKey()).publicKey);
    expect(h.sessionOf(holder)?.isTakenBack ?? true).toBe(true);
    await wire.closed;
    await expect(h.connect("proof", { ...holder, cwt })).rejects.toThrow("cose.signature");
  });
});

it("a token on authz-info that was taken back is not in the way of one that was issued before it", async () => {
  const holder = await h.hold();
  const own = { cnf: cnfOf(holder.privateKey), iat: nowSeconds() - 10 };
  const [earlier, later] = [
    f.cwt(holder.id, { ...own, allow: ["pub:t/earlier"] }),
    f.cwt(holder.id, { ...own, iat: own.iat + 5, allow: ["pub:t/later"] }),
  ];
  const put = async (token: Uint8Array): Promise<void> => {
    const stranger = await f.open();
    await stranger.connect({});
    await stranger.publish("authz-info", Buffer.from(token), { qos: 1 });
    await stranger.leave();
  };
  await put(later);
  f.trust.revokeTokens(hashesOf(later));
  await put(earlier);
  const wire = await h.connect("certificate", holder);
  expect(h.sessionOf(holder).rights).toMatchObject({ kind: "token", grants: [{ filter: "t/earlier" }] });
  await wire.leave();
});
