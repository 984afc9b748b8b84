/**
 * Whether everything is there that a client needs to get a token, and the api to judge it: who asks, the project, the api, what
 * that has of its own, a role on it, the client, its role, its credential, a token. In this order, because each needs those
 * before it.
 */
import { AdminFailure, route, type AdminClient } from "./admin-client.ts";
import { topicsCheck, verifierCheck, type Api } from "./doctor-api.ts";
import { find, good, missing, unseen, type Check, type Finding } from "./doctor-check.ts";
import { credential, token, type Client } from "./doctor-client.ts";
import { formatList } from "./output.ts";

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
  /** Null for whoever has not the admin key. */
  readonly storage: { readonly writable: boolean } | null;
}

interface Role {
  readonly name: string;
  readonly api: string;
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
  const topics: Check = {
    check: "topics",
    run: () => topicsCheck(admin, { seesAll: status().storage !== null, project }),
  };
  if (project === undefined) return [{ check: "project", run: () => anyProject(admin) }, topics];
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
    { check: "verifier", run: () => verifierCheck(admin, project, apis) },
    topics,
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
