/**
 * A question about a token in any of its encodings, as one thing: form (RFC 7009, section 2.1; RFC 7662, section 2.1), JSON
 * with the same names, and CBOR with the keys of RFC 9200, which has them for introspection.
 *
 * Parameters that are not known are ignored, `token_type_hint` among them: every token is looked for in the same place. A
 * token in the query is refused, because addresses are written into logs.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { readIntrospectionRequest } from "../../../shared/introspection.ts";
import { refuse } from "../../../shared/refusal.ts";
import { toToken } from "../../../shared/token.ts";
import type { OauthBody } from "../body.ts";
import type { Evidence } from "./client-auth.ts";

/** What is asked about, and what of the request says who asks. */
export interface PresentedToken {
  /** CWT bytes, or text. */
  readonly token: string | Uint8Array;
  readonly evidence: Evidence;
}

const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** What belongs into the body alone (RFC 6749, section 2.3.1; RFC 7662, section 2.1). */
const secrets = ["token", "client_secret", "client_assertion"];

/** The parameters in JSON and form. */
export const presentedTokenSchema = z.object({
  token: z.string().min(1),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
  client_assertion: z.string().optional(),
  client_assertion_type: z.literal(JWT_BEARER).optional(),
});

/** Reads a request. Throws `request.malformed` and `cbor.*`. */
export function readPresentedToken(request: FastifyRequest): PresentedToken {
  const inQuery = secrets.find((name) => Object.hasOwn(request.query as object, name));
  if (inQuery !== undefined) refuse("request.malformed", `${inQuery} in the query`);
  // named one by one: to copy the rest of an object costs as much as to read a token
  const { token, clientId, clientSecret, assertion } = readBody(request.body as OauthBody | undefined);
  const socket = request.raw.socket as TLSSocket;
  const { authorization } = request.headers;
  return { token: toOneSpelling(token), evidence: { socket, authorization, clientId, clientSecret, assertion } };
}

function readBody(
  body: OauthBody | undefined,
): Pick<PresentedToken, "token"> & Omit<Evidence, "socket" | "authorization"> {
  if (body === undefined) return refuse("request.malformed", "no body");
  if (body.wire === "cbor") {
    const { token, clientId, clientAssertion } = readIntrospectionRequest(body.bytes);
    return { token, clientId, assertion: clientAssertion };
  }
  // a parameter without a value counts as left out (RFC 6749, section 3.2)
  const given =
    body.wire === "json" ? body.value : Object.fromEntries([...body.fields].filter(([, text]) => text !== ""));
  const read = presentedTokenSchema.safeParse(given);
  if (!read.success) {
    return refuse("request.malformed", read.error.issues.map((issue) => issue.path.join(".")).join(", "));
  }
  const { token, client_id, client_secret, client_assertion, client_assertion_type } = read.data;
  if ((client_assertion === undefined) !== (client_assertion_type === undefined)) {
    refuse("request.malformed", "client_assertion and client_assertion_type come together");
  }
  return { token, clientId: client_id, clientSecret: client_secret, assertion: client_assertion };
}

/** A JWT that went out in CBOR is a byte string, and whoever writes that as text has base64url of a JWT. */
function toOneSpelling(presented: string | Uint8Array): string | Uint8Array {
  // a JWT as it mostly comes
  if (typeof presented === "string" && presented.includes(".")) return presented;
  try {
    const { format, bytes } = toToken(presented);
    return format === "cwt" && bytes.length > 0 && bytes[0]! < 0x80 ? bytes : presented;
  } catch {
    // whoever looks at it finds what is wrong with it
    return presented;
  }
}
