/** `postern key`: the keys that sign tokens. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { formatTable, formatTime } from "./output.ts";
import { revoke } from "./revoke.ts";

interface SigningKey {
  readonly kid: string;
  /** Whether it signs now; the others are kept to verify with. */
  readonly active: boolean;
  readonly created_at: number;
  readonly revoked_at: number | null;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("list")
    .description("list the signing keys")
    .action(async (_options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const keys = await withAdmin((admin) => admin.list<SigningKey>(route`/v1/keys`));
      output.print(keys, () =>
        formatTable(
          keys,
          {
            key: ({ kid }) => kid,
            signs: ({ active }) => (active ? "yes" : "no"),
            created: ({ created_at }) => formatTime(created_at),
            revoked: ({ revoked_at }) => (revoked_at === null ? "no" : formatTime(revoked_at)),
          },
          "no keys",
        ),
      );
    });

  noun
    .command("revoke")
    .description(
      "revoke a signing key, with every token that it signed; where it signs now, a new key does from then on",
    )
    .argument("<kid>", "id of the key, as key list has it")
    .action(async (kid: string, _options: object, command: Command) => {
      await revoke(command, { keys: [kid] }, { what: `key ${kid}` });
    });
}
