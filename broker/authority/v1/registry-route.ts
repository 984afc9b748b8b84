/**
 * What a row in the table of routes is, and the few shapes that rows have.
 */
import type { Logger } from "pino";
import { z } from "zod";
import type { Registry } from "../../registry/registry.ts";
import type { Access, Principal } from "./access.ts";
import type { AccountDesk } from "../accounts/account-desk.ts";
import type { AccountSettings, AuthorityLimits, BrokerAddresses } from "../context.ts";
import type { answered, Answer, sent } from "./registry-bodies.ts";
import { limit } from "./registry-fields.ts";

/** What the routes need of the authority. */
export interface RegistryContext {
  readonly registry: Registry;
  readonly issuer: string;
  readonly adminKey: string;
  readonly accounts: AccountSettings;
  readonly limits: AuthorityLimits;
  readonly log: Logger;
  readonly ca: { readonly pin: string };
  readonly brokers?: BrokerAddresses | undefined;
}

/** The same for one request. */
export interface CallContext extends RegistryContext {
  readonly principal: Principal;
  /** What the audit log calls whoever asks. */
  readonly actor: string;
  /** Where they ask from: what of an address nobody can have many of. */
  readonly network: string;
  /** What bounds the work for accounts. */
  readonly desk: AccountDesk;
  /** Runs work once the answer is on its way, so that it says nothing of the work; a failure is logged. */
  readonly afterwards: (work: () => void) => void;
}

/** The methods of `/v1`. */
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** One row. `answers` names the schema in `answered`; `list` wraps it in `items`; without it the answer is 204. */
export interface Route {
  readonly method: Method;
  readonly path: string;
  /** Who may. */
  readonly access: Access;
  readonly says: string;
  readonly sends?: keyof typeof sent;
  readonly query?: z.ZodObject;
  /** Size of a body where it is not that of all others. */
  readonly bodyBytes?: number;
  readonly answers?: keyof typeof answered;
  /** What is answered with 202 where the rest comes by mail: {@link Accepted}. */
  readonly accepts?: keyof typeof answered;
  readonly list?: true;
  /** May give a promise. */
  readonly run: (context: CallContext, input: RouteInput) => unknown;
  /** For what was created: the last part of its path. */
  readonly locate?: (answer: unknown) => string;
}

/** What a row gives for an answer 202, that of its `accepts`. */
export class Accepted {
  readonly body: unknown;

  constructor(body: unknown) {
    this.body = body;
  }
}

/** The names in a path; each route knows its own. */
export type Params = Readonly<Record<"project" | "api" | "role" | "name" | "id", string>>;

/** What a request brings, parsed by the row's schemas. */
export interface RouteInput {
  readonly params: Params;
  readonly body: unknown;
  readonly query: unknown;
}

/** What lists go by: names, ids and serial numbers. */
const named = z
  .string()
  .max(200)
  .regex(/^[\w.:-]+$/, "a name or an id");
const page = z.strictObject({ limit: limit(1_000), after: named.optional() });
/** The query of the list of certificates. */
export const certificatePage = page.extend({ client: named.optional() });
/** The query of the audit log, which goes backwards. */
export const auditPage = z.strictObject({
  limit: limit(100),
  before: z
    .string()
    .regex(/^[0-9]{1,15}$/, "a whole number")
    .transform(Number)
    .optional(),
});

/** The query of the whole log, which goes forwards, and backwards with `before`. */
export const chainPage = auditPage.extend({ limit: limit(500), after: auditPage.shape.before });

type Page = z.output<typeof page>;
type Sent<K extends keyof typeof sent> = z.output<(typeof sent)[K]>;
type Run<B, A> = (context: CallContext, params: Params, body: B) => A | Promise<A>;

/** A POST that makes something; `key` is the member of the answer that ends its path. */
export function create<B extends keyof typeof sent, A extends keyof typeof answered>(
  access: Access,
  path: string,
  sends: B,
  answers: A,
  key: string & keyof Answer<A>,
  run: Run<Sent<B>, Answer<A>>,
): Route {
  return {
    method: "POST",
    path,
    access,
    says: `create: ${answers}`,
    sends,
    answers,
    run: (context, input) => run(context, input.params, input.body as Sent<B>),
    locate: (answer) => String((answer as Answer<A>)[key]),
  };
}

/** A PUT or PATCH of what is there. */
export function change<B extends keyof typeof sent, A extends keyof typeof answered>(
  access: Access,
  method: "PUT" | "PATCH",
  path: string,
  sends: B,
  answers: A,
  run: Run<Sent<B>, Answer<A>>,
): Route {
  return {
    method,
    path,
    access,
    says: `${method === "PUT" ? "replace" : "change"}: ${answers}`,
    sends,
    answers,
    run: (context, input) => run(context, input.params, input.body as Sent<B>),
  };
}

/** A GET of what the path names. */
export function one<A extends keyof typeof answered>(
  access: Access,
  path: string,
  answers: A,
  run: Run<unknown, Answer<A>>,
): Route {
  return {
    method: "GET",
    path,
    access,
    says: `one: ${answers}`,
    answers,
    run: (c, input) => run(c, input.params, null),
  };
}

/** A GET of a list that is short. */
export function all<A extends keyof typeof answered>(
  access: Access,
  path: string,
  answers: A,
  run: Run<unknown, { readonly items: readonly Answer<A>[] }>,
): Route {
  return {
    method: "GET",
    path,
    access,
    says: `all: ${answers}`,
    answers,
    list: true,
    run: (context, input) => run(context, input.params, null),
  };
}

/** Answers a page at a time. */
export function list<A extends keyof typeof answered>(
  access: Access,
  path: string,
  answers: A,
  run: Run<Page, { readonly items: readonly Answer<A>[] }>,
): Route {
  return {
    method: "GET",
    path,
    access,
    says: `list: ${answers}`,
    query: page,
    answers,
    list: true,
    run: (context, input) => run(context, input.params, input.query as Page),
  };
}

/** A DELETE. */
export function remove(access: Access, path: string, says: string, run: Run<unknown, void>): Route {
  return { method: "DELETE", path, access, says, run: (context, input) => run(context, input.params, null) };
}

/** Asks for one more than the page holds, to see whether there is a next one. */
export function more({ limit, after }: Page): { readonly limit: number; readonly after: string | undefined } {
  return { limit: limit + 1, after };
}

/** The page, and where the next one starts when there is one. */
export function cut<T, A>(
  found: readonly T[],
  limit: number,
  keyOf: (last: T) => string,
  to: (item: T) => A,
): {
  readonly items: A[];
  readonly next?: string;
} {
  const items = found.slice(0, limit);
  return { items: items.map(to), ...(found.length > limit ? { next: keyOf(items.at(-1)!) } : {}) };
}
