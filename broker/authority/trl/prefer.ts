/**
 * How long a caller is willing to wait for news: `Prefer: wait=N` (RFC 7240, section 4.3).
 */

/** Nobody is held for longer: beyond a minute something on the way may take the connection for dead. */
export const MAX_WAIT_SECONDS = 60;

/** The seconds, at most 60; 0 where the header has none, or none that is a number. Of several the first counts (section 2). */
export function readWait(header: string | readonly string[] | undefined): number {
  const preferences = [header ?? []].flat().join(",").split(",");
  const wait = preferences.map((text) => text.split(";", 1)[0]!.trim()).find((text) => /^wait\s*=/i.test(text));
  const seconds = /=\s*(?:"(\d{1,9})"|(\d{1,9}))$/.exec(wait ?? "");
  return Math.min(Number(seconds?.[1] ?? seconds?.[2] ?? 0), MAX_WAIT_SECONDS);
}
