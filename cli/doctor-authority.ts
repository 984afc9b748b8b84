/** Whether the authority can be reached, is the one that is trusted, and has the time that this machine has. */
import { readDateHeader } from "../agent/clock.ts";
import { AgentFailure } from "../agent/failure.ts";
import { sendHttps } from "../agent/request.ts";
import { good, missing, type Check, type Finding } from "./doctor-check.ts";
import { formatTime } from "./output.ts";
import { shakeHands, type Handshake } from "./probe.ts";

/** The authority, and the CA by which it is trusted. */
export interface Place {
  readonly url: string;
  readonly ca: string | undefined;
}

/** Further apart, and assertions, DPoP proofs and new certificates are refused. */
const skewSeconds = 60;

const distrusted: Readonly<Record<string, [says: string, mend: string]>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: [
    "is for another host name",
    "reach the authority by the name that it was started with, or start it with postern up --host <name>",
  ],
  CERT_HAS_EXPIRED: [
    "has expired by the clock of this machine",
    "set the clock, or start the authority again, which makes a new certificate",
  ],
  CERT_NOT_YET_VALID: ["is not valid yet by the clock of this machine", "set the clock of this machine"],
};

/** The checks of an authority, in their order. */
export function authorityChecks({ url, ca }: Place): Check[] {
  let handshake: Handshake;
  return [
    {
      check: "authority",
      run: async () => {
        try {
          handshake = await shakeHands(url, ca);
        } catch (error) {
          if (!(error instanceof AgentFailure)) throw error;
          return missing(error.message, "postern up, on the machine of the authority, or name another with --url");
        }
        return good(`${new URL(url).origin} answers`);
      },
    },
    { check: "tls", run: () => toTrust(handshake) },
    { check: "clock", run: () => compareClocks({ url, ca }) },
  ];
}

/** What a handshake says of trust. */
export function toTrust({ distrust, endsAt }: Handshake): Finding {
  if (distrust === undefined) return good(`the certificate is trusted, until ${formatTime(endsAt)}`);
  const [says, mend] = distrusted[distrust] ?? [
    "is not from the authority that is trusted",
    "name its CA, ca.pem of its data folder, with --ca or POSTERN_CA",
  ];
  return missing(`the certificate ${says}`, mend);
}

async function compareClocks({ url, ca }: Place): Promise<Finding> {
  const { headers } = await sendHttps({
    url: new URL("/healthz", url),
    method: "GET",
    ...(ca !== undefined && { ca }),
  });
  const there = readDateHeader(headers.date);
  if (there === undefined)
    return missing("the authority does not say what time it is", "see that nothing stands between");
  const ahead = Math.round(Date.now() / 1000 - there);
  const says = `this machine is ${Math.abs(ahead)} s ${ahead < 0 ? "behind" : "ahead"}`;
  return Math.abs(ahead) <= skewSeconds ? good(says) : missing(says, "set the clock: timedatectl set-ntp true");
}
