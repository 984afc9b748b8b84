/**
 * How somebody becomes a developer, and how a forgotten password is replaced: by what was sent to the address and nothing else.
 *
 * What is answered, and the work before the answer, is the same whether the address has an account or not: the same checks,
 * one hash, a look whether anything can be written, and what differs is done once the answer is on its way. A code is good only with the password that was registered
 * with it, so that who registers an address before its owner does gets nothing by the owner's code.
 */
import { refuse } from "../../../shared/refusal.ts";
import { createCode, spendCode, tryCode, type CodePurpose } from "../../registry/account-codes.ts";
import {
  actorOf,
  addConfirmed,
  addUnconfirmed,
  confirmDeveloper,
  findAccount,
  setPasswordHash,
  type Developer,
} from "../../registry/developers.ts";
import { audit } from "../../registry/audit.ts";
import { findInvitation, spendInvitation } from "../../registry/invitations.ts";
import { endLogins } from "../../registry/logins.ts";
import { addMember } from "../../registry/members.ts";
import { faultOf, type Waiting } from "../../registry/passwords.ts";
import { assertWritable } from "../../registry/trust-changes.ts";
import { confirmationMail, knownAddressMail, passwordChangedMail, resetMail } from "./account-mails.ts";
import type { Mail } from "../context.ts";
import { InvalidFields } from "../v1/registry-fields.ts";
import type { CallContext } from "../v1/registry-route.ts";

/** What somebody registers with. The address is in the form of `readEmail`. */
export interface Registration {
  readonly email: string;
  readonly password: string;
  readonly name?: string | undefined;
  readonly invitation?: string | undefined;
}

/** An address, a code that was sent there, and a password. */
export interface CodeProof {
  readonly email: string;
  readonly code: string;
  readonly password: string;
}

/**
 * With an invitation the account, which is good at once; without one nothing, and a mail is sent. Throws `registry.invalid`,
 * `registration.*`, `rate.limited`, `limit.reached`, `storage.failed`, and for whoever holds an invitation `registry.conflict`.
 */
export async function register(context: CallContext, asked: Registration): Promise<Developer | undefined> {
  const { accounts, desk, registry } = context;
  const { email, password, name = "", invitation } = asked;
  assertChoice(email, password, "password");
  if (accounts.registration === "closed") refuse("registration.closed");
  desk.takeWish(context.network, registry.nowSeconds());
  if (invitation === undefined) {
    if (accounts.registration === "invite") refuse("registration.invitation", "none was given");
  } else findInvitation(registry, invitation, email);
  const passwordHash = await desk.hashing.hash(password);
  const account = { email, name, passwordHash };
  if (invitation !== undefined) return registerInvited(context, account, invitation);
  assertWritable(registry);
  noteAsked(context, "confirm", email);
  context.afterwards(() => registerUnknown(context, account));
  return undefined;
}

/** From now on the account is good. Throws `account.code`, also for a password other than that of the registration. */
export async function confirm(context: CallContext, proof: CodeProof): Promise<void> {
  const { desk, registry } = context;
  await tryProof(context, proof, "confirm", async (account, isRight, who) => {
    const knows = await desk.hashing.verify(proof.password, account?.passwordHash, who);
    if (!isRight || !knows || account === undefined) return refuse("account.code", "the code or the password");
    const { id } = account.developer;
    return registry.change(() => {
      spendCode(registry, id, "confirm", proof.code);
      confirmDeveloper(registry, id);
    });
  });
}

/** Sends a code to whoever has an account; the answer is the same to all. Throws `rate.limited` and `storage.failed`. */
export function askReset(context: CallContext, email: string): void {
  const { desk, network, registry } = context;
  desk.takeWish(network, registry.nowSeconds());
  assertWritable(registry);
  noteAsked(context, "reset", email);
  context.afterwards(() => {
    const developer = findAccount(registry, email)?.developer;
    if (developer?.confirmedAt == null || !mayMail(context, "reset", email)) return;
    const code = registry.append(() => {
      audit(registry, { event: "developer.reset-asked", actor: actorOf(developer), subject: developer.id });
      return createCode(registry, developer.id, "reset");
    });
    send(context, resetMail(context, email, code));
  });
}

