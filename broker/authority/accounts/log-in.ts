/**
 * How a developer proves a password: to log in, and again for what must not be done by whoever found a login.
 *
 * An address without an account costs what one with an account costs, and hears the same.
 */
import { refuse } from "../../../shared/refusal.ts";
import { audit } from "../../registry/audit.ts";
import { deleteDeveloper } from "../../registry/delete-developer.ts";
import { findAccount, setPasswordHash, type Developer } from "../../registry/developers.ts";
import { createLogin, endLogins } from "../../registry/logins.ts";
import { assertLogin } from "../v1/access.ts";
import { assertChoice, loginOf, tellPasswordChanged } from "./register.ts";
import type { CallContext } from "../v1/registry-route.ts";

/** A login as it was made. */
export interface MadeLogin {
  readonly token: string;
  readonly expiresAt: number;
  readonly developer: Developer;
}

/** Throws `account.unknown`, `account.password`, `account.unconfirmed`, `rate.limited` and `limit.reached`. */
export async function logIn(
  context: CallContext,
  { email, password }: { readonly email: string; readonly password: string },
): Promise<MadeLogin> {
  const { registry } = context;
  return provePassword(context, { email, password, account: loginOf(email) }, ({ developer }) => {
    if (developer.confirmedAt === null) return refuse("account.unconfirmed", developer.id);
    return { ...createLogin(registry, developer.id), developer };
  });
}

/** Ends the other logins. Throws `registry.invalid`, `account.password`, `rate.limited` and `limit.reached`. */
export async function changePassword(
  context: CallContext,
  { password, next }: { readonly password: string; readonly next: string },
): Promise<void> {
  const { registry, actor, desk } = context;
  const { developer, login } = assertLogin(context.principal);
  const { email, id } = developer;
  assertChoice(email, next, "new_password");
  await provePassword(context, { email, password, ...asOwner(id) }, async (account) => {
    const passwordHash = await desk.hashing.hash(next, { isKnown: true });
    registry.changeDurably(() => {
      // whoever has reset the password meanwhile has the last word
      if (findAccount(registry, email)?.passwordHash !== account.passwordHash) refuse("account.password", id);
      setPasswordHash(registry, id, passwordHash);
      endLogins(registry, id, login.tokenHash);
      audit(registry, { event: "developer.password-changed", actor, subject: id });
    });
  });
  tellPasswordChanged(context, email);
}

/** Throws `account.password`, `account.last-owner`, `rate.limited` and `limit.reached`. */
export async function deleteAccount(context: CallContext, password: string): Promise<void> {
  const { registry, actor, principal } = context;
  const { email, id } = assertLogin(principal).developer;
  await provePassword(context, { email, password, ...asOwner(id) }, () => deleteDeveloper(registry, id, actor));
}

interface PasswordProof {
  readonly email: string;
  readonly password: string;
  /** What counts the attempts. */
  readonly account: string;
  readonly isLoggedIn?: boolean | undefined;
}

function asOwner(id: string): Pick<PasswordProof, "account" | "isLoggedIn"> {
  return { account: `owner of ${id}`, isLoggedIn: true };
}

async function provePassword<T>(
  { desk, network, registry }: CallContext,
  { email, password, account, isLoggedIn }: PasswordProof,
  then: (account: NonNullable<ReturnType<typeof findAccount>>) => T | Promise<T>,
): Promise<T> {
  const attempt = { account, network, nowSeconds: registry.nowSeconds(), isLoggedIn };
  return desk.attempt(attempt, async (who) => {
    const before = findAccount(registry, email);
    const isRight = await desk.hashing.verify(password, before?.passwordHash, who);
    // the account may have gone meanwhile, or have another password
    const now = findAccount(registry, email);
    if (before === undefined || now === undefined) return refuse("account.unknown", "no account has the address");
    const isSame = now.developer.id === before.developer.id && now.passwordHash === before.passwordHash;
    if (!isRight || !isSame) return refuse("account.password", before.developer.id);
    return then(now);
  });
}
