/** What docs/protocol.md says that a token needs: each row is how an authority refuses, and each command is one that there is. */
import { randomBytes } from "node:crypto";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defaultLimits } from "../../broker/authority/context.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { revokeCertificate } from "../../broker/registry/certificates.ts";
import { createClient, disableClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createSecret, listSecrets, retireSecret } from "../../broker/registry/secrets.ts";
import type { AssertionClaims } from "../../shared/assertion.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { mintDpopProof } from "../../shared/dpop.ts";
import { createSigner } from "../../shared/es256.ts";
import {
  basic,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "../authority/fixture.ts";
import { readText } from "./blocks.ts";

interface Row {
  readonly says: string;
  readonly outcome: string;
  readonly reason: string;
  readonly mend: string;
}

const section = /^### What a token needs\n(.*?)^## /ms.exec(readText("docs/protocol.md"))![1]!;
const rows: Row[] = section
  .split("\n")
  .filter((line) => /^\|.*\| `[a-z-]+\.[a-z-]+` +\|/.test(line))
  .map((line) => {
    const [says, outcome, reason, mend] = line.split("|").slice(1, -1);
    return { says: says!.trim(), outcome: outcome!.trim(), reason: reason!.trim().slice(1, -1), mend: mend!.trim() };
  });

let fixture: Fixture;
let secret: string;
let device: Device;
const owner = { project: "shop", client: "cart" };

beforeEach(async () => {
  // fewer than there are by default, so that a test reaches the end of them
  fixture = await openFixture({ tokensPerMinute: 3 });
  const { registry } = fixture;
  createProject(registry, "shop");
  createApi(registry, { project: "shop", name: "orders", kind: "http", scopes: ["read", "write"], bearer: true });
  createApi(registry, { project: "shop", name: "bound", kind: "http", scopes: ["read"] });
  createRole(registry, { project: "shop", api: "orders", name: "reader", scopes: ["read"] });
  createRole(registry, { project: "shop", api: "bound", name: "bound-reader", scopes: ["read"] });
  const roles = ["reader", "bound-reader"];
  secret = createClient(registry, { project: "shop", name: "cart", kind: "service", roles }).secret!;
  const { privateKey, key } = makeKey();
  device = { id: "shop.cart", privateKey, key, cert: "", serial: "" };
  replaceKeys(registry, owner, [toJwk(key)]);
});
afterEach(() => fixture.close());

type Parameters = Readonly<Record<string, string>>;

interface Ask {
  readonly headers?: Record<string, string> | undefined;
  readonly as?: Device | undefined;
}

const ask = (changed: Parameters = {}, { headers, as }: Ask = {}): Promise<Answer> =>
  fixture.call("/token", {
    type: "application/x-www-form-urlencoded",
    body: new URLSearchParams({ grant_type: "client_credentials", audience: "shop.orders", ...changed }).toString(),
    headers,
    as,
  });
const withSecret = (
  changed: Parameters = {},
  id = "shop.cart",
  headers: Record<string, string> = {},
): Promise<Answer> => ask(changed, { headers: { ...basic(id, secret), ...headers } });
function withAssertion(
  changed: Partial<AssertionClaims> = {},
  more: Parameters = {},
  by = device,
  as?: Device,
): Promise<Answer> {
  const assertion = jwtAssertion(by, fixture.clock.now, changed);
  return ask({ client_assertion_type: JWT_BEARER, client_assertion: assertion, ...more }, { as });
}
function withProof(changed: { url?: string; nowSeconds?: number; id?: Uint8Array }): Promise<Answer> {
  const asked = { method: "POST", url: `${ISSUER}/token`, nowSeconds: fixture.clock.now, id: randomBytes(12) };
  const dpop = mintDpopProof({ ...asked, ...changed }, createSigner("", device.privateKey));
  return withSecret({ audience: "shop.bound" }, "shop.cart", { dpop });
}

const enrol = (): Promise<Device> => makeDevice(fixture, "shop.cart");

/** How each is brought about; the answer that they give counts. */
const breaks: Readonly<Record<string, readonly (() => Promise<Answer>)[]>> = {
  "request.grant-type": [() => withSecret({ grant_type: "password" })],
  "credential.missing": [() => ask()],
  "request.malformed": [
    async () => ask({}, { headers: basic("shop.cart", secret), as: await enrol() }),
    async () => withAssertion({}, {}, device, await enrol()),
    () => withAssertion({}, { client_secret: secret, client_id: "shop.cart" }),
  ],
  "client.unknown": [() => withSecret({}, "shop.none"), () => withSecret({}, "none.cart")],
  "client.disabled": [
    () => {
      fixture.registry.change(() => disableClient(fixture.registry, "shop.cart"));
      return withSecret();
    },
  ],
  "client.secret": [() => ask({}, { headers: basic("shop.cart", `${secret}x`) })],
  "secret.expired": [
    () => {
      ({ secret } = createSecret(fixture.registry, owner, { ttlSeconds: 60 }));
      fixture.clock.now += 60;
      return withSecret();
    },
  ],
  "secret.retired": [
    () => {
      for (const { id } of listSecrets(fixture.registry, owner)) retireSecret(fixture.registry, owner, id);
      return withSecret();
    },
  ],
  "assertion.signature": [() => withAssertion({}, {}, { ...device, ...makeKey() })],
  "assertion.audience": [() => withAssertion({ aud: "https://other.test" })],
  "assertion.expired": [() => withAssertion({ exp: fixture.clock.now })],
  "assertion.lifetime": [() => withAssertion({ exp: fixture.clock.now + 301 })],
  "assertion.replayed": [
    async () => {
      const id = randomBytes(8);
      expect((await withAssertion({ id })).status).toBe(200);
      return withAssertion({ id });
    },
  ],
  "certificate.revoked": [
    async () => {
      const as = await enrol();
      fixture.registry.change(() => revokeCertificate(fixture.registry, as.serial));
      return ask({}, { as });
    },
  ],
  "rate.limited": [
    async () => {
      for (let asked = 0; asked < 3; asked++) expect((await withSecret()).status).toBe(200);
      return withSecret();
    },
  ],
  "request.audience": [
    () => withSecret({ audience: "shop.none" }),
    () => {
      createProject(fixture.registry, "other");
      createApi(fixture.registry, { project: "other", name: "orders", kind: "http", scopes: ["read"], bearer: true });
      return withSecret({ audience: "other.orders" });
    },
    () =>
      fixture.call("/token", {
        type: "application/x-www-form-urlencoded",
        body: "grant_type=client_credentials",
        headers: basic("shop.cart", secret),
      }),
  ],
  "request.unbound": [() => withSecret({ audience: "shop.bound" })],
  "request.key": [() => withAssertion({}, { req_cnf: JSON.stringify({ jwk: toJwk(makeKey().key) }) })],
  "dpop.url": [() => withProof({ url: "https://other.test/token" })],
  "dpop.time": [() => withProof({ nowSeconds: fixture.clock.now - 61 })],
  "dpop.replayed": [
    async () => {
      const id = randomBytes(12);
      expect((await withProof({ id })).status).toBe(200);
      return withProof({ id });
    },
  ],
  "request.scope": [
    () => withSecret({ scope: "write" }),
    () => {
      createApi(fixture.registry, { project: "shop", name: "new", kind: "http", scopes: ["read"], bearer: true });
      return withSecret({ audience: "shop.new" });
    },
  ],
};

describe("what a token needs", () => {
  test("is there in full, each once", () => {
    expect(rows.map(({ reason }) => reason)).toEqual(Object.keys(breaks));
  });

  test("where all of it holds there is a token", async () => {
    expect((await withSecret()).status).toBe(200);
    expect((await withAssertion()).status).toBe(200);
    expect((await withProof({})).status).toBe(200);
  });

  const cases = rows.flatMap((row) => (breaks[row.reason] ?? []).map((provoke) => ({ ...row, provoke })));
  test.each(cases)("$says: else $outcome", async ({ outcome, reason, provoke }) => {
    const { status, body } = await provoke();
    const { error } = JSON.parse(body.toString()) as { error: string };
    expect([`${status} \`${error}\``, fixture.reason()]).toEqual([outcome, reason]);
  });

  test("the numbers in it are the defaults", () => {
    expect(section).toContain(`fewer than ${defaultLimits.tokensPerMinute} tokens in a minute`);
    expect(defaultLimits.assertionSeconds).toBe(5 * 60);
  });

  const commands = [...section.matchAll(/`postern ([^`]+)`/g)].map(([, line]) => line!);
  test.each(commands)("postern %s", async (line) => {
    const [noun, ...words] = line.split(" ");
    const command = new Command(noun);
    const module = (await import(`../../cli/${noun}.ts`)) as { readonly define: (noun: Command) => void };
    module.define(command);
    const verb = command.commands.find((one) => one.name() === words[0]) ?? command;
    if (verb === command) expect(command.commands).toEqual([]);
    const flags = words.filter((word) => word.startsWith("--"));
    const known = new Set(verb.options.map(({ long }) => long!));
    expect(flags.filter((flag) => !known.has(flag))).toEqual([]);
    const demanded = verb.options.filter(({ mandatory }) => mandatory).map(({ long }) => long!);
    expect(demanded.filter((flag) => !flags.includes(flag))).toEqual([]);
  });
});
