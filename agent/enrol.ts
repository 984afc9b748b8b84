/**
 * Enrolment: from a ticket to what the agent is. The certificate has to be one that the authority knows the agent by;
 * `agent.json` is written last.
 */
import { requestSelf } from "./authority.ts";
import { openServerClock } from "./clock.ts";
import { readClientName } from "./est.ts";
import { AgentFailure } from "./failure.ts";
import { readTicket, redeemTicket } from "./redeem.ts";
import * as state from "./state.ts";

/** Redeems the ticket into `dir` and returns what the agent now is. Rejects `refused` when it is enrolled already. */
export async function enrol(ticketText: string, dir: string): Promise<state.Enrolment> {
  const ticket = readTicket(ticketText);
  const known = state.readEnrolment(dir);
  if (known !== undefined) {
    throw new AgentFailure("refused", `${dir} is enrolled already, as ${known.clientId}; choose another folder`);
  }
  const clock = openServerClock();
  const redeemed = await redeemTicket(ticket, dir, clock, readClientName);
  const self = await requestSelf(ticket.authority, redeemed, clock);
  if (self.clientId !== redeemed.name) {
    throw new AgentFailure("refused", "the authority calls this agent by another name");
  }
  const enrolment = { authority: ticket.authority, ...self };
  state.writeCa(dir, redeemed.caPem);
  state.writeCertificate(dir, redeemed.certificatePem);
  state.writeTokens(dir, { time: clock.remember(), tokens: {} });
  state.writeEnrolment(dir, enrolment);
  return enrolment;
}
