/**
 * Deleting a developer: all that the account may do ends, and nothing of it is left but the id, which the audit log names.
 */
import { statement } from "../sqlite/database.ts";
import { dropCodes } from "./account-codes.ts";
import { dropApiKeys } from "./api-keys.ts";
import { ADMIN, audit } from "./audit.ts";
import { actorOf, getDeveloper } from "./developers.ts";
import { dropInvitations } from "./invitations.ts";
import { endLogins } from "./logins.ts";
import { leaveAll } from "./members.ts";
import type { Registry } from "./registry.ts";

/**
 * Ends an account: its logins, keys, places in projects, and the invitations that it made or that are for its address.
 * Throws `registry.not-found`, and `account.last-owner` where a project would be left without owner.
 */
export function deleteDeveloper(r: Registry, id: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    const { email } = getDeveloper(r, id);
    leaveAll(r, id, actor);
    dropInvitations(r, { email, by: actorOf({ id }) });
    dropCodes(r, id);
    endLogins(r, id);
    dropApiKeys(r, id);
    const empty = statement(
      r.db,
      `UPDATE developer SET email = NULL, name = '', password = NULL, deleted_at = ? WHERE id = ?`,
    );
    empty.run(r.nowSeconds(), id);
    audit(r, { event: "developer.deleted", actor, subject: id });
  });
}
