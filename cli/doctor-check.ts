/** A check of doctor, and walking through them: the first that finds something missing is the last that is made. */
import { AdminFailure, type AdminClient } from "./admin-client.ts";

/** What a check found. `ok` is null where it could not look, or there was nothing to look at. */
export interface Finding {
  readonly ok: boolean | null;
  /** Nothing is missing, and yet somebody should look at it. */
  readonly warns?: true;
  readonly says: string;
  /** The command that mends it, or what to do where there is none. */
  readonly mend?: string;
}

/** A check, by its name. */
export interface Check {
  readonly check: string;
  readonly run: () => Promise<Finding> | Finding;
}

/** A finding with the name of its check. */
export type Found = Finding & { readonly check: string };

/** Makes the checks in their order, up to the first that finds something missing. */
export async function walk(checks: readonly Check[]): Promise<Found[]> {
  const found: Found[] = [];
  for (const { check, run } of checks) {
    const finding = await run();
    found.push({ check, ...finding });
    if (finding.ok === false) break;
  }
  return found;
}

/** All is well. */
export function good(says: string): Finding {
  return { ok: true, says };
}

/** Nothing is missing, but something is as it should not be; `mend` where a command changes that. */
export function warning(says: string, mend?: string): Finding {
  return { ok: true, warns: true, says, ...(mend !== undefined && { mend }) };
}

/** Nothing could be seen, or there was nothing to see. */
export function unseen(says: string): Finding {
  return { ok: null, says };
}

/** Something is missing. */
export function missing(says: string, mend: string): Finding {
  return { ok: false, says, mend };
}

/** What is at a path; undefined where the authority says that there is nothing for whoever asks. */
export async function find<Answer>(admin: AdminClient, path: string): Promise<Answer | undefined> {
  return admin.get<Answer>(path).catch((error: unknown) => {
    if (error instanceof AdminFailure && error.status === 404) return undefined;
    throw error;
  });
}
