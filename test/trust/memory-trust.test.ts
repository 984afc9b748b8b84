/** Trust in memory: what it was told it says, and it tells of changes only. */
import { expect, it } from "vitest";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { TrustNews } from "../../broker/trust/trust.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

const makeKey = () => readPublicKey(generatePrivateKey());

it("says what it was told, until told otherwise", () => {
  const trust = createMemoryTrust({ issuer: "https://issuer.test" });
  const key = makeKey();
  trust.learnKey("k", key);
  trust.learnApi({ audience: "a.b", kind: "mqtt", bearer: false });
  trust.learnClient({ id: "a.c", enabled: true, grants: [] });
  expect(trust).toMatchObject({ issuer: "https://issuer.test", knowsClients: true, deviceAuthorities: [] });
  expect([trust.keyFor("k"), trust.api("a.b")?.kind, trust.client("a.c")?.enabled]).toEqual([key, "mqtt", true]);
  trust.forgetKey("k");
  trust.forgetApi("a.b");
  trust.forgetClient("a.c");
  expect([trust.keyFor("k"), trust.api("a.b"), trust.client("a.c")]).toEqual([undefined, undefined, undefined]);
});

it("tells of what changed, and of nothing else", () => {
  const trust = createMemoryTrust({ issuer: "i" });
  const news: TrustNews[] = [];
  const stop = trust.onNews((one) => news.push(one));
  const heard = (): TrustNews[] => news.splice(0);
  const [key, other] = [makeKey(), makeKey()];
  const grant = { filter: "a", pub: true, sub: false };
  const grants = [{ audience: "a.b", grants: [grant] }];

  trust.learnKey("k", key);
  trust.learnKey("k", key);
  expect(heard()).toEqual([{ kind: "key", kid: "k" }]);
  // first that it is gone, then that there is another
  trust.learnKey("k", other);
  expect(heard()).toHaveLength(2);
  trust.forgetKey("k");
  trust.forgetKey("k");
  expect(heard()).toHaveLength(1);

  trust.learnApi({ audience: "a.b", kind: "mqtt", bearer: false });
  trust.learnApi({ audience: "a.b", kind: "mqtt", bearer: false });
  trust.learnApi({ audience: "a.b", kind: "mqtt", bearer: true });
  trust.forgetApi("a.b");
  expect(heard()).toEqual(Array.from({ length: 3 }, () => ({ kind: "api", audience: "a.b" })));

  trust.learnClient({ id: "a.c", enabled: true, grants });
  trust.learnClient({ id: "a.c", enabled: true, grants: [{ audience: "a.b", grants: [{ ...grant }] }] });
  trust.learnClient({ id: "a.c", enabled: true, grants: [{ audience: "a.b", grants: [{ ...grant, sub: true }] }] });
  trust.learnClient({ id: "a.c", enabled: false, grants: [] });
  trust.forgetClient("a.c");
  expect(heard()).toEqual(Array.from({ length: 4 }, () => ({ kind: "client", id: "a.c" })));

  stop();
  trust.learnKey("k", key);
  expect(heard()).toEqual([]);
});
