/**
 * What happens in this process, as Prometheus reads it: the text format 0.0.4. Every name is in docs/operating.md.
 *
 * Whoever does the work adds one to a field; all else is done when somebody asks. Labels come from closed lists
 * (kinds, gates, reasons, QoS) and from names that the operator gave to authorities, so that no client can add a series, and
 * no text names a client, an address or a topic.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Reason } from "../shared/refusal.ts";
import { monitorEventLoop } from "./event-loop-delay.ts";
import type { GateMeter, Gateway } from "./gate/meter.ts";
import type { Drop, EngineMeter } from "./mqtt/meter.ts";
import type { FeedOutcome } from "./trust/feed.ts";
import { readVersion } from "./version.ts";

/** What is asked for its size at each scrape. */
export interface Figures {
  /** Live sessions. */
  sessions(): number;
  /** What the store holds. */
  sizes?(): {
    readonly sessions: number;
    readonly queued: number;
    readonly queuedBytes: number;
    readonly retained: number;
  };
  /** What is on the lists of what was taken back. */
  revoked?(): { readonly tokens: number; readonly certificates: number };
  /** The authorities elsewhere by name, and whether their list of revoked certificates is too old or not there. */
  lists?(): ReadonlyMap<string, boolean>;
  /** How an authority elsewhere is seen. Seconds. */
  trust?(): { readonly ageSeconds: number; readonly isStale: boolean; readonly offsetSeconds: number };
}

/** The metrics of one process. */
export interface Metrics {
  /** For the gate and the engine. */
  readonly meter: GateMeter & EngineMeter;
  /** An authority elsewhere was asked; what came of it. */
  contacted(outcome: FeedOutcome): void;
  /** Says whom to ask for sizes, once they are open; until then they are 0. */
  follow(figures: Figures): void;
  /** Everything as text. */
  scrape(): Promise<{ readonly contentType: string; readonly text: string }>;
  close(): void;
}

type Series = readonly [labels: Readonly<Record<string, string>>, value: number];

