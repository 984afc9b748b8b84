/**
 * Who asks under `/v1`, and whether they may: each row of the table of routes says what it wants, and this is asked before a
 * body is read, and again once it was.
 *
 * The holder of the admin key may do everything but act as a developer. A developer may do in a project what the role in it
 * permits, and a key of theirs as far as its scopes name it; of a project in which they have no role, and of one that is not
 * there, they hear the same.
 */
import type { FastifyRequest } from "fastify";
import { refuse } from "../../../shared/refusal.ts";
import { API_KEY_PREFIX, useApiKey, type ApiKey } from "../../registry/api-keys.ts";
import { ADMIN } from "../../registry/audit.ts";
import { actorOf, type Developer } from "../../registry/developers.ts";
import { LOGIN_PREFIX, useLogin, type Login } from "../../registry/logins.ts";
import { assertRoleIn } from "../../registry/members.ts";
import { permissionsOf, type Permission } from "../../registry/member-roles.ts";
import type { Registry } from "../../registry/registry.ts";
import { createAdminCheck, readBearer } from "../admin-key.ts";

/**
 * What a row wants: nothing, a developer, a developer who has logged in (and not a key of theirs), a permission in the project
 * that the path names, or the admin key.
 */
export type Access = "anyone" | "developer" | "login" | "admin" | Permission;

/** Who asks. `actor` is what the audit log calls them. */
export type Principal =
  | { readonly kind: "stranger"; readonly actor: string }
  | { readonly kind: "admin"; readonly actor: string }
  | DeveloperPrincipal;

/** A developer who asks, by a login or by a key. */
export interface DeveloperPrincipal {
  readonly kind: "developer";
  readonly actor: string;
  readonly developer: Developer;
  readonly login?: Login;
  readonly key?: ApiKey;
}

const principals = new WeakMap<FastifyRequest, Principal>();
const stranger: Principal = { kind: "stranger", actor: "stranger" };
const admin: Principal = { kind: "admin", actor: ADMIN };

/** Finds out who asks and refuses those who may not. */
export type Admission = (row: { readonly access: Access }, request: FastifyRequest) => Principal;

/** The check in front of every row. Throws `admin.key`, `account.login`, `api-key.*`, `access.permission`, `registry.not-found`. */
export function createAdmission({
  registry,
  adminKey,
}: {
  readonly registry: Registry;
  readonly adminKey: string;
}): Admission {
  const assertAdmin = createAdminCheck(adminKey);

  function authenticate(request: FastifyRequest): Principal {
    const text = readBearer(request) ?? "";
    if (text.startsWith(LOGIN_PREFIX)) {
      const login = useLogin(registry, text);
      const { developer } = login;
      return { kind: "developer", actor: actorOf(developer), developer, login };
    }
    if (text.startsWith(API_KEY_PREFIX)) {
      const { key, developer } = useApiKey(registry, text);
      return { kind: "developer", actor: actorOf(developer, key), developer, key };
    }
    assertAdmin(request);
    return admin;
  }

  return ({ access }, request) => {
    const principal = access === "anyone" ? stranger : authenticate(request);
    principals.set(request, principal);
    assertAccess(registry, principal, access, (request.params as { project?: string }).project);
    return principal;
  };
}

/** Who asks; nobody while that is not known. */
export function principalOf(request: FastifyRequest): Principal | undefined {
  return principals.get(request);
}

/**
 * Whether somebody may do something in a project. Throws `registry.not-found` where it is none of theirs, and
 * `access.permission`.
 */
export function assertPermission(r: Registry, principal: Principal, project: string, permission: Permission): void {
  if (principal.kind === "admin") return;
  if (principal.kind === "stranger") return refuse("admin.key", "no key");
  const { developer, key } = principal;
  const isElsewhere = key !== undefined && key.project !== null && key.project !== project;
  if (isElsewhere) refuse("registry.not-found", `no project ${project}`);
  const role = assertRoleIn(r, project, developer.id);
  if (!permissionsOf[role].includes(permission)) {
    refuse("access.permission", `the role ${role} does not permit ${permission}`);
  }
  assertScope(principal, permission);
}

/** Of a key that it has the scope; a developer who has logged in needs none. Throws `access.permission`. */
export function assertScope({ key }: DeveloperPrincipal, permission: Permission): void {
  if (key === undefined || key.scopes.includes(permission)) return;
  refuse("access.permission", `the key has no scope ${permission}`);
}

/** Of a key that it is for all projects. Throws `access.permission`. */
export function assertUnbound({ key }: DeveloperPrincipal): void {
  if (key !== undefined && key.project !== null) refuse("access.permission", `the key is for project ${key.project}`);
}

/** The developer who asks. Throws `access.permission` for everybody else. */
export function assertDeveloper(principal: Principal): DeveloperPrincipal {
  return principal.kind === "developer" ? principal : refuse("access.permission", "for developers");
}

/** Of a developer the login by which they ask. Throws `access.permission` for a key and for everybody else. */
export function assertLogin(principal: Principal): DeveloperPrincipal & { readonly login: Login } {
  const { login, ...rest } = assertDeveloper(principal);
  return login === undefined ? refuse("access.permission", "for developers who have logged in") : { ...rest, login };
}

function assertAccess(r: Registry, principal: Principal, access: Access, project: string | undefined): void {
  if (access === "anyone" || access === "developer") return;
  if (access === "login") assertLogin(principal);
  else if (access !== "admin") assertPermission(r, principal, named(project), access);
  else if (principal.kind !== "admin") refuse("access.permission", "for the holder of the admin key");
}

function named(project: string | undefined): string {
  if (project === undefined) throw new TypeError("a row that wants a permission names a project");
  return project;
}
