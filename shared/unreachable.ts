/** Why nobody could be reached, in a line. */

/**
 * What the network said. A name with several addresses is tried at each of them, and what that fails with says nothing
 * itself: it has one error for each address.
 */
export function whyUnreachable(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const each = error instanceof AggregateError ? error.errors.map(whyUnreachable).join("; ") : "";
  return error.message === "" ? each : error.message;
}
