/**
 * `/v1` over injected requests as developers see it: the answers that the authority gives, mails as they are sent, and people
 * with an account, with cheap hashes of their passwords and without.
 */
import { createHmac, scryptSync } from "node:crypto";
import { Readable } from "node:stream";
import Fastify, { type InjectOptions } from "fastify";
import { pino } from "pino";
import { createErrorAnswer } from "../../broker/authority/answer-refusal.ts";
import { takeJsonBodies } from "../../broker/authority/body.ts";
import {
  defaultLimits,
  type AuthorityContext,
  type AuthorityLimits,
  type Mail,
  type Registration,
} from "../../broker/authority/context.ts";
import { registerRegistryRoutes } from "../../broker/authority/v1/registry-routes.ts";
import { createApiKey, type NewApiKey } from "../../broker/registry/api-keys.ts";
import { addConfirmed, type Developer } from "../../broker/registry/developers.ts";
import { createLogin } from "../../broker/registry/logins.ts";
import { addMember } from "../../broker/registry/members.ts";
import { type MemberRole } from "../../broker/registry/member-roles.ts";
import { formatPhc } from "../../broker/registry/passwords.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { openFixture, type Fixture } from "../registry/fixture.ts";

export const ISSUER = "https://postern.test";
export const ADMIN_KEY = "the-admin-key";
export const PASSWORD = "correct horse battery";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

export interface Asked {
  /** A text or a stream is JSON as it stands. */
  readonly body?: unknown;
  /** What stands after `Bearer`; null for nothing. Default the admin key. */
  readonly as?: string | null;
  readonly from?: string;
}

export interface Person extends Developer {
  /** A login. */
  readonly token: string;
}

export interface Accounts extends Fixture {
  readonly mails: Mail[];
  readonly lines: Record<string, unknown>[];
  ask(method: string, url: string, asked?: Asked): Promise<Answer>;
  /** The reason that the log gives for the newest refusal. */
  reason(): unknown;
  /** What was put off until the answer was on its way is done by then. */
  settle(): Promise<void>;
  /** The code in the newest mail to an address. */
  codeOf(email: string): string;
  /** A developer with {@link PASSWORD} and a login, with roles in projects. */
  join(email: string, roles?: Readonly<Record<string, MemberRole>>): Person;
  keyOf(person: Person, asked?: Partial<NewApiKey>): string;
}

/** Cheap: of the same form, with the least cost. */
export function cheapHash(password: string): string {
  const salt = createHmac("sha256", "salt").update(password).digest().subarray(0, 16);
  return formatPhc({ n: 1, r: 8, p: 1 }, salt, scryptSync(password, salt, 32, { N: 2, r: 8, p: 1 }));
}

export function addPerson(r: Registry, email: string, password = PASSWORD): Developer {
  return r.change(() => addConfirmed(r, { email, name: "", passwordHash: cheapHash(password) }));
}

export function openAccounts(
  options: { readonly registration?: Registration; readonly limits?: Partial<AuthorityLimits> } = {},
): Accounts {
  const fixture = openFixture();
  const { r } = fixture;
  const mails: Mail[] = [];
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  const context = {
    registry: r,
    issuer: ISSUER,
    adminKey: ADMIN_KEY,
    ca: { pin: "ab".repeat(32) },
    accounts: { registration: options.registration ?? "open", sendMail: (mail: Mail) => mails.push(mail) },
    limits: { ...defaultLimits, ...options.limits },
    log,
  };
  const app = Fastify();
  takeJsonBodies(app);
  app.setErrorHandler(createErrorAnswer(context as unknown as AuthorityContext, "v1"));
  registerRegistryRoutes(app, context);

  return {
    ...fixture,
    mails,
    lines,
    async ask(method, url, { body, as = ADMIN_KEY, from = "192.0.2.1" } = {}) {
      const answer = await app.inject({
        method,
        url,
        remoteAddress: from,
        ...(body !== undefined && { payload: body as object }),
        headers: {
          ...(as !== null && { authorization: `Bearer ${as}` }),
          ...((typeof body === "string" || body instanceof Readable) && { "content-type": "application/json" }),
        },
      } as InjectOptions);
      const { body: text, headers, statusCode: status } = answer;
      return { status, headers, text, body: text === "" ? undefined : (JSON.parse(text) as unknown) };
    },
    reason: () => lines.findLast((line) => line["msg"] === "refused" || line["msg"] === "failed")?.["reason"],
    settle: () => new Promise((resolve) => void setImmediate(resolve)),
    codeOf(email) {
      const mail = mails.findLast(({ to }) => to === email);
      return /code is (\w{10})/.exec(mail?.text ?? "")?.[1] ?? "none";
    },
    join(email, roles = {}) {
      const developer = addPerson(r, email);
      for (const [project, role] of Object.entries(roles)) addMember(r, project, developer.id, role, "admin");
      return { ...developer, token: createLogin(r, developer.id).token };
    },
    keyOf: (person, asked = {}) => createApiKey(r, person, { name: "key", ...asked }, "admin").key,
  };
}
