/**
 * What the demo needs in the registry, made through `/v1` as an administrator would: a project, an api, two roles and three
 * clients. What is there already stays.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AdminFailure, type AdminClient } from "../cli/admin-client.ts";

/** The demo's project. */
export const project = "home";
/** The demo's api. */
export const api = "telemetry";
/** The agent on this machine. */
export const device = "gateway";
/** The client that prints what arrives. */
export const viewer = "viewer";
/** A client without a key of its own, for mosquitto_sub with a bearer token. */
const laptop = "laptop";

/** Creates what is missing and says, a line each, what was created. */
export async function furnish(admin: AdminClient, demoDir: string): Promise<string[]> {
  const said: string[] = [];
  const create = async (path: string, body: object, line: string): Promise<Record<string, unknown> | undefined> => {
    try {
      const made = await admin.post<Record<string, unknown>>(path, body);
      said.push(`created    ${line}`);
      return made;
    } catch (error) {
      if (error instanceof AdminFailure && error.status === 409) return undefined;
      throw error;
    }
  };
  const inProject = `/v1/projects/${project}`;
  await create("/v1/projects", { slug: project }, `project ${project}`);
  await create(
    `${inProject}/apis`,
    { name: api, kind: "mqtt", topics: [`${project}/#`], ttl_seconds: 3600, bearer: true },
    `api ${api}: topics ${project}/#, tokens for an hour, bearer tokens let in`,
  );
  await create(
    `${inProject}/roles`,
    { name: "reporter", api, permissions: ["pub:${project}/${name}/machine", "sub:${project}/${name}/command"] },
    "role reporter: publishes its own machine readings, hears its own commands",
  );
  await create(
    `${inProject}/roles`,
    { name: "reader", api, permissions: ["sub:${project}/#"] },
    `role reader: subscribes to everything under ${project}/`,
  );
  await create(
    `${inProject}/clients`,
    { name: device, kind: "device", roles: ["reporter"] },
    `device ${project}.${device} with role reporter`,
  );
  await create(
    `${inProject}/clients`,
    { name: viewer, kind: "device", roles: ["reader"] },
    `device ${project}.${viewer} with role reader`,
  );
  const made = await create(
    `${inProject}/clients`,
    { name: laptop, kind: "service", roles: ["reader"] },
    `service ${project}.${laptop} with role reader and a secret`,
  );
  const secret = made?.["client_secret"];
  if (typeof secret === "string") writeFileSync(laptopSecretFile(demoDir), `${secret}\n`, { mode: 0o600 });
  if (!existsSync(laptopSecretFile(demoDir)))
    said.push(`note       the secret of ${project}.${laptop} is not here any more`);
  return said;
}

/** Where the secret of the bearer client is kept for the commands that the demo prints. */
export function laptopSecretFile(demoDir: string): string {
  return join(demoDir, "laptop.secret");
}
