/**
 * Times as `/v1` has them: seconds since 1970, and RFC 3339 text beside them where a person reads it.
 */

/** A time as text and as seconds. */
export function expiry(atSeconds: number): { readonly expires: string; readonly expires_at: number } {
  return { expires: new Date(atSeconds * 1000).toISOString().replace(".000Z", "Z"), expires_at: atSeconds };
}

/** A time that the schema let pass, in seconds: the first whole second that is not before it. */
export function readPast(before: string | number, nowSeconds: number): number {
  if (before === "now") return nowSeconds;
  return typeof before === "number" ? before : Math.ceil(Date.parse(before) / 1000);
}
