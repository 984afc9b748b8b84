/**
 * A server that takes part over HTTPS: its connections, which stay, and the requests, which are made before the round.
 */
import type { Child } from "./child.ts";
import { HttpConnection } from "./http-load.ts";
import type { Installation, TlsIdentity } from "./installation.ts";
import { runWide, type Contestant } from "./rounds.ts";

/** Each with one request under way. */
export const CONNECTIONS = 32;

/** Opens the connections; `open` takes them, to be closed at the end. */
export async function enterServer(
  name: string,
  server: Child,
  makeRequest: () => Buffer,
  at: { readonly installation: Installation; readonly open: HttpConnection[]; readonly identity?: TlsIdentity },
): Promise<Contestant> {
  const target = { port: server.httpPort, caPem: at.installation.caPem, identity: at.identity };
  const lanes = await Promise.all(Array.from({ length: CONNECTIONS }, () => HttpConnection.open(target)));
  at.open.push(...lanes);
  let requests: Buffer[] = [];
  return {
    name,
    prepare: (operations) => {
      requests = Array.from({ length: operations }, makeRequest);
    },
    run: (operations) =>
      runWide(operations, CONNECTIONS, async (operation, lane) => {
        await lanes[lane]!.ask(requests[operation]!);
      }),
    cpuMicroseconds: () => server.cpuMicroseconds(),
  };
}
