/** Payloads in JSON output: text when they are UTF-8, else base64 and said so. */

/** A payload as JSON holds it. */
export interface EncodedPayload {
  readonly payload: string;
  readonly encoding?: "base64";
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text where the bytes are UTF-8. */
export function encodePayload(payload: Uint8Array): EncodedPayload {
  try {
    return { payload: utf8.decode(payload) };
  } catch {
    return { payload: Buffer.from(payload).toString("base64"), encoding: "base64" };
  }
}
