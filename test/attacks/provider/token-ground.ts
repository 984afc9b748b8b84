/** Project `shop`, who asks there, and how a call to an OAuth endpoint is refused: shared by the attacks on those. */
import { expect } from "vitest";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { readTokenError } from "../../../shared/ace.ts";
import { meaningOf, type Reason } from "../../../shared/refusal.ts";
import {
  ACE,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  type Call,
  type Device,
  type Fixture,
} from "../../authority/fixture.ts";
import { FORM, furnishShop, readJson, toForm, type Shop } from "../../authority/http-apis.ts";
import { openPatient, type Outcome } from "../../authority/token-outcomes.ts";

export type Fields = Readonly<Record<string, unknown>>;

export interface TokenGround extends Fixture {
  readonly shop: Shop;
  readonly till: Device;
  /** Of the api `shop/open`. */
  readonly apiSecret: string;
  /** A second later: a token of `shop.web` for `shop.open`. */
  getToken(): Promise<string>;
  /** How a call is refused, having checked the whole answer, and that nothing was written but the audit log. */
  outcomeOf(path: string, call: Call): Promise<Outcome>;
  /** All that such a call could write. */
  picture(): string;
  /** The parameters by which `shop.web` proves itself by an assertion. */
  byAssertion(): Fields;
}

export const malformed: Outcome = ["request.malformed", 400, "invalid_request"];
export const notClient = (reason: Reason): Outcome => [reason, 401, "invalid_client"];

export const json = (fields: object): Call => ({ type: "application/json", body: JSON.stringify(fields) });
export const form = (fields: object): Call => ({
  type: FORM,
  body: toForm(JSON.parse(JSON.stringify(fields)) as Record<string, string>),
});

const tables = ["assertion", "issued", "revoked_token", "secret", "client", "public_key"];

export async function openTokenGround(): Promise<TokenGround> {
  const at = await openPatient();
  const shop = furnishShop(at.registry);
  const picture = (): string =>
    JSON.stringify(tables.map((table) => at.registry.db.prepare(`SELECT * FROM ${table}`).all()));
  return {
    ...at,
    shop,
    till: await makeDevice(at, "shop.till"),
    apiSecret: createSecret(at.registry, { project: "shop", api: "open" }).secret,
    picture,
    byAssertion: () => ({
      client_id: "shop.web",
      client_assertion: jwtAssertion(shop.web as Device, at.clock.now),
      client_assertion_type: JWT_BEARER,
    }),
    async getToken() {
      at.clock.now += 1;
      const fields = { audience: "shop.open", client_id: "shop.web", client_secret: shop.secret };
      const answer = await at.call("/token", json(fields));
      at.lines.length = 0;
      return String(readJson(answer)["access_token"]);
    },
    async outcomeOf(path, call) {
      const before = picture();
      at.lines.length = 0;
      const answer = await at.call(path, call);
      const reason = at.reason() as Reason;
      const isCbor = call.type === ACE;
      const told = isCbor ? readTokenError(answer.body) : readJson(answer);
      const { says } = meaningOf(told.error === "invalid_client" ? "client.unknown" : reason);
      const id = String(at.lines.findLast((line) => line["reason"] === reason)?.["id"]);
      expect(told).toEqual({ error: told.error, [isCbor ? "description" : "error_description"]: `${says} (id ${id})` });
      expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
      expect(answer.headers["set-cookie"]).toBeUndefined();
      const challenge = reason === "admin.key" ? 'Bearer realm="postern"' : 'Basic realm="postern"';
      expect(answer.headers["www-authenticate"]).toBe(answer.status === 401 ? challenge : undefined);
      expect(picture() === before).toBe(true);
      return [reason, answer.status, String(told.error)];
    },
  };
}
