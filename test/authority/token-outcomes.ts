/** What the tests of errors of the token endpoint have in common: how a refusal is asked for, and all that it must say. */
import { expect } from "vitest";
import { readTokenError } from "../../shared/ace.ts";
import { meaningOf, type Reason } from "../../shared/refusal.ts";
import { ACE, countRows, openFixture, type Call, type Fixture } from "./fixture.ts";
import { readJson } from "./http-apis.ts";

export type Outcome = readonly [reason: Reason, status: number, error: string];

export const malformed: Outcome = ["request.malformed", 400, "invalid_request"];
export const noAudience: Outcome = ["request.audience", 400, "invalid_request"];
export const noScope: Outcome = ["request.scope", 400, "invalid_scope"];
export const noGrant: Outcome = ["request.grant-type", 400, "unsupported_grant_type"];
export const noProfile: Outcome = ["request.profile", 400, "incompatible_ace_profiles"];
export const noClient: Outcome = ["client.unknown", 401, "invalid_client"];
export const noSecret: Outcome = ["client.secret", 401, "invalid_client"];
export const noAssertion: Outcome = ["assertion.malformed", 401, "invalid_client"];
export const badKey = (reason: Reason): Outcome => [reason, 400, "unsupported_pop_key"];

export const control = "\u0000\r\nSet-Cookie: a=b\u007f";
export const long = "x".repeat(9_000);

/** An authority that lets one client fail as often as there are rows. */
export function openPatient(): Promise<Fixture> {
  return openFixture({ clientFailuresPerMinute: 10_000, addressFailuresPerMinute: 10_000 });
}

/** How a call is refused; checks the answer to its last header, and that nothing was written. */
export async function refusalOf(at: Fixture, call: Call): Promise<Outcome> {
  const before = countRows(at.registry);
  at.lines.length = 0;
  const answer = await at.call("/token", call);
  const reason = at.reason() as Reason;
  const isCbor = call.type === ACE;
  const told = isCbor ? readTokenError(answer.body) : readJson(answer);
  const error = String(told.error);
  // whoever fails to prove itself hears the same, whatever it tried
  const { says } = meaningOf(error === "invalid_client" ? "client.unknown" : reason);
  const description = `${says} (id ${String(at.lines.at(-1)?.["id"])})`;
  expect(told).toEqual({ error, [isCbor ? "description" : "error_description"]: description });
  // RFC 6749, section 5.2
  expect(description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  expect(answer.headers).toMatchObject({
    "content-type": isCbor ? ACE : "application/json",
    "cache-control": "no-store",
    pragma: "no-cache",
  });
  expect(answer.headers["www-authenticate"]).toBe(answer.status === 401 ? 'Basic realm="postern"' : undefined);
  expect(answer.headers["set-cookie"]).toBeUndefined();
  expect(countRows(at.registry)).toEqual(before);
  return [reason, answer.status, error];
}
