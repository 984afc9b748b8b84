/** `postern explain`: what a refusal meant, by the id that the refused peer was told. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { formatFacts, formatTime } from "./output.ts";

interface Explained {
  readonly id: string;
  readonly at: number;
  readonly event: string;
  readonly reason: string;
  readonly told: string;
  readonly actor: string;
  readonly check: string;
  readonly change: string;
  readonly command: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Adds the argument and the action; this noun has no verbs. */
export function define(noun: Command): void {
  noun
    .argument("<id>", "as it was told, or as the log has it")
    .action(async (id: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const found = await withAdmin((admin) => admin.get<Explained>(route`/v1/refusals/${id}`));
      output.print(found, () => formatFacts(describe(found)));
    });
}

function describe({
  at,
  event,
  actor,
  reason,
  told,
  check,
  change,
  command,
  facts,
}: Explained): Record<string, string> {
  return {
    refused: `${actor}, ${formatTime(at)} (${event})`,
    reason: `${reason}: ${told}`,
    checked: check,
    change,
    ...(command !== null && { command }),
    ...Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, toText(value)])),
  };
}

function toText(value: unknown): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map(toText).join(" ") : JSON.stringify(value);
}