/** Replaces a forgotten password and ends all logins. Throws `registry.invalid` and `account.code`. */
export async function reset(context: CallContext, proof: CodeProof): Promise<void> {
  const { desk, registry } = context;
  assertChoice(proof.email, proof.password, "password");
  await tryProof(context, proof, "reset", async (account, isRight, who) => {
    const passwordHash = await desk.hashing.hash(proof.password, who);
    if (!isRight || account === undefined) return refuse("account.code");
    const { developer } = account;
    return registry.changeDurably(() => {
      spendCode(registry, developer.id, "reset", proof.code);
      setPasswordHash(registry, developer.id, passwordHash);
      endLogins(registry, developer.id);
      audit(registry, { event: "developer.password-reset", actor: actorOf(developer), subject: developer.id });
    });
  });
  tellPasswordChanged(context, proof.email);
}

/** Writes to the owner of an account that the password is another now. */
export function tellPasswordChanged(context: CallContext, email: string): void {
  if (mayMail(context, "changed", email)) send(context, passwordChangedMail(context, email));
}

/** Throws `registry.invalid` for a password that may not be chosen. */
export function assertChoice(email: string, password: string, field: string): void {
  const says = faultOf(password, email);
  if (says !== undefined) throw new InvalidFields([{ path: [field], says }]);
}

function registerInvited(
  { registry }: CallContext,
  account: { readonly email: string; readonly name: string; readonly passwordHash: string },
  secret: string,
): Developer {
  return registry.change(() => {
    // it may have been used or revoked while the hash was made
    const invitation = findInvitation(registry, secret, account.email);
    const developer = addConfirmed(registry, account);
    const actor = actorOf(developer);
    spendInvitation(registry, invitation, actor);
    const { project, role } = invitation;
    if (project !== null && role !== null) addMember(registry, project, developer.id, role, actor);
    return developer;
  });
}

function registerUnknown(
  context: CallContext,
  account: { readonly email: string; readonly name: string; readonly passwordHash: string },
): void {
  const { registry } = context;
  const { email } = account;
  if (!mayMail(context, "confirm", email)) return;
  const mail = registry.append(() => {
    const developer = addUnconfirmed(registry, account);
    if (developer !== undefined) return confirmationMail(context, email, createCode(registry, developer.id, "confirm"));
    const known = findAccount(registry, email)?.developer;
    if (known === undefined) return undefined;
    audit(registry, { event: "developer.registered-again", actor: "stranger", subject: known.id });
    return knownAddressMail(context, email);
  });
  if (mail !== undefined) send(context, mail);
}

type Account = NonNullable<ReturnType<typeof findAccount>>;

/**
 * Uses up a try of the code before anything that takes time, and counts the attempt. Strangers who guess elsewhere keep nobody
 * from it where the code was asked for, nor from the login that it is for.
 */
async function tryProof(
  { desk, network, registry }: CallContext,
  { email, code }: CodeProof,
  purpose: CodePurpose,
  prove: (account: Account | undefined, isRight: boolean, who: Waiting) => Promise<void>,
): Promise<void> {
  const at = { network, nowSeconds: registry.nowSeconds() };
  const shared = `${purpose} ${email}`;
  const ownTry = desk.takeOwnTry({ ...at, account: shared });
  const isOwn = ownTry !== undefined;
  await desk.attempt({ ...at, account: isOwn ? `${shared} asked for from ${network}` : shared }, (who) => {
    const account = findAccount(registry, email);
    const developer = ownTry === false ? undefined : account?.developer.id;
    return prove(account, tryCode(registry, { developer, isOwn }, purpose, code), who);
  });
  desk.vouch({ ...at, account: loginOf(email) });
}

/** What counts the attempts to log in to an account. */
export function loginOf(email: string): string {
  return `login ${email}`;
}

function noteAsked({ desk, network, registry }: CallContext, purpose: CodePurpose, email: string): void {
  desk.noteAsked({ account: `${purpose} ${email}`, network, nowSeconds: registry.nowSeconds() });
}

function mayMail({ desk, registry }: CallContext, purpose: string, email: string): boolean {
  return desk.takeMail(purpose, email, registry.nowSeconds());
}

function send({ accounts }: CallContext, mail: Mail): void {
  accounts.sendMail(mail);
}
