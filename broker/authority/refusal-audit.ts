/**
 * Refusals over HTTP on their way into the audit log: what was asked of whom, and who asked, as far as that is proven.
 *
 * Whoever refuses somebody it knows says so with {@link noteRefusal}; all others count as strangers, with whom they claim to
 * be. A body, a header and a query are never written down, and of a path no part that could be a secret.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { readAssertion } from "../../shared/assertion.ts";
import { isCallerName } from "../../shared/names.ts";
import { plainAddress } from "../../shared/network.ts";
import { Refusal } from "../../shared/refusal.ts";
import { recordRefusal, type Refused } from "../registry/refusals.ts";
import { principalOf } from "./v1/access.ts";
import { readBasic } from "./basic.ts";
import { readFormText, type OauthBody } from "./body.ts";
import { tokenPaths, type AuthorityContext } from "./context.ts";
import { presentedCertificate } from "./peer-certificate.ts";
import { readTokenRequest } from "./oauth/token-request.ts";

/** What is known of a refusal where it happens. */
export interface RefusalNote {
  /** Who was refused, proven: a client id, `<project>/<api>`, `developer:<id>`. */
  readonly actor?: string | undefined;
  readonly project?: string | undefined;
  readonly subject?: string | undefined;
  /** What an explanation goes by. Nothing secret. */
  readonly facts?: Readonly<Record<string, unknown>> | undefined;
}

const notes = new WeakMap<Refusal, RefusalNote>();
const longestText = 200;
/** A part of a path beyond this may be a secret in the wrong place. */
const longestPart = 40;

/** Adds what is known to a refusal; what was said before stays. Does nothing to other errors. */
export function noteRefusal(error: unknown, note: RefusalNote): void {
  if (!(error instanceof Refusal)) return;
  const before = notes.get(error);
  notes.set(error, { ...note, ...before, facts: { ...note.facts, ...before?.facts } });
}

/** Does the work for somebody who has proven who they are: a refusal is theirs. */
export function asKnown<T>(note: RefusalNote, work: () => T): T {
  try {
    return work();
  } catch (error) {
    noteRefusal(error, note);
    throw error;
  }
}

/** Has the row of a refusal written; see {@link recordRefusal} for what it gives. */
export function auditRefusal(
  context: AuthorityContext,
  refusal: Refusal,
  request: FastifyRequest,
): Promise<void> | undefined {
  // there is nowhere to write it
  if (refusal.reason === "storage.failed") return undefined;
  const note = notes.get(refusal) ?? {};
  const principal = principalOf(request);
  const isKnown = principal !== undefined && principal.kind !== "stranger";
  const path = pathOf(request);
  const address = addressOf(request);
  const refused: Refused = {
    event: (tokenPaths as readonly string[]).includes(path) ? "token.refused" : "request.refused",
    refusal,
    actor: note.actor ?? (isKnown ? principal.actor : undefined),
    address,
    subject: note.subject ?? note.actor,
    project: note.project ?? projectOf(request),
    claimed: note.actor === undefined && !isKnown ? () => claimedBy(request) : undefined,
    facts: () => ({
      method: request.method,
      path,
      address,
      ...(refusal.detail !== "" && { detail: refusal.detail.slice(0, longestText) }),
      ...note.facts,
    }),
  };
  return recordRefusal(context.registry, refused);
}

/** The path without its query, each part cut where it is longer than any name of ours is likely to be. */
export function pathOf(request: FastifyRequest): string {
  const parts = request.url.split("?", 1)[0]!.slice(0, longestText).split("/");
  return parts.map((part) => (part.length > longestPart ? `${part.slice(0, 8)}…` : part)).join("/");
}

/** Where a request comes from, as it is written down. */
export function addressOf({ socket }: FastifyRequest): string | undefined {
  return socket.remoteAddress && plainAddress(socket.remoteAddress);
}

function projectOf(request: FastifyRequest): string | undefined {
  const { project } = (request.params ?? {}) as { readonly project?: string };
  return project;
}

/**
 * Whom a stranger claims to be: by Basic, by a certificate, by `client_id`, or by an assertion. None of it is proven, and
 * nothing but a name is written down, since it might be a secret.
 */
function claimedBy(request: FastifyRequest): string | undefined {
  for (const read of claims) {
    let found: string | undefined;
    try {
      found = read(request);
    } catch {
      // what cannot be read claims nothing
    }
    if (found !== undefined && isCallerName(found)) return found;
  }
  return undefined;
}

const claims: readonly ((request: FastifyRequest) => string | undefined)[] = [
  ({ headers }) => readFormText(readBasic(headers.authorization ?? "").user),
  ({ raw }) => /^CN=(.*)$/.exec(presentedCertificate(raw.socket as TLSSocket)?.subject ?? "")?.[1],
  (request) => {
    const body = request.body as OauthBody | undefined;
    if (body?.wire === "cbor") return subjectOf(readTokenRequest(body).assertion);
    const field = (name: string): string | undefined => {
      const value =
        body?.wire === "form" ? body.fields.get(name) : (body?.value as Record<string, unknown> | undefined)?.[name];
      return typeof value === "string" ? value : undefined;
    };
    return field("client_id") ?? subjectOf(field("client_assertion"));
  },
];

function subjectOf(assertion: Uint8Array | string | undefined): string | undefined {
  return assertion === undefined ? undefined : readAssertion(assertion).claims.sub;
}
