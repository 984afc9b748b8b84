/** The agent's own token, read for what it says to the agent: nothing is verified here, that is for the broker. */
import { toBase64url } from "../shared/base64url.ts";
import type { Grant } from "../shared/scope.ts";

/** A CWT starts with a tag, a JWT with a letter. */
function isCwt(token: Uint8Array): boolean {
  return token[0] !== undefined && token[0] >= 0x80;
}

/** The text form: base64url of a CWT, a JWT as it is. */
export function toText(token: Uint8Array): string {
  return isCwt(token) ? toBase64url(token) : Buffer.from(token).toString("latin1");
}

/** What the token allows, unverified; empty for an api of kind http. Loads only the reader that the format needs. */
export async function readGrants(token: Uint8Array): Promise<readonly Grant[]> {
  if (isCwt(token)) {
    const [{ readCwt }, { readCwtClaims }] = await Promise.all([
      import("../shared/cwt.ts"),
      import("../shared/claims.ts"),
    ]);
    const { scope } = readCwtClaims(readCwt(token).claims);
    return scope === undefined || typeof scope === "string" ? [] : scope;
  }
  const { inspectToken } = await import("../shared/token.ts");
  return inspectToken(token).grants;
}
