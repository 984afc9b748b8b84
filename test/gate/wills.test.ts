/** Wills that are stored, or due, when what allowed them was taken back. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { WillGrounds } from "../../broker/gate/will-grounds.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { parsePermission } from "../../shared/scope.ts";
import { makeAuthority } from "./certificates.ts";
import { AUDIENCE, nowSeconds, openFixture } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";
import { everything, hashesOf, openHolders, will } from "./holders.ts";
import type { Holder, Holders, Way } from "./holders.ts";

let h: Holders;
let f: Fixture;
beforeAll(async () => {
  h = await openHolders();
  ({ f } = h);
});
afterAll(() => f.close());

describe("a stored will", () => {
  const topic = "taken/stored";
  /** As they are written now, and as they were before there was anything to take back. */
  async function groundsOf(way: Way, holder: Holder, isOld: boolean): Promise<WillGrounds> {
    const wire = await h.connect(way, holder, { will: { ...will, topic } });
    const grounds = JSON.parse(JSON.stringify(f.gate.groundsOf(h.sessionOf(holder).connection))) as WillGrounds;
    await wire.leave();
    const { iat: _iat, cti: _cti, authority: _authority, tokensAfter: _after, ...old } = grounds;
    return isOld ? old : grounds;
  }
  const rows: [string, Way, string, (holder: Holder) => void][] = [
    ["client was deleted", "proof", "client.unknown", ({ id }) => f.trust.forgetClient(id)],
    ["client was disabled", "proof", "client.disabled", ({ id }) => h.learn({ id, enabled: false })],
    ["token was revoked", "proof", "token.revoked", (one) => f.trust.revokeTokens(hashesOf(one.cwt))],
    [
      "token is of before its client was disabled",
      "proof",
      "token.revoked",
      ({ id }) => h.learn({ id, tokensAfter: 700 }),
    ],
    [
      "client was disabled and enabled again",
      "certificate",
      "client.disabled",
      ({ id }) => h.learn({ id, tokensAfter: 9 }),
    ],
    [
      "certificate was revoked",
      "certificate",
      "certificate.revoked",
      (one) => f.trust.revokeCertificates([h.nameOf(one.identity)]),
    ],
    [
      "roles no longer cover it",
      "proof",
      "will.topic",
      ({ id }) => h.learn({ id, grants: [{ audience: AUDIENCE, grants: [parsePermission("sub:#")] }] }),
    ],
  ];
  describe.each([
    ["on grounds of now", false],
    ["on grounds that say less", true],
  ])("%s", (_name, isOld) => {
    it.each(rows)("is not published when its %s", async (_row, way, reason, takeBack) => {
      const holder = await h.hold();
      const grounds = await groundsOf(way, holder, isOld);
      expect(f.gate.mayFireStored(grounds, topic)).toBe(true);
      takeBack(holder);
      expect(f.gate.mayFireStored(grounds, topic)).toBe(false);
      expect(f.lastReason("will")).toBe(reason);
    });
  });

  it("is not published when tokens of its project were taken back, where it is not written when its own was issued", async () => {
    const own = await openFixture();
    const device = own.device();
    await own.enter(device, { iat: nowSeconds() }, { will: { ...will, topic: `t/${device.id}/w` } });
    const { connection } = own.gate.sessions.by("client", device.id)[0]!;
    const grounds = own.gate.groundsOf(connection)!;
    own.trust.learnTokensSince("acme", nowSeconds() - 50);
    const { iat: _iat, ...old } = grounds;
    expect(own.gate.mayFireStored(grounds, `t/${device.id}/w`)).toBe(true);
    expect(own.gate.mayFireStored(old, `t/${device.id}/w`)).toBe(false);
    expect(own.lastReason("will")).toBe("token.revoked");
    await own.close();
  });

  it.each([
    ["is gone", "certificate.untrusted"],
    ["has another list", "certificate.list"],
  ])("is not published when the authority of its certificate %s", async (_name, reason) => {
    const own = await openFixture();
    const device = own.device();
    own.trust.learnClient({ id: device.id, enabled: true, grants: everything });
    const wire = await own.open(await own.certificate(device));
    await wire.connect({ clientId: device.id, will: { ...will, topic } });
    const grounds = own.gate.groundsOf(own.gate.sessions.by("client", device.id)[0]!.connection)!;
    const { authority: _authority, ...old } = grounds;
    const known = own.trust.deviceAuthorities[0]!;
    if (reason === "certificate.list") own.trust.learnAuthority({ ...known, needsList: true });
    else own.trust.forgetAuthority(known.id);
    expect([own.gate.mayFireStored(grounds, topic), own.lastReason("will")]).toEqual([false, reason]);
    expect([own.gate.mayFireStored(old, topic), own.lastReason("will")]).toEqual([false, reason]);
    if (reason === "certificate.untrusted") {
      // another authority's certificate is not taken for it
      const { x509 } = await makeAuthority("another");
      own.trust.learnAuthority({ id: nameAuthority(x509), certificate: x509 });
      expect(own.gate.mayFireStored(grounds, topic)).toBe(false);
    }
    await own.close();
  });

  it("of a broker that is gone is not published for a client that is", async () => {
    const { id } = f.device();
    const packet = () => ({ topic, payload: "w", retain: true, clientId: `${id}:1` });
    const fire = (sent: ReturnType<typeof packet>): string => {
      f.gate.hooks.authorizePublish(null, sent, (error) => expect(error).toBeNull());
      return sent.topic;
    };
    expect(fire(packet())).toBe(topic);
    h.learn({ id, enabled: false });
    expect(fire(packet())).toMatch(/^\$SYS\//);
    expect(f.lastReason("will")).toBe("client.disabled");
  });
});