/** Shortest to longest, in seconds: from a fast disk to one that is in trouble. */
const commitBuckets = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Opens metrics with a registry of their own; the one that all users of the library share is left alone. */
export function openMetrics(): Metrics {
  const registry = new Registry();
  const eventLoop = monitorEventLoop();
  let figures: Figures = { sessions: () => 0 };

  let accepted = 0;
  let ended = 0;
  const opened = { token: 0, roles: 0, anonymous: 0 };
  const refused: Record<Gateway, Map<Reason, number>> = {
    connect: new Map(),
    publish: new Map(),
    subscribe: new Map(),
    deliver: new Map(),
    will: new Map(),
    "authz-info": new Map(),
    arrival: new Map(),
    wire: new Map(),
  };
  const takenBack = new Map<Reason, number>();
  const received: [number, number, number] = [0, 0, 0];
  const sent: [number, number, number] = [0, 0, 0];
  const dropped: Record<Drop, number> = {
    "slow-reader": 0,
    "waiting-full": 0,
    "queue-messages": 0,
    "queue-bytes": 0,
    "queue-age": 0,
    "store-bytes": 0,
    "retained-topics": 0,
    "retained-of-client": 0,
    "retained-bytes": 0,
  };

  const contacts: Record<FeedOutcome, number> = {
    heard: 0,
    lost: 0,
    unreachable: 0,
    refused: 0,
    failed: 0,
    malformed: 0,
  };

  const registers = [registry];
  const count = (name: string, help: string, labelNames: string[], read: () => Iterable<Series>): void => {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        counter.reset();
        for (const [labels, value] of read()) counter.inc(labels, value);
      },
    });
  };
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(read()) });
  };
  const lists: Gauge = new Gauge({
    name: "postern_crl_expired",
    help: "Whether the list of another authority is too old or missing.",
    labelNames: ["authority"],
    registers,
    collect() {
      lists.reset();
      for (const [authority, isExpired] of figures.lists?.() ?? []) lists.set({ authority }, isExpired ? 1 : 0);
    },
  });
  const sizes = () => figures.sizes?.() ?? { sessions: 0, queued: 0, queuedBytes: 0, retained: 0 };

  count("postern_connections_accepted_total", "Connections taken, before any handshake.", [], () => [[{}, accepted]]);
  count("postern_sessions_opened_total", "Sessions opened, by what they stand on.", ["kind"], () =>
    seriesOf("kind", opened),
  );
  count("postern_sessions_ended_total", "Sessions whose connection is gone.", [], () => [[{}, ended]]);
  count("postern_refusals_total", "Refusals, by where and why.", ["at", "reason"], () =>
    Object.entries(refused).flatMap(([at, reasons]) =>
      [...reasons].map(([reason, value]): Series => [{ at, reason }, value]),
    ),
  );
  count("postern_sessions_taken_back_total", "Sessions ended because what they stood on was revoked.", ["reason"], () =>
    [...takenBack].map(([reason, value]): Series => [{ reason }, value]),
  );
  count("postern_messages_received_total", "PUBLISH packets received.", ["qos"], () => seriesOf("qos", received));
  count("postern_messages_sent_total", "PUBLISH packets sent.", ["qos"], () => seriesOf("qos", sent));
  count("postern_messages_dropped_total", "Messages not sent or not stored, by why.", ["reason"], () =>
    seriesOf("reason", dropped),
  );

  gauge("postern_sessions", "Live sessions.", () => figures.sessions());
  gauge("postern_revoked_tokens", "Hashes of revoked tokens.", () => figures.revoked?.().tokens ?? 0);
  gauge(
    "postern_revoked_certificates",
    "Certificates on the list of revoked ones.",
    () => figures.revoked?.().certificates ?? 0,
  );
  gauge("postern_stored_sessions", "Sessions in the store.", () => sizes().sessions);
  gauge("postern_queued_messages", "Messages that wait in the store for a client.", () => sizes().queued);
  gauge("postern_queued_bytes", "Their bytes.", () => sizes().queuedBytes);
  gauge("postern_retained_topics", "Topics with a retained message.", () => sizes().retained);
  const view = () => figures.trust?.() ?? { ageSeconds: 0, isStale: false, offsetSeconds: 0 };
  count("postern_trust_contacts_total", "Requests to an authority elsewhere, by what came of them.", ["outcome"], () =>
    seriesOf("outcome", contacts),
  );
  gauge("postern_trust_age_seconds", "Since all that the authority knows was known here.", () => view().ageSeconds);
  gauge("postern_trust_stale", "1 while nobody new is admitted for that.", () => (view().isStale ? 1 : 0));
  gauge("postern_trust_clock_offset_seconds", "How far the authority's clock is ahead.", () => view().offsetSeconds);
  const commits = new Histogram({
    name: "postern_store_commit_seconds",
    help: "How long commits of the store took.",
    buckets: commitBuckets,
    registers,
  });

  const ofLoop = "of the event loop over the last half to whole minute.";
  gauge("postern_event_loop_delay_p50_seconds", `Median delay ${ofLoop}`, () => eventLoop.read().p50);
  gauge("postern_event_loop_delay_p99_seconds", `99th percentile of the delay ${ofLoop}`, () => eventLoop.read().p99);
  gauge("postern_event_loop_delay_max_seconds", `Longest delay ${ofLoop}`, () => eventLoop.read().max);

  // under the names that dashboards know
  count("process_cpu_seconds_total", "CPU time of the process, user and system.", [], () => {
    const { user, system } = process.cpuUsage();
    return [[{}, (user + system) / 1e6]];
  });
  gauge("process_resident_memory_bytes", "Resident memory of the process.", () => process.memoryUsage.rss());
  gauge("process_start_time_seconds", "When the process started, since 1970.", () => performance.timeOrigin / 1000);
  gauge("nodejs_heap_size_used_bytes", "Heap of the process in use.", () => process.memoryUsage().heapUsed);
  const build = new Gauge({
    name: "postern_build_info",
    help: "Always 1; what runs is in the labels.",
    labelNames: ["version", "node"],
    registers,
  });
  build.set({ version: readVersion(), node: process.version }, 1);

  return {
    meter: {
      accepted: () => void accepted++,
      received: (qos) => void received[qos]++,
      sent: (qos) => void sent[qos]++,
      dropped: (why) => void dropped[why]++,
      stored: (seconds) => commits.observe(seconds),
      admitted: (kind) => void opened[kind]++,
      refused: (at, reason) => void refused[at].set(reason, (refused[at].get(reason) ?? 0) + 1),
      ended: () => void ended++,
      takenBack: (reason) => void takenBack.set(reason, (takenBack.get(reason) ?? 0) + 1),
    },
    contacted: (outcome) => void contacts[outcome]++,
    follow: (given) => void (figures = given),
    scrape: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    close: () => eventLoop.close(),
  };
}

/** One series for each member, also of those that are still 0. */
function seriesOf(label: string, counts: Readonly<Record<string, number>> | readonly number[]): Series[] {
  return Object.entries(counts).map(([name, value]): Series => [{ [label]: name }, value]);
}
