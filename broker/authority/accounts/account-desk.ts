/**
 * What bounds the work that strangers cause for accounts: attempts to prove a password or a code, accounts and codes that are
 * asked for, mails to one address, and hashes of passwords at a time.
 *
 * An address of mail is counted whether it has an account or not, so that a refusal says nothing of that.
 */
import { Refusal } from "../../../shared/refusal.ts";
import { codeLife } from "../../registry/account-codes.ts";
import { openHashing, type Hashing, type Waiting } from "../../registry/passwords.ts";
import type { AuthorityLimits } from "../context.ts";
import { TooMany } from "../too-many.ts";
import { Windows } from "../windows.ts";

/** Who tries, and what. Times in seconds. */
export interface Attempt {
  /** What is tried, and of which account: one count for each. */
  readonly account: string;
  /** From where. */
  readonly network: string;
  readonly nowSeconds: number;
  /** Whoever tries has logged in; default false. */
  readonly isLoggedIn?: boolean | undefined;
}

/** The counts and the queue of one authority. */
export interface AccountDesk {
  readonly hashing: Hashing;
  /**
   * Runs an attempt to prove something and counts it when it fails by a refusal. Throws what it throws, and {@link TooMany}
   * without running it. Attempts that are under way are counted as if they had failed. Who has proven it from there before has
   * a count of their own of the same length, so that an account which is known there is tried no oftener than one that is not;
   * is not kept from it by those who fail elsewhere, or there as others; and does not wait for hashes with them.
   */
  attempt<T>(attempt: Attempt, prove: (who: Waiting) => Promise<T>): Promise<T>;
  /** Says that something was proven from somewhere by other means. */
  vouch(attempt: Attempt): void;
  /** Notes where a code is asked for: who tries it there has tries of their own. */
  noteAsked(attempt: Attempt): void;
  /** Takes one of those: whether there was one left; nothing where no code was asked for. */
  takeOwnTry(attempt: Attempt): boolean | undefined;
  /** Counts one wish for an account or a code. Throws {@link TooMany}. */
  takeWish(network: string, nowSeconds: number): void;
  /** Counts one mail; whether it may be sent. `purpose` has a count of its own. */
  takeMail(purpose: string, email: string, nowSeconds: number): boolean;
  /** Counts one invitation to a project; whether that may send one more to this address. */
  takeInvitation(project: string, email: string, nowSeconds: number): boolean;
  /**
   * Counts one mail with an invitation; whether it may be sent. Whoever invites is not told, because that would say what other
   * projects do.
   */
  takeInvitationMail(email: string, nowSeconds: number): boolean;
}

const failureSeconds = 15 * 60;
const wishSeconds = 3600;
/** How long it is known that something was proven from somewhere. */
const knownSeconds = 30 * 86_400;
/** Attempts from one network at a time: each makes hashes, and few wait for those. */
const atOnceFromNetwork = 8;
/** How many times what one project may send to an address all of them may. */
const invitersOfOne = 3;
/** Names that are counted at a time. */
const maxCounted = 50_000;

/** Counts in the memory of this process. */
export function openAccountDesk(limits: AuthorityLimits): AccountDesk {
  const hashing = openHashing({ atOnce: 2, waiting: limits.hashesWaiting });
  const failures = new Windows(failureSeconds * 1000, maxCounted);
  const known = new Windows(knownSeconds * 1000, maxCounted);
  const wishes = new Windows(wishSeconds * 1000, maxCounted);
  const mails = new Windows(wishSeconds * 1000, maxCounted);
  /** One for the asking, and one for each try. */
  const asked = new Windows(codeLife.seconds * 1000, maxCounted);
  const underWay = new Map<string, number>();

  function assertBelow(name: string, limit: number, nowMs: number, what: string): void {
    const failed = failures.read(name, nowMs);
    if ((failed?.count ?? 0) + (underWay.get(name) ?? 0) < limit) return;
    throw new TooMany(Math.ceil(((failed?.endsAt ?? nowMs + 1000) - nowMs) / 1000), what);
  }

  function move(name: string, by: 1 | -1): void {
    const count = (underWay.get(name) ?? 0) + by;
    if (count === 0) underWay.delete(name);
    else underWay.set(name, count);
  }

  function takeMail(name: string, limit: number, nowSeconds: number): boolean {
    const nowMs = nowSeconds * 1000;
    if ((mails.read(name, nowMs)?.count ?? 0) >= limit) return false;
    mails.add(name, nowMs);
    return true;
  }

  return {
    hashing,
    async attempt({ account, network, nowSeconds, isLoggedIn = false }, prove) {
      const nowMs = nowSeconds * 1000;
      const pair = `${account} ${network}`;
      const isKnown = known.read(pair, nowMs) !== undefined;
      // an address of mail is nothing for a log
      const own = [`known ${pair}`, limits.accountFailures, "failures of one account"] as const;
      const all = [
        [`account ${account}`, limits.accountFailures, "failures of one account"],
        [`network ${network}`, limits.accountFailuresPerAddress, `failures from ${network}`],
      ] as const;
      for (const [name, limit, what] of isKnown ? [own] : all) assertBelow(name, limit, nowMs, what);
      const lane = `${isKnown || isLoggedIn ? "known" : "strangers"} at ${network}`;
      if ((underWay.get(lane) ?? 0) >= atOnceFromNetwork) throw new TooMany(1, `attempts at a time from ${network}`);
      const counted = [...all, ...(isKnown ? [own] : [])].map(([name]) => name);
      for (const name of [...counted, lane]) move(name, 1);
      try {
        const proven = await prove({ isKnown: isKnown || isLoggedIn });
        if (!isKnown) known.add(pair, nowMs);
        return proven;
      } catch (error) {
        if (isFailure(error)) for (const name of counted) failures.add(name, nowMs);
        throw error;
      } finally {
        for (const name of [...counted, lane]) move(name, -1);
      }
    },
    vouch({ account, network, nowSeconds }) {
      known.add(`${account} ${network}`, nowSeconds * 1000);
    },
    noteAsked({ account, network, nowSeconds }) {
      asked.forget(`${account} ${network}`);
      asked.add(`${account} ${network}`, nowSeconds * 1000);
    },
    takeOwnTry({ account, network, nowSeconds }) {
      const name = `${account} ${network}`;
      if (asked.read(name, nowSeconds * 1000) === undefined) return undefined;
      return asked.add(name, nowSeconds * 1000).count <= 1 + codeLife.tries;
    },
    takeWish(network, nowSeconds) {
      const nowMs = nowSeconds * 1000;
      const open = wishes.read(network, nowMs);
      if (open !== undefined && open.count >= limits.accountWishesPerHour) {
        throw new TooMany(Math.ceil((open.endsAt - nowMs) / 1000), `accounts and codes asked for from ${network}`);
      }
      wishes.add(network, nowMs);
    },
    takeMail: (purpose, email, nowSeconds) => takeMail(`${purpose} ${email}`, limits.mailsPerHour, nowSeconds),
    takeInvitation: (project, email, nowSeconds) =>
      takeMail(`invitation to ${project} ${email}`, limits.mailsPerHour, nowSeconds),
    takeInvitationMail: (email, nowSeconds) =>
      takeMail(`invitation ${email}`, invitersOfOne * limits.mailsPerHour, nowSeconds),
  };
}

/** A hash that could not be made proves nothing either way. */
function isFailure(error: unknown): boolean {
  return error instanceof Refusal && /^account\.(unknown|password|unconfirmed|code)$/.test(error.reason);
}
