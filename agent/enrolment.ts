/** What an enrolment learned of the authority, learned again: apis come and go with roles, and brokers move. */
import { requestSelf } from "./authority.ts";
import { openServerClock } from "./clock.ts";
import { readIdentity, readTokens, writeEnrolment, type Enrolment } from "./state.ts";

/** Asks the authority which apis and brokers there are, and writes it down. */
export async function refreshEnrolment(dir: string): Promise<Enrolment> {
  const identity = readIdentity(dir);
  const { authority } = identity.enrolment;
  const self = await requestSelf(authority, identity, openServerClock(readTokens(dir).time));
  const enrolment = { ...self, authority };
  writeEnrolment(dir, enrolment);
  return enrolment;
}
