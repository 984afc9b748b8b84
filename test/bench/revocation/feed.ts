/**
 * What a revocation moves to a broker elsewhere: the bytes of its long poll on the wire, and of the answer alone.
 */
import { decodeTrl } from "../../../shared/trl.ts";
import { startChild, type Child } from "../child.ts";
import { HttpConnection } from "../http-load.ts";
import { median } from "../rounds.ts";
import { printHeading, printNote, printTable } from "../table.ts";
import { writeBrokerFile } from "./broker-file.ts";
import { CountingProxy, type Moved } from "./counting-proxy.ts";
import { fetchBody } from "./fetch.ts";
import { furnishFleet, type Fleet, type FleetSize, type Member } from "./fleet.ts";
import type { Revocation } from "./sessions.ts";
import { openCalls, type Calls } from "./stage.ts";

/** How much is measured. */
export interface FeedPlan {
  readonly size: FleetSize;
  /** Of each kind. */
  readonly calls: number;
  /** Calls that do not wait for the one before to have arrived. */
  readonly burst: number;
}

const quietMs = 150;
const kinds: readonly { readonly kind: Member["kind"]; readonly revoked: Exclude<keyof Calls, "clients"> }[] = [
  { kind: "bearer", revoked: "token" },
  { kind: "bearer", revoked: "client" },
  { kind: "certified", revoked: "certificate" },
];

export async function benchFeed({ size, calls: count, burst }: FeedPlan): Promise<void> {
  const fleet = await furnishFleet(size);
  const { dataDir, brokerDir, httpPort, caPem } = fleet;
  const authority = await startChild("postern", dataDir, { httpPort });
  const proxy = await CountingProxy.open(httpPort);
  writeBrokerFile(brokerDir, { ...fleet.broker, authority: `https://localhost:${proxy.port}` });
  const broker = await startChild("broker", brokerDir);
  await proxy.quiet(1000);
  const first = proxy.moved;

  const calls = openCalls(dataDir);
  const admin = await HttpConnection.open({ port: httpPort, caPem });
  const follower = new Follower(fleet);
  await follower.catchUp();
  const left = [...fleet.members];
  const take = (kind: Member["kind"], of: number): Member[] => {
    const chosen = left.filter((member) => member.kind === kind).slice(0, of);
    for (const member of chosen) left.splice(left.indexOf(member), 1);
    return chosen;
  };
  const rows: string[][] = [];
  for (const { kind, revoked } of kinds) {
    const [moved, bodies]: [Moved[], number[]] = [[], []];
    for (const member of take(kind, count)) {
      moved.push(await measure(proxy, [calls[revoked](member)], admin));
      bodies.push(await follower.catchUp());
    }
    const middle = (read: (one: Moved) => number): string => median(moved.map(read)).toFixed(0);
    rows.push([`one ${revoked}`, middle(({ down }) => down), median(bodies).toFixed(0), middle(({ up }) => up)]);
  }
  const together = await measure(
    proxy,
    take("bearer", burst).map((member) => calls.token(member)),
    admin,
  );
  const body = await follower.catchUp();
  rows.push([
    `one token of ${burst} in a row`,
    ...[together.down, body, together.up].map((all) => (all / burst).toFixed(0)),
  ]);
  await stop(admin, broker, authority, proxy, fleet);
  print({ size, calls: count, burst }, first, rows);
}

/** What goes through the proxy because of some calls. */
async function measure(
  proxy: CountingProxy,
  revocations: readonly Revocation[],
  admin: HttpConnection,
): Promise<Moved> {
  const before = proxy.moved;
  for (const { request } of revocations) await admin.ask(Buffer.from(request));
  await proxy.quiet(quietMs);
  const after = proxy.moved;
  if (after.down === before.down) throw new Error("the broker elsewhere was not told");
  return { up: after.up - before.up, down: after.down - before.down };
}

/** Asks as the broker elsewhere does, for the sizes of the answers. */
class Follower {
  readonly #fleet: Fleet;
  #cursor: number | null = null;
  #trustCursor = "";

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /** Reads all that is new; returns how many bytes the bodies of the answers had. */
  async catchUp(): Promise<number> {
    const { httpPort: port, caPem, broker } = this.#fleet;
    let bytes = 0;
    for (;;) {
      const cursor = this.#cursor === null ? "" : `&cursor=${this.#cursor}`;
      const path = `/revoke/trl?diff=0${cursor}&trust=${encodeURIComponent(this.#trustCursor)}`;
      const body = await fetchBody({ port, caPem, path, identity: { cert: broker.cert, key: broker.key } });
      const answer = decodeTrl(body);
      this.#cursor = answer.cursor ?? null;
      this.#trustCursor = answer.trust?.cursor ?? "";
      bytes += body.length;
      if (answer.more !== true && answer.trust?.more !== true) return bytes;
    }
  }
}

async function stop(
  admin: HttpConnection,
  broker: Child,
  authority: Child,
  proxy: CountingProxy,
  fleet: Fleet,
): Promise<void> {
  admin.close();
  await broker.stop();
  await authority.stop();
  proxy.close();
  fleet.remove();
}

function print({ size, calls, burst }: FeedPlan, first: Moved, rows: readonly string[][]): void {
  const clients = size.bearer + size.bound + size.certified;
  printHeading("Bytes to a broker elsewhere");
  printNote(
    `Bytes for each revocation, ${calls} of each kind one at a time, medians, and ${burst} in a row. “To the broker” and “from the ` +
      "broker” are counted by a TCP proxy: answer and next question with their HTTP headers in TLS 1.3 records, without TCP/IP; " +
      "“answer” is the body alone, as RFC 9770 with the additions for brokers has it. A token's hash is 33 bytes, so 35 in CBOR. " +
      `The first view, of ${clients} clients, took ${first.down} bytes to the broker and ${first.up} from it, handshake included.`,
  );
  printTable([["revoked", "to the broker", "of which answer", "from the broker"], ...rows]);
}
