/**
 * Whether everything is there that a client needs to get a token: who asks, the project, the api, a role on it, the client, its
 * role, its credential, a token. In this order, because each needs those before it.
 */
import { AdminFailure, route, type AdminClient } from "./admin-client.ts";
import type { Secret } from "./credentials.ts";
import { find, good, missing, unseen, type Check, type Finding } from "./doctor-check.ts";
import { formatList, formatTime } from "./output.ts";

/** What is asked about; what is left out is not looked at. */
export interface Subject {
  readonly project: string | undefined;
  readonly api: string | undefined;
  /** By its name in the project. */
  readonly client: string | undefined;
}

/** How the installation is, as the authority says. */
export interface Status {
  readonly time: number;
  readonly brokers: { readonly mqtts: string | null };
  readonly registration: string;
  readonly mail: string;
  readonly storage: { readonly writable: boolean } | null;
}

interface Api {
  readonly name: string;
  readonly kind: string;
  readonly audience: string;
  readonly ttl_seconds: number;
  readonly bearer: boolean;
}

interface Role {
  readonly name: string;
  readonly api: string;
}

interface Client {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly roles: readonly string[];
}

/** Checks of whoever asks, and of the installation. `learn` is given its status. */
export function installationChecks(
  admin: AdminClient,
  who: { readonly key: string | undefined },
  learn: (status: Status) => void,
): Check[] {
  let status: Status;
  const { key } = who;
  const isDeveloper = key !== undefined && /^p[sk]1_/.test(key);
  return [
    {
      check: "key",
      run: async () => {
        if (key === undefined) {
          return missing(
            "no key was given, and nobody is logged in",
            "postern developer register <email>, then postern developer confirm and postern login <email>; or --key or --data",
          );
        }
        try {
          learn((status = await admin.get<Status>(route`/v1/status`)));
        } catch (error) {
          if (!(error instanceof AdminFailure) || error.status !== 401) throw error;
          return missing(
            "the key is not accepted",
            isDeveloper ? "postern login" : "give the key in admin.key of the data folder",
          );
        }
        return good(isDeveloper ? "the authority accepts it" : "the authority accepts the admin key");
      },
    },
    {
      check: "developer",
      run: async () => {
        if (!isDeveloper) return unseen("the admin key is nobody's account");
        const { email, id } = await admin.get<{ email: string; id: string }>(route`/v1/me`);
        return good(`${email} is registered and confirmed, ${id}`);
      },
    },
    {
      check: "storage",
      run: () => {
        if (status.storage === null) return unseen("only the holder of the admin key is told");
        if (status.storage.writable) return good("the authority can write");
        return missing("the disk of the authority takes no row", "free some space on it; nothing was lost");
      },
    },
    {
      check: "registration",
      run: () => {
        const mail =
          status.mail === "smtp" ? "codes go by mail" : "codes go to the log of the authority: no SMTP is set";
        return good(`registration is ${status.registration}; ${mail}`);
      },
    },
  ];
}

/** Checks of what a client needs for a token. */
export function flowChecks(admin: AdminClient, subject: Subject, status: () => Status): Check[] {
  const { project } = subject;
  if (project === undefined) return [{ check: "project", run: () => anyProject(admin) }];
  const base = route`/v1/projects/${project}`;
  let apis: Api[] = [];
  let roles: Role[] = [];
  let client: Client | undefined;
  /** The flags by which the client proves itself to `postern token get`. */
  let proof: string;
  const names = (): string[] => apis.map(({ name }) => name);
  /** Those on which the client has a role. */
  const usable = (): Api[] =>
    apis.filter(({ name }) => roles.some((role) => role.api === name && client?.roles.includes(role.name) === true));
  const rolesOf = (): Role[] => roles.filter((role) => names().includes(role.api));

  return [
    {
      check: "project",
      run: async () =>
        (await find(admin, base)) === undefined
          ? missing(`there is no project ${project}, or it is none of yours`, `postern project create ${project}`)
          : good(`there is ${project}`),
    },
    {
      check: "api",
      run: async () => {
        const all = await admin.list<Api>(`${base}/apis`);
        apis = subject.api === undefined ? all : all.filter(({ name }) => name === subject.api);
        if (apis.length > 0) return good(`there is ${formatList(apis.map(({ audience }) => audience))}`);
        const what = subject.api === undefined ? "an api" : `api ${subject.api}`;
        const mend = `postern api create ${subject.api ?? "<name>"} --project ${project} --kind http --scopes <scope>`;
        return missing(`project ${project} has not ${what}`, mend);
      },
    },
    {
      check: "role",
      run: async () => {
        roles = await admin.list<Role>(`${base}/roles`);
        const found = rolesOf();
        if (found.length > 0) return good(`there is ${formatList(found.map(({ name }) => name))}`);
        const [api] = apis;
        const what = api?.kind === "mqtt" ? "--allow <permission>" : "--scope <scope>";
        const mend = `postern role create <name> --project ${project} --api ${api?.name ?? "<api>"} ${what}`;
        return missing(`no role allows anything on ${formatList(names())}`, mend);
      },
    },
    {
      check: "client",
      run: async () => {
        if (subject.client === undefined) {
          const count = (await admin.list<Client>(`${base}/clients`)).length;
          const mend = `postern client create <name> --project ${project} --kind service --role ${rolesOf()[0]!.name}`;
          return count === 0
            ? missing(`project ${project} has no client`, mend)
            : unseen("none was named; see --client");
        }
        client = await find<Client>(admin, `${base}${route`/clients/${subject.client}`}`);
        if (client === undefined) {
          const mend = `postern client create ${subject.client} --project ${project} --kind service --role ${rolesOf()[0]!.name}`;
          return missing(`there is no client ${project}.${subject.client}`, mend);
        }
        if (!client.enabled) return missing(`${client.id} is disabled`, `postern client enable ${client.id}`);
        return good(`${client.id} is an enabled ${client.kind}`);
      },
    },
    {
      check: "grant",
      run: () => {
        if (client === undefined) return unseen("none was named");
        const held = rolesOf().filter(({ name }) => client!.roles.includes(name));
        if (held.length > 0) return good(`${client.id} has ${formatList(held.map(({ name }) => name))}`);
        const flags = [...client.roles, rolesOf()[0]!.name].map((name) => `--role ${name}`);
        const mend = `postern client update ${client.id} ${flags.join(" ")}`;
        return missing(`${client.id} has no role on ${formatList(names())}`, mend);
      },
    },
    {
      check: "credential",
      run: () =>
        client === undefined
          ? unseen("none was named")
          : credential(admin, base, client, status().time, (flags) => (proof = flags)),
    },
    {
      check: "token",
      run: () =>
        client === undefined ? unseen("none was named") : token(admin, base, client, usable(), status().time, proof),
    },
  ];
}

async function anyProject(admin: AdminClient): Promise<Finding> {
  const found = await admin.list<{ slug: string }>(route`/v1/projects`);
  if (found.length === 0) return missing("there is no project yet", "postern project create <slug>");
  return unseen(`${found.length === 1 ? "there is one" : `there are ${found.length}`}; none was named, see --project`);
}

/** A device has a certificate or a ticket for one, others a secret or a key; any of them will do. */
async function credential(
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
async function token(
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
