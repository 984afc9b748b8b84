/** Whether the agent in a folder has what it needs: an enrolment, a certificate that is good, rights, and a broker. */
import { AgentFailure } from "../agent/failure.ts";
import { sendHttps } from "../agent/request.ts";
import { readIdentity, type AgentIdentity } from "../agent/state.ts";
import { AdminFailure, readAnswer, route } from "./admin-client.ts";
import { describeAgent, type AgentStatus } from "./agent-status.ts";
import { authorityChecks } from "./doctor-authority.ts";
import { good, missing, type Check, type Finding } from "./doctor-check.ts";
import { formatList, formatTime } from "./output.ts";
import { askBroker } from "./probe.ts";

/** What `/v1/self` answers, as far as it is looked at. */
interface Self {
  readonly apis: readonly { readonly audience: string }[];
  readonly brokers: { readonly mqtts: string | null };
}

/** An agent as its folder has it, or why there is none. */
export type AgentInFolder =
  { readonly identity: AgentIdentity; readonly status: AgentStatus } | { readonly why: string };

/** Reads the folder. */
export function readAgent(dir: string): AgentInFolder {
  try {
    return { identity: readIdentity(dir), status: describeAgent(dir, Date.now() / 1000) };
  } catch (error) {
    if (error instanceof AgentFailure) return { why: error.message };
    throw error;
  }
}

/** The checks of an agent, in their order. */
export function agentChecks(found: AgentInFolder): Check[] {
  if ("why" in found) {
    return [{ check: "agent", run: () => missing(found.why, "postern agent enrol <ticket>") }];
  }
  const { identity, status } = found;
  let self: Self;
  return [
    { check: "agent", run: () => good(`enrolled as ${status.clientId}`) },
    ...authorityChecks({ url: status.authority, ca: identity.caPem }),
    {
      check: "certificate",
      run: () => {
        const until = formatTime(status.certificate.expiresAt);
        if (status.certificate.expiresAt * 1000 > Date.now()) return good(`good until ${until}`);
        return missing(`it ended at ${until}`, "postern agent enrol <ticket>, with a new ticket");
      },
    },
    {
      check: "client",
      run: async () => {
        try {
          self = (await askSelf(identity)) as Self;
        } catch (error) {
          if (!(error instanceof AdminFailure)) throw error;
          const mend = `look at it where the authority is kept: postern doctor --client ${status.clientId}`;
          return missing(`the authority refuses the agent: ${error.message}`, mend);
        }
        return good("the authority knows it");
      },
    },
    {
      check: "grant",
      run: () => {
        const { apis } = self;
        if (apis.length > 0) return good(`rights on ${formatList(apis.map(({ audience }) => audience))}`);
        return missing("its roles allow nothing on any api", `postern client update ${status.clientId} --role <role>`);
      },
    },
    { check: "broker", run: () => brokerCheck(self.brokers.mqtts, identity.caPem) },
  ];
}

/** Whether a broker answers. */
export async function brokerCheck(broker: string | null, ca: string | undefined): Promise<Finding> {
  if (broker === null) return { ok: null, says: "the authority has no broker beside it" };
  try {
    const { distrust } = await askBroker(broker, ca);
    if (distrust === undefined) return good(`${broker} answers CONNECT`);
    return missing(
      `the certificate of ${broker} is not trusted (${distrust})`,
      "start the broker with the name that clients use",
    );
  } catch (error) {
    if (!(error instanceof AgentFailure)) throw error;
    return missing(error.message, "start it: postern up, or postern broker; and open its port");
  }
}

async function askSelf({ enrolment, certificatePem, keyPem, caPem }: AgentIdentity): Promise<unknown> {
  const url = new URL(route`/v1/self`, enrolment.authority);
  return readAnswer(await sendHttps({ url, method: "GET", ca: caPem, certificatePem, keyPem }));
}
