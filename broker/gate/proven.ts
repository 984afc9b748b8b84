/** Who was refused at CONNECT after they had proven who they are, for the record of refusals. */
import { Refusal } from "../../shared/refusal.ts";

const subjects = new WeakMap<Refusal, string>();

/** Does the work for somebody who has proven to be the subject: a refusal is theirs. */
export function asProven<T>(subject: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refusal) subjects.set(error, subject);
    throw error;
  }
}

/** Whose refusal it is, where that was proven. */
export function provenSubject(refusal: Refusal): string | undefined {
  return subjects.get(refusal);
}
