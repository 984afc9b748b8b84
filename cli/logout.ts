/** `postern logout`: ends the login at the authority and forgets it here, here in any case. */
import type { Command } from "commander";
import { AdminFailure, openAdminClient, route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { CommandFailure, fail } from "./failure.ts";

/** Adds the action; this noun has no verbs. */
export function define(noun: Command): void {
  noun.action(async (_options: object, command: Command) => {
    const { output, withoutKey } = contextOf(command);
    const { findLogin, forgetLogin } = await import("./login-store.ts");
    await withoutKey(async (_client, { url, ca }) => {
      const login = findLogin(url) ?? fail(`not logged in at ${url}`);
      forgetLogin(url);
      await endLogin(login.url, login.token, ca);
      output.print({ url: login.url, email: login.email }, () => `logged out ${login.email} from ${login.url}`);
    });
  });
}

/** One that is over is what was wanted. */
async function endLogin(url: string, key: string, ca: string | undefined): Promise<void> {
  const client = openAdminClient({ url, key, ...(ca !== undefined && { ca }) });
  try {
    await client.post(route`/v1/logout`, {});
  } catch (error) {
    if (error instanceof AdminFailure && error.status === 401) return;
    const why = error instanceof Error ? error.message : "unknown error";
    throw new CommandFailure(`the login is forgotten here, but the authority does not know: ${why}`);
  } finally {
    client.close();
  }
}
