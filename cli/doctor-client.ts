/** What a client needs of its own, beside its roles: a credential, and a token that is on record and good. */
import { AdminFailure, route, type AdminClient } from "./admin-client.ts";
import type { Secret } from "./credentials.ts";
import type { Api } from "./doctor-api.ts";
import { good, missing, unseen, type Finding } from "./doctor-check.ts";
import { formatList, formatTime } from "./output.ts";

/** A client as the authority shows it. */
export interface Client {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly roles: readonly string[];
}

/** A device has a certificate or a ticket for one, others a secret or a key; any of them will do. */
export async function credential(
  admin: AdminClient,
  base: string,
  { id, kind }: Client,
  now: number,
  learn: (flags: string) => void,
): Promise<Finding> {
  const [project, name] = id.split(".") as [string, string];
  const ofClient = `${base}${route`/clients/${name}`}`;
  const certificates = await admin.list<{ status: string; not_after: number }>(
    `${base}${route`/certificates?client=${id}`}`,
  );
  const certificate = certificates.find(({ status, not_after }) => status === "good" && not_after > now);
  learn("--key-file <file>");
  if (certificate !== undefined) return good(`a certificate until ${formatTime(certificate.not_after)}`);
  const keys = await admin.list<unknown>(`${ofClient}/keys`);
  if (keys.length > 0) return good(`${keys.length} public ${keys.length === 1 ? "key" : "keys"}`);
  learn("--secret <secret>");
  const secrets = await admin.list<Secret>(`${ofClient}/secrets`);
  const secret = secrets.find(({ status }) => status === "valid");
  if (secret !== undefined) return good(`secret ${secret.id}`);
  const tickets = await admin.list<{
    id: string;
    client: string | null;
    used: number;
    uses: number;
    expires_at: number;
    revoked: boolean;
  }>(`${base}/tickets`);
  const ticket = tickets.find(
    (one) => one.client === id && !one.revoked && one.used < one.uses && one.expires_at > now,
  );
  if (ticket !== undefined) return good(`ticket ${ticket.id}, which waits to be used by postern agent enrol`);
  const had =
    certificates.length > 0
      ? "no certificate that is good any more"
      : secrets.length > 0
        ? "no secret that is valid any more"
        : "no credential";
  const mend =
    kind === "device"
      ? `postern ticket create --project ${project} --client ${name}`
      : `postern secret create --client ${id}`;
  return missing(`${id} has ${had}`, mend);
}

/** The newest token on record for this client on one of the apis. */
export async function token(
  admin: AdminClient,
  base: string,
  client: Client,
  apis: readonly Api[],
  now: number,
  proof: string,
): Promise<Finding> {
  interface Entry {
    readonly at: number;
    readonly event: string;
    readonly subject: string | null;
    readonly facts: { readonly audience?: string } | null;
  }
  const answer = await admin.get<{ items: Entry[] }>(`${base}/audit?limit=5000`).catch((error: unknown) => {
    if (error instanceof AdminFailure && error.status === 403) return undefined;
    throw error;
  });
  if (answer === undefined) return unseen("your role does not permit to read the audit log");
  for (const { at, event, subject, facts } of answer.items) {
    const api =
      event === "token.issued" && subject === client.id && apis.find((one) => one.audience === facts?.audience);
    if (!api) continue;
    const end = at + api.ttl_seconds;
    if (end > now) return good(`one for ${api.audience} until ${formatTime(end)}`);
    return missing(`its newest one expired at ${formatTime(end)}`, getToken(client, api, proof));
  }
  return missing(
    `${client.id} has got no token for ${formatList(apis.map(({ audience }) => audience))}`,
    getToken(client, apis[0]!, proof),
  );
}

function getToken({ id, kind }: Client, { name, audience, bearer }: Api, proof: string): string {
  if (kind === "device") return `postern agent token --api ${name}`;
  // a secret proves no key that the token could be bound to
  const binding = bearer || !proof.startsWith("--secret") ? "" : " --dpop-key <file>";
  return `postern token get --client ${id} --audience ${audience} ${proof}${binding}`;
}
