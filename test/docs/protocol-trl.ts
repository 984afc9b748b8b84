/**
 * The list of revoked tokens as docs/protocol.md shows it: with the hashes of the tokens that the document shows elsewhere.
 */
import { MAX_WAIT_SECONDS } from "../../broker/authority/trl/prefer.ts";
import { waitingLimits } from "../../broker/authority/trl/waiting-room.ts";
import { trlConstants } from "../../broker/registry/trl-updates.ts";
import { tokenHashes } from "../../shared/token.ts";
import { encodeTrl, encodeTrlProblem, HASH_BYTES, type TrlProblem, type TrustEntry } from "../../shared/trl.ts";
import { dump, explainCbor, type Shape } from "./hexdump.ts";
import { audience, clientId, cwt, grants, jwt, now, signer } from "./protocol-example.ts";
import { coseKeyShape, grantShape } from "./protocol-shapes.ts";

const toBytes = (hash: string): Uint8Array => Buffer.from(hash, "hex");
const none = new Uint8Array(0);
const [first, second] = [tokenHashes(cwt)[0]!, tokenHashes(jwt)[0]!].map(toBytes) as [Uint8Array, Uint8Array];

const hashesShape: Shape = { each: { says: "token hash" } };
const entryShape: Shape = { items: [{ says: "kind" }, { says: "name" }] };
const trlShape: Shape = {
  map: {
    "0": { says: "full_set", ...hashesShape },
    "1": {
      says: "diff_set",
      each: {
        items: [
          { says: "removed", ...hashesShape },
          { says: "added", ...hashesShape },
        ],
      },
    },
    "2": { says: "cursor" },
    "3": { says: "more" },
    "-65537": {
      says: "what brokers follow",
      items: [
        { says: "the cursor was none of ours" },
        { says: "next cursor" },
        { says: "more" },
        {
          items: [
            { items: [...entryShape.items!, coseKeyShape] },
            {
              items: [
                ...entryShape.items!,
                {
                  items: [{ says: "mqtt" }, { says: "bearer" }, { each: { says: "topic filter" } }, { says: "purge" }],
                },
              ],
            },
            {
              items: [
                ...entryShape.items!,
                {
                  items: [
                    { says: "enabled" },
                    { says: "tokens up to this number were taken back" },
                    { each: { items: [{ says: "audience" }, { inner: grantShape }] } },
                  ],
                },
              ],
            },
            entryShape,
            entryShape,
            entryShape,
          ],
        },
      ],
    },
  },
};

const entries: readonly TrustEntry[] = [
  { kind: "key", kid: signer.kid, key: signer.publicKey },
  { kind: "api", audience, api: { kind: "mqtt", bearer: false, topics: ["home/#"], purge: "client" } },
  { kind: "client", id: clientId, client: { enabled: true, tokensAfter: 1234, grants: [{ audience, grants }] } },
  { kind: "certificate", name: "6a485f48946bff5a:4f2a", isRevoked: true },
  { kind: "project", slug: "home", tokensSince: now },
  { kind: "authority", id: "0b6f3cf5a1e4d927", authority: undefined },
];

/** The blocks of the section, by name. */
export function trlBlocks(): [name: string, content: string][] {
  const explain = (bytes: Uint8Array): string => dump(explainCbor(bytes, trlShape));
  const full = Buffer.concat([first, second]);
  if (full.length !== 2 * HASH_BYTES) throw new Error("a hash has another length");
  return [
    ["trl.constants", constants()],
    ["trl.full", explain(encodeTrl({ fullSet: full, cursor: 1 }))],
    ["trl.empty", explain(encodeTrl({ fullSet: none, cursor: null }))],
    [
      "trl.diff",
      explain(
        encodeTrl({
          diffSet: [
            { removed: none, added: second },
            { removed: first, added: none },
          ],
          cursor: 2,
          more: false,
        }),
      ),
    ],
    [
      "trl.ends",
      [
        explain(encodeTrl({ diffSet: [], cursor: 2, more: false })),
        explain(encodeTrl({ diffSet: [], cursor: null, more: true })),
      ].join("\n\n"),
    ],
    ["trl.errors", errors()],
    [
      "trl.trust",
      explain(
        encodeTrl({
          diffSet: [],
          cursor: 2,
          more: false,
          trust: { isReset: false, cursor: "pBM0nLX2dqAo.42", more: false, entries },
        }),
      ),
    ],
  ];
}

function constants(): string {
  const rows: readonly (readonly [string, string | number, string])[] = [
    ["MAX_N", trlConstants.maxN, "updates that are kept for each caller"],
    ["MAX_DIFF_BATCH", trlConstants.maxDiffBatch, "updates in one answer"],
    ["MAX_INDEX", trlConstants.maxIndex, "highest index of an update"],
    ["longest wait", MAX_WAIT_SECONDS, "s"],
    ["waiting", waitingLimits.total, "requests of clients, and as many of brokers and administrators"],
    ["waiting", waitingLimits.perRequester, "requests of one caller"],
  ];
  return rows.map(([what, value, unit]) => `${what.padEnd(16)} ${String(value).padStart(10)} ${unit}`).join("\n");
}

function errors(): string {
  const rows: readonly (readonly [TrlProblem, string])[] = [
    [{ error: "list.parameter" }, "diff is neither 0 nor a positive number, or trust stands there twice"],
    [{ error: "list.parameter", cursor: 2 }, "cursor is no index; the newest is 2"],
    [{ error: "list.parameter", cursor: null }, "cursor is no index; there is none yet"],
    [{ error: "list.parameters" }, "cursor without diff"],
    [{ error: "list.cursor" }, "cursor is ahead of the newest"],
  ];
  return dump(rows.map(([problem, says]) => ({ bytes: encodeTrlProblem(problem), says })));
}
