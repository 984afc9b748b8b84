/**
 * A request to take back a token in any of its encodings, as one thing: form (RFC 7009, section 2.1), JSON with the same
 * names, and CBOR with the keys of RFC 9200, which has them for introspection.
 *
 * Parameters that are not known are ignored, `token_type_hint` among them: every token is looked for in the same place.
 */
import { z } from "zod";
import { asMap, decode } from "../../shared/cbor.ts";
import { refuse } from "../../shared/refusal.ts";
import type { OauthBody } from "./body.ts";

/** What is to be taken back, and what of the body says who asks. */
export interface RevocationRequest {
  /** As it was presented: CWT bytes, or text. */
  readonly token: string | Uint8Array;
  readonly clientId?: string | undefined;
  readonly clientSecret?: string | undefined;
  readonly assertion?: Uint8Array | string | undefined;
}

const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** RFC 9200, table 6 and table 5; the last is of the private-use range. */
const parameter = { token: 11, clientId: 24, clientAssertion: -65537 } as const;

const schema = z.object({
  token: z.string().min(1),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
  client_assertion: z.string().optional(),
  client_assertion_type: z.literal(JWT_BEARER).optional(),
});

/** Reads a request. Throws `request.malformed` and `cbor.*`. */
export function readRevocationRequest(body: OauthBody | undefined): RevocationRequest {
  if (body === undefined) return refuse("request.malformed", "no body");
  if (body.wire === "cbor") return readCbor(body.bytes);
  // a parameter without a value counts as left out (RFC 6749, section 3.2)
  const given =
    body.wire === "json" ? body.value : Object.fromEntries([...body.fields].filter(([, text]) => text !== ""));
  const read = schema.safeParse(given);
  if (!read.success) {
    return refuse("request.malformed", read.error.issues.map((issue) => issue.path.join(".")).join(", "));
  }
  const { token, client_id, client_secret, client_assertion, client_assertion_type } = read.data;
  if ((client_assertion === undefined) !== (client_assertion_type === undefined)) {
    refuse("request.malformed", "client_assertion and client_assertion_type come together");
  }
  return { token, clientId: client_id, clientSecret: client_secret, assertion: client_assertion };
}

function readCbor(bytes: Uint8Array): RevocationRequest {
  const map = asMap(decode(bytes, { anyOrder: true }));
  const token = map.get(parameter.token);
  const clientId = map.get(parameter.clientId);
  const assertion = map.get(parameter.clientAssertion);
  const isToken = (token instanceof Uint8Array || typeof token === "string") && token.length > 0;
  if (!isToken) return refuse("request.malformed", "token");
  if (clientId !== undefined && typeof clientId !== "string") return refuse("request.malformed", "client_id");
  if (assertion !== undefined && !(assertion instanceof Uint8Array)) {
    return refuse("request.malformed", "client_assertion");
  }
  return { token, clientId, assertion };
}
