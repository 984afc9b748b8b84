/**
 * Where the bytes of a CWT go: every part of its frame and every claim, which together are all of it.
 */
import { encode, type Cbor } from "../../shared/cbor.ts";
import { claimKey } from "../../shared/claims.ts";
import { readCwt } from "../../shared/cwt.ts";
import { decodeScope } from "../../shared/scope.ts";

export interface TokenPart {
  readonly name: string;
  readonly bytes: number;
  /** What is in it that no encoding could leave out, or why it is there. */
  readonly remark: string;
}

const meaning: Record<keyof typeof claimKey, (value: Cbor) => string> = {
  iss: String,
  sub: String,
  aud: String,
  exp: () => "four bytes of time",
  nbf: () => "four bytes of time",
  iat: () => "four bytes of time",
  cti: () => "the number of the token",
  cnf: () => "COSE_Key, 32 bytes of x and the sign of y",
  scope: (value) => describeScope(value as Uint8Array),
};

/** Takes a token apart. Throws where the parts do not add up. */
export function partsOf(cwt: Uint8Array): TokenPart[] {
  const { claims, kid, message } = readCwt(cwt);
  const claimParts = Object.entries(claimKey).flatMap(([name, key]) => {
    const value = claims.get(key);
    if (value === undefined) return [];
    const remark = meaning[name as keyof typeof claimKey](value);
    return [{ name: `claim ${name}`, bytes: encode(key).length + encode(value).length, remark }];
  });
  const head = (bytes: Uint8Array): number => encode(bytes).length - bytes.length;
  const parts = [
    { name: "tags 61 and 18, array of four", bytes: 4, remark: "the one frame that can be revoked by its hash" },
    {
      name: "protected header",
      bytes: encode(message.protectedBytes).length,
      remark: `alg ES256, kid of ${kid?.length ?? 0} bytes`,
    },
    { name: "unprotected header", bytes: 1, remark: "empty" },
    { name: "head of the payload and its map", bytes: head(message.payload) + 1, remark: "" },
    ...claimParts,
    { name: "signature", bytes: encode(message.signature).length, remark: "r and s, 32 bytes each" },
  ];
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total !== cwt.length) throw new Error(`the parts are ${total} of ${cwt.length} bytes`);
  return [...parts, { name: "all", bytes: total, remark: "" }];
}

function describeScope(value: Uint8Array): string {
  const grants = decodeScope(value);
  const topicBytes = grants.reduce((sum, { filter }) => sum + Buffer.byteLength(filter), 0);
  return `${grants.length} grants: ${topicBytes} bytes of topics, ${value.length - topicBytes} of structure`;
}
