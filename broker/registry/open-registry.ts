/**
 * Opens the registry: the file, its transactions, and the first telling of everything a gate must know.
 */
import { Checkpoints } from "../sqlite/checkpoints.ts";
import { sayDamaged } from "../sqlite/database.ts";
import type { TrustSink } from "../trust/trust.ts";
import { tellApis } from "./apis.ts";
import { sealAudit } from "./audit.ts";
import { tellRevokedCertificates } from "./certificates.ts";
import { tellClients } from "./clients.ts";
import { openDatabase } from "./database.ts";
import { tellAuthorities } from "./device-authorities.ts";
import { tellProjects } from "./projects.ts";
import { writeLeftOut } from "./refusals.ts";
import { openTransactions, type Registry } from "./registry.ts";
import { tellRevokedTokens } from "./revoked-tokens.ts";
import { tellSigningKeys } from "./signing-keys.ts";
import { beginRun } from "./trust-changes.ts";

/** Where the registry is, and whom it tells. */
export interface RegistryOptions {
  /** Path of the SQLite file, or `:memory:`. */
  readonly file: string;
  readonly sink: TrustSink;
  readonly nowSeconds?: () => number;
  /** The thread that shortens the journal has failed, and from now on that holds the event loop. */
  readonly checkpointsFailed?: (error: unknown) => void;
}

/** Opens the registry and tells the sink all keys, apis and clients, and what was taken back. Throws `registry.invalid` for a file it cannot use. */
export function openRegistry(options: RegistryOptions): Registry {
  const db = openDatabase(options.file);
  const checkpoints = new Checkpoints(db, options.checkpointsFailed ?? (() => undefined));
  const registry: Registry = {
    db,
    sink: options.sink,
    nowSeconds: options.nowSeconds ?? (() => Math.floor(Date.now() / 1000)),
    ...openTransactions(db, () => checkpoints.committed()),
    close() {
      writeLeftOut(registry);
      checkpoints.close();
      db.close();
    },
  };
  try {
    sealAudit(registry);
    beginRun(registry);
    tellSigningKeys(registry);
    tellApis(registry);
    tellClients(registry);
    tellProjects(registry);
    tellRevokedTokens(registry);
    tellRevokedCertificates(registry);
    tellAuthorities(registry);
  } catch (error) {
    checkpoints.close();
    db.close();
    throw sayDamaged(error, options.file);
  }
  return registry;
}
