/** Secrets and public keys as the authority shows them, and as people read them. */
import type { AdminClient } from "./admin-client.ts";
import { formatDuration } from "./duration.ts";
import { formatTable, formatTime } from "./output.ts";

/** A secret, without the secret. */
export interface Secret {
  readonly id: string;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly idle_seconds: number;
  readonly last_used_at: number | null;
  readonly status: "valid" | "expired" | "retired";
}

/** A public key. */
export interface PublicKey {
  readonly kid: string | null;
  readonly thumbprint: string;
  readonly created_at: number;
}

/** The keys at a path, all of them replaced where there are others to take their place. */
export async function askKeys(admin: AdminClient, path: string, keys: object[] | undefined): Promise<PublicKey[]> {
  if (keys === undefined) return admin.list<PublicKey>(path);
  return (await admin.put<{ items: PublicKey[] }>(path, { keys })).items;
}

/** Newest first. */
export function formatSecrets(secrets: readonly Secret[]): string {
  return formatTable(
    secrets,
    {
      secret: ({ id }) => id,
      status: ({ status }) => status,
      created: ({ created_at }) => formatTime(created_at),
      "last used": ({ last_used_at: at }) => (at === null ? "never" : formatTime(at)),
      expires: ({ expires_at: at }) => (at === null ? "never" : formatTime(at)),
      "retires unused after": ({ idle_seconds }) => formatDuration(idle_seconds),
    },
    "no secrets",
  );
}

/** In their order. */
export function formatKeys(keys: readonly PublicKey[]): string {
  return formatTable(
    keys,
    {
      kid: ({ kid }) => kid ?? "-",
      thumbprint: ({ thumbprint }) => thumbprint,
      since: ({ created_at }) => formatTime(created_at),
    },
    "no keys",
  );
}
