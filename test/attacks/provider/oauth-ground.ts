/**
 * Two projects beside each other at one authority: `plant`, with a service, a device and an api with a credential of its own,
 * and `evil`, which somebody else owns and has made to look like it.
 */
import type { AuthorityLimits } from "../../../broker/authority/context.ts";
import { createApi } from "../../../broker/registry/apis.ts";
import { createClient, setClientRoles } from "../../../broker/registry/clients.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import {
  basic,
  furnish,
  makeKey,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "../../authority/fixture.ts";
import { FORM, formCall, readJson, toForm } from "../../authority/http-apis.ts";

/** What introspection says of what is not active. */
export const inactive = '{"active":false}';

export interface OauthGround extends Fixture {
  /** Of `plant.board`, `plant/web`, `evil.mole` and `evil/look`, whose audience is `plant/web`. */
  readonly secrets: Readonly<Record<"board" | "web" | "mole" | "look", string>>;
  /** The service `plant.cart`, which has a key. */
  readonly cart: Pick<Device, "id" | "privateKey" | "key">;
  getToken(user: string, password: string, audience: string): Promise<Answer>;
  /** A token of `plant.board` for `plant.web`. */
  boardToken(): Promise<string>;
  introspect(headers: Record<string, string>, token?: string): Promise<Answer>;
  /** Forgets what is remembered of the registry, so that the next question is the first. */
  forget(): void;
  /** Status, error and the reason in the log. */
  said(answer: Answer): readonly unknown[];
  /** All rows of the audit log. */
  audited(): readonly Readonly<Record<string, unknown>>[];
}

export async function openOauthGround(limits: Partial<AuthorityLimits> = {}): Promise<OauthGround> {
  const at = await openFixture({ clientFailuresPerMinute: 1_000, addressFailuresPerMinute: 100_000, ...limits });
  const { registry } = at;
  const { secret: board } = furnish(registry);
  const http = { kind: "http", bearer: true } as const;
  createApi(registry, { ...http, project: "plant", name: "web", scopes: ["read", "write"] });
  createRole(registry, { project: "plant", api: "web", name: "editor", scopes: ["read", "write"] });
  setClientRoles(registry, "plant.board", ["editor"]);
  const cart = { id: "plant.cart", ...makeKey() };
  const keys = [toJwk(cart.key)];
  createClient(registry, { project: "plant", name: "cart", kind: "service", roles: ["editor"], keys });
  createProject(registry, "evil");
  createApi(registry, { ...http, project: "evil", name: "look", scopes: ["x"], audience: "plant/web" });
  createRole(registry, { project: "evil", api: "look", name: "looker", scopes: ["x"] });
  const mole = createClient(registry, { project: "evil", name: "mole", kind: "service", roles: ["looker"] }).secret!;
  const web = createSecret(registry, { project: "plant", api: "web" }).secret;
  const look = createSecret(registry, { project: "evil", api: "look" }).secret;
  const getToken = (user: string, password: string, audience: string): Promise<Answer> =>
    at.call("/token", formCall({ audience }, basic(user, password)));
  return {
    ...at,
    secrets: { board, web, mole, look },
    cart,
    getToken,
    boardToken: async () => String(readJson(await getToken("plant.board", board, "plant.web"))["access_token"]),
    introspect: (headers, token = "x") => at.call("/introspect", { type: FORM, body: toForm({ token }), headers }),
    forget: () => registry.change(() => {}),
    said: (answer) => [answer.status, readJson(answer)["error"], at.reason()],
    audited: () => registry.db.prepare("SELECT * FROM audit").all() as Record<string, unknown>[],
  };
}
