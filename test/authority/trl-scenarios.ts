/** The step-by-step scenarios of RFC 9770 (appendices C.4 and C.5, and others), played against whatever answers queries. */
import { createHash } from "node:crypto";
import { expect } from "vitest";
import {
  TrlRefusal,
  type DiffResult,
  type FullResult,
  type TrlParameters,
} from "../../broker/authority/trl/trl-query.ts";
import type { TrlConstants } from "../../broker/registry/trl-updates.ts";
import { HASH_BYTES, trlErrors } from "../../shared/trl.ts";
import { hasVectors, readVectors } from "../peers.ts";

/** What is played against. Hashes are those of {@link hashOf}. */
export interface Player {
  update(removed: readonly Uint8Array[], added: readonly Uint8Array[]): void;
  query(parameters: TrlParameters): FullResult | DiffResult;
  /** The full set, packed. */
  fullSet(): Promise<Uint8Array>;
}

interface Expected {
  readonly status: number;
  readonly full_set?: readonly string[];
  readonly diff_set?: readonly (readonly [removed: string[], added: string[]])[];
  readonly cursor?: number | null;
  readonly more?: boolean;
  readonly "ace-trl-error"?: { readonly "error-id": number; readonly cursor?: number | null };
}

interface Step {
  readonly update?: { readonly removed: string[]; readonly added: string[] };
  readonly query?: { readonly diff?: number; readonly cursor?: number };
  readonly expect?: Expected;
}

export interface Scenario {
  readonly name: string;
  readonly MAX_N: number;
  readonly MAX_DIFF_BATCH: number;
  readonly MAX_INDEX: number;
  readonly steps: readonly Step[];
}

export const scenarios: readonly Scenario[] = hasVectors
  ? readVectors<{ scenarios: Scenario[] }>("derived/trl-cursor-scenarios.json").scenarios
  : [];

export function constantsOf(scenario: Scenario): TrlConstants {
  return { maxN: scenario.MAX_N, maxDiffBatch: scenario.MAX_DIFF_BATCH, maxIndex: scenario.MAX_INDEX };
}

/** The hash that a name like `t1` stands for. */
export function hashOf(name: string): Uint8Array {
  return Buffer.concat([Buffer.of(1), createHash("sha256").update(name).digest()]);
}

/** Plays all steps; returns how many answers were compared. */
export async function play({ steps }: Scenario, player: Player): Promise<number> {
  let compared = 0;
  for (const { update, query, expect: expected } of steps) {
    if (update !== undefined) player.update(update.removed.map(hashOf), update.added.map(hashOf));
    if (query === undefined || expected === undefined) continue;
    const parameters = {
      ...(query.diff !== undefined && { diff: String(query.diff) }),
      ...(query.cursor !== undefined && { cursor: String(query.cursor) }),
    };
    expect([parameters, await answer(player, parameters)]).toEqual([parameters, toNames(expected)]);
    compared++;
  }
  return compared;
}

async function answer(player: Player, parameters: TrlParameters): Promise<unknown> {
  let result: FullResult | DiffResult;
  try {
    result = player.query(parameters);
  } catch (error) {
    if (!(error instanceof TrlRefusal)) throw error;
    const { error: name, cursor } = error;
    return { id: trlErrors.indexOf(name), ...(cursor !== undefined && { cursor }) };
  }
  if (result.kind === "full") return { full: namesOf(await player.fullSet()), cursor: result.cursor };
  const { diffSet, cursor, more } = result;
  return { diff: diffSet.map(({ removed, added }) => [namesOf(removed), namesOf(added)]), cursor, more };
}

function toNames(expected: Expected): unknown {
  const error = expected["ace-trl-error"];
  if (error !== undefined) {
    expect(expected.status).toBe(400);
    return { id: error["error-id"], ...("cursor" in error && { cursor: error.cursor }) };
  }
  const sorted = (names: readonly string[]): string[] => names.map((name) => toHex(hashOf(name))).toSorted();
  if (expected.full_set !== undefined) return { full: sorted(expected.full_set), cursor: expected.cursor };
  const diff = expected.diff_set!.map((pair) => pair.map(sorted));
  return { diff, cursor: expected.cursor, more: expected.more };
}

function namesOf(packed: Uint8Array): string[] {
  const hex = toHex(packed);
  return [...(hex.match(new RegExp(`.{${2 * HASH_BYTES}}`, "g")) ?? [])].toSorted();
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
