/** The rows of `/v1` that are about a developer: oneself, one's keys, and for the administrator all of them. */
import type { z } from "zod";
import { createApiKey, listApiKeys, revokeApiKey } from "../../registry/api-keys.ts";
import { deleteDeveloper } from "../../registry/delete-developer.ts";
import { getDeveloper, listDevelopers } from "../../registry/developers.ts";
import { listProjectsOf } from "../../registry/members.ts";
import { assertDeveloper, assertLogin } from "../v1/access.ts";
import { toApiKeyAnswer, toDeveloper, type answeredOfAccounts, type sentOfAccounts } from "./account-bodies.ts";
import { changePassword, deleteAccount } from "./log-in.ts";
import { all, create, cut, list, more, one, remove, type CallContext, type Route } from "../v1/registry-route.ts";

const keys = "/v1/me/api-keys";
const developers = "/v1/developers";

/** A developer by a login or a key, and the administrator. */
export const developerRoutes: readonly Route[] = [
  one("developer", "/v1/me", "Me", toMe),
  {
    method: "PUT",
    path: "/v1/me/password",
    access: "login",
    says: "change the password; other logins end",
    sends: "PasswordChange",
    run: (context, { body }) => {
      const { password, new_password: next } = body as z.output<(typeof sentOfAccounts)["PasswordChange"]>;
      return changePassword(context, { password, next });
    },
  },
  {
    method: "POST",
    path: "/v1/me/delete",
    access: "login",
    says: "delete the account for ever",
    sends: "PasswordProof",
    run: (context, { body }) =>
      deleteAccount(context, (body as z.output<(typeof sentOfAccounts)["PasswordProof"]>).password),
  },

  create("login", keys, "NewApiKey", "ApiKey", "id", ({ registry, principal, actor }, _, b) => {
    const asked = { name: b.name, scopes: b.scopes, project: b.project, ttlSeconds: b.ttl_seconds };
    const { record, key } = createApiKey(registry, assertLogin(principal).developer, asked, actor);
    return { ...toApiKeyAnswer(record), key };
  }),
  all("login", keys, "ApiKey", ({ registry, principal }) => ({
    items: listApiKeys(registry, assertLogin(principal).developer.id).map(toApiKeyAnswer),
  })),
  remove("login", `${keys}/:id`, "revoke a key", ({ registry, principal, actor }, p) =>
    revokeApiKey(registry, assertLogin(principal).developer.id, p.id, actor),
  ),

  list("admin", developers, "Developer", ({ registry }, _, q) =>
    cut(listDevelopers(registry, more(q)), q.limit, ({ id }) => id, toDeveloper),
  ),
  one("admin", `${developers}/:id`, "Developer", ({ registry }, p) => toDeveloper(getDeveloper(registry, p.id))),
  remove("admin", `${developers}/:id`, "delete a developer for ever", ({ registry, actor }, p) =>
    deleteDeveloper(registry, p.id, actor),
  ),
];

/** With the projects that a key is for, where it is for one. */
function toMe({ registry, principal }: CallContext): z.output<(typeof answeredOfAccounts)["Me"]> {
  const { developer, key } = assertDeveloper(principal);
  const { confirmed: _, ...same } = toDeveloper(developer);
  const mine = listProjectsOf(registry, developer.id);
  return { ...same, projects: mine.filter(({ project }) => (key?.project ?? project) === project) };
}
