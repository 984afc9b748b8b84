/**
 * `GET /revoke/trl`: the list of revoked tokens (RFC 9770) over HTTP, where the standard has CoAP. Observation has no twin
 * here; a caller asks again with the entity tag of the last answer, or lets itself be held with `Prefer: wait=N`.
 *
 * An answer is what holds when it is sent: after a wait the caller is identified anew and the list is read anew.
 */
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { itemsBytes } from "../../../shared/hash-array.ts";
import { encodeHashItems, encodeTrl, frameFullSet, TRL_CBOR } from "../../../shared/trl.ts";
import type { TrustPart } from "../../../shared/trust-entries.ts";
import { pruneRevoked } from "../../registry/revoked-tokens.ts";
import { isAnyListed, readListedHashes } from "../../registry/trl-hashes.ts";
import { keepUpdates, newestUpdate, trlConstants, updatesOf } from "../../registry/trl-updates.ts";
import { currentRun } from "../../registry/trust-changes.ts";
import { hasTrustNews, readTrustPart } from "../../registry/trust-entries.ts";
import { trlPath, type AuthorityContext } from "../context.ts";
import { isKnown, toTag } from "../entity-tag.ts";
import { readWait } from "./prefer.ts";
import { queryTrl, TrlRefusal, type DiffResult, type FullResult } from "./trl-query.ts";
import { asKnown } from "../refusal-audit.ts";
import { identifyRequester, type TrlRequester } from "./trl-requester.ts";
import type { WaitEnd, WaitingRooms } from "./waiting-room.ts";

/** What holds at this moment. */
interface Found {
  readonly requester: TrlRequester;
  readonly result: FullResult | DiffResult;
  readonly trust: TrustPart | undefined;
  /** The entity tag; none where a cursor says what is known of more than the list. */
  readonly tag: string | undefined;
  /** The caller has all this. */
  readonly isKnown: boolean;
  /** Whether anything came since. */
  hasNews(): boolean;
}

/** Registers `GET /revoke/trl`. */
export function registerTrlRoute(scope: FastifyInstance, context: AuthorityContext, rooms: WaitingRooms): void {
  const look = (request: FastifyRequest): Found => {
    const requester = identifyRequester(context, request);
    return asKnown({ actor: requester.name }, () => find(context, requester, request));
  };
  scope.get(trlPath, async (request, reply) => {
    let found = look(request);
    const seconds = readWait(request.headers.prefer);
    const held = isNew(found, request) ? undefined : await hold(rooms, found, seconds, request);
    if (held === "gone") return reply.hijack();
    if (held !== undefined) found = look(request);
    if (held !== undefined || isNew(found, request)) applied(reply, seconds);
    if (held === "closing") void reply.header("connection", "close");
    return send(context, found, reply);
  });
}

function find(context: AuthorityContext, requester: TrlRequester, request: FastifyRequest): Found {
  const { registry } = context;
  prune(context);
  const { diff, cursor, trust } = request.query as Readonly<Record<string, unknown>>;
  const isFirst = keepUpdates(registry, requester.view);
  const asked = queryTrl({ diff, cursor }, updatesOf(registry, requester.view), trlConstants);
  // what came before its updates were kept is on the list and in none of them: it has to read the list
  const isBehind = isFirst && asked.kind === "diff" && isAnyListed(registry, requester.view);
  const result = isBehind ? { ...asked, more: true } : asked;
  const place = requester.mayFollow ? readPlace(trust) : undefined;
  const newest = newestUpdate(registry, requester.view);
  const tag = place !== undefined ? undefined : tagFor(context, requester, newest, diff, cursor);
  return {
    requester,
    result,
    trust: place === undefined ? undefined : readTrustPart(registry, place),
    tag,
    isKnown: tag !== undefined && isKnown(request, tag),
    hasNews: () =>
      newestUpdate(registry, requester.view) !== newest || (place !== undefined && hasTrustNews(registry, place)),
  };
}

/** The cursor of what a broker is told beside the list. */
function readPlace(trust: unknown): string | undefined {
  if (trust === undefined || typeof trust === "string") return trust;
  throw new TrlRefusal("list.parameter", "trust stands there twice");
}

/** Expired entries leave the list before it is read. That they cannot does not keep anybody from what was revoked. */
function prune({ registry, log }: AuthorityContext): void {
  try {
    pruneRevoked(registry);
  } catch (error) {
    log.error({ err: error }, "expired tokens stay on the list");
  }
}

/** Whether the answer tells the caller anything; lost updates and a cursor that is none of ours do. */
function isNew({ result, trust, tag, isKnown }: Found, request: FastifyRequest): boolean {
  if (tag !== undefined && request.headers["if-none-match"] !== undefined) return !isKnown;
  if (result.kind === "full" || result.diffSet.length > 0 || result.more) return true;
  return trust !== undefined && (trust.isReset || trust.entries.length > 0);
}

/** Holds the request if it asks for that and there is room; beyond the bounds it is answered at once (RFC 7240, section 2). */
function hold(
  rooms: WaitingRooms,
  found: Found,
  seconds: number,
  request: FastifyRequest,
): Promise<WaitEnd> | undefined {
  if (seconds === 0) return undefined;
  const { name, project, room } = found.requester;
  return rooms[room].enter({
    requester: name,
    project,
    milliseconds: seconds * 1000,
    socket: request.raw.socket,
    hasNews: () => found.hasNews(),
  });
}

function applied(reply: FastifyReply, seconds: number): void {
  if (seconds > 0) void reply.header("preference-applied", `wait=${seconds}`);
}

async function send(context: AuthorityContext, found: Found, reply: FastifyReply): Promise<FastifyReply> {
  const { result, trust, tag, isKnown } = found;
  void reply.header("cache-control", "private, no-cache").header("vary", "authorization");
  if (tag !== undefined) void reply.header("etag", `"${tag}"`);
  if (isKnown) return reply.code(304).send();
  void reply.type(TRL_CBOR);
  if (result.kind === "full") return sendFull(context, found, reply);
  const { diffSet, cursor, more } = result;
  return reply.send(Buffer.from(encodeTrl({ diffSet, cursor, more, ...(trust !== undefined && { trust }) })));
}

/** A long list goes out piece by piece. */
async function sendFull(context: AuthorityContext, found: Found, reply: FastifyReply): Promise<FastifyReply> {
  const { requester, trust, tag } = found;
  const { newest, count, slices } = await readListedHashes(context.registry, requester.view);
  // it may have changed while it was read
  if (tag !== undefined) void reply.header("etag", `"${tagFor(context, requester, newest)}"`);
  const cursor = newest === undefined ? null : newest % (trlConstants.maxIndex + 1);
  const { head, tail } = frameFullSet(count, { cursor, ...(trust !== undefined && { trust }) });
  function* pieces(): Generator<Uint8Array> {
    yield head;
    for (const slice of slices) yield encodeHashItems(slice);
    yield tail;
  }
  if (slices.length <= 1) return reply.send(Buffer.concat([...pieces()]));
  void reply.header("content-length", head.length + itemsBytes(count) + tail.length);
  return reply.send(Readable.from(pieces(), { objectMode: false }));
}

/**
 * The same tag is the same answer: the run of this program stands in it, because after a restore from a backup the numbers
 * come once more.
 */
function tagFor(
  { registry }: AuthorityContext,
  { view }: TrlRequester,
  newest: number | undefined,
  diff?: unknown,
  cursor?: unknown,
): string {
  return toTag(JSON.stringify([currentRun(registry), view, newest ?? null, diff ?? null, cursor ?? null]));
}
