/**
 * `postern broker`: a broker without its authority, on a data directory of its own. What it must know to admit anybody comes
 * over the feed of the authority and is kept in a copy, so that it starts and serves while the authority is away.
 *
 * Nobody new is admitted before the authority was heard once, nor when it was not heard for longer than may be.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { writeFileAtomically } from "./authority/atomic-file.ts";
import { defaultLimits } from "./limits.ts";
import type { PosternLimits } from "./limits.ts";
import { openMetrics } from "./metrics.ts";
import type { ServerTls } from "./mqtt/listeners.ts";
import { makeDirectory, Opened } from "./opened.ts";
import { lockDirectory } from "./registry/database.ts";
import { serveMqtt, type MqttPlace } from "./serve-mqtt.ts";
import { openPages } from "./standalone-pages.ts";
import { openCopy } from "./trust/copy.ts";
import { openFeedClock } from "./trust/feed-clock.ts";
import { followAuthority } from "./trust/feed.ts";
import { defaultFeedLimits, type FeedLimits } from "./trust/feed-limits.ts";
import { createMemoryTrust } from "./trust/memory-trust.ts";

/** A certificate and its key, PEM. The certificate is for a server and for a client: listeners and the feed show it. */
export interface BrokerCredential {
  readonly cert: string;
  readonly key: string;
}

/** Who this broker is, and whom it belongs to. */
export interface BrokerIdentity {
  readonly name: string;
  /** URL of the authority, which is the `iss` of every token that is accepted. */
  readonly authority: string;
  /** PEM of the authority for certificates: of the authority's server, and told to clients that are asked for theirs. */
  readonly caPem: string;
  /** What to show from now on; read at every connection to the authority. */
  current(): BrokerCredential;
}

/** Where the broker keeps its data, who it is, and where it listens. */
export interface StandaloneOptions extends MqttPlace {
  /** Made where it is missing. */
  readonly dataDir: string;
  readonly identity: BrokerIdentity;
  /** The name under which clients reach this machine. Default `localhost`. */
  readonly host?: string;
  /** Those that are to differ from the defaults. */
  readonly limits?: Partial<PosternLimits>;
  /** After so long without the authority nobody new is admitted. Default a day. */
  readonly maxStalenessSeconds?: number;
  /** How long a start without a fresh view waits for the authority. Default 10 s. */
  readonly firstViewMilliseconds?: number;
  /** Those of the feed that are to differ. */
  readonly feed?: Partial<FeedLimits>;
  readonly log: Logger;
}

/** How long a start with a view that is fresh waits for what is new: not at all where the authority is known to be away. */
const freshViewMilliseconds = 2000;

/** A running broker. Addresses are URLs. */
export interface Standalone {
  readonly mqtts: string;
  readonly wss: string;
  readonly mqtt: string | null;
  readonly caFile: string;
  /** Uses another certificate from now on; connections stay. */
  renewTls(credential: BrokerCredential): void;
  close(): Promise<void>;
}

/** Starts the broker, or nothing: what was opened is closed again when a later step fails. */
export async function startBroker(options: StandaloneOptions): Promise<Standalone> {
  const { dataDir, identity, log, host = "localhost" } = options;
  const limits: PosternLimits = { ...defaultLimits, ...options.limits };
  const caFile = join(dataDir, "ca.pem");
  const tlsOf = ({ cert, key }: BrokerCredential): ServerTls => ({ cert, key, ca: identity.caPem });
  makeDirectory(resolve(dataDir));

  const opened = new Opened();
  try {
    opened.push(lockDirectory(dataDir));
    if (!existsSync(caFile) || readFileSync(caFile, "utf8") !== identity.caPem) {
      writeFileAtomically(caFile, identity.caPem, 0o644);
    }
    const metrics = openMetrics();
    opened.push(() => metrics.close());

    const issuer = identity.authority;
    const { maxStalenessSeconds = defaultFeedLimits.maxStalenessSeconds } = options;
    const isStale = (): boolean => clock.ageSeconds > maxStalenessSeconds;
    const trust = createMemoryTrust({ issuer, isStale });
    const copy = openCopy({ file: join(dataDir, "trust.db"), issuer, trust, log });
    opened.push(() => copy.close());
    const clock = openFeedClock(log, copy.remembered);
    /** What comes while nobody follows it would be lost on the sessions that are stored. */
    const follow = async (): Promise<void> => {
      let unheard: (() => void) | undefined;
      const isUnheard = new Promise<void>((resolve) => (unheard = resolve));
      const following = followAuthority({
        authority: { url: issuer, caPem: identity.caPem, credential: () => identity.current() },
        copy,
        clock,
        log,
        limits: { ...options.feed, maxStalenessSeconds },
        contact: (outcome) => {
          metrics.contacted(outcome);
          if (outcome !== "heard" && outcome !== "lost") unheard?.();
        },
      });
      opened.push(() => following.close());
      const { firstViewMilliseconds = 10_000 } = options;
      const milliseconds = isStale() ? firstViewMilliseconds : Math.min(firstViewMilliseconds, freshViewMilliseconds);
      const enough = isStale() ? [] : [isUnheard];
      await Promise.race([following.first, delay(milliseconds, undefined, { ref: false }), ...enough]);
    };

    const mqtt = await serveMqtt(
      {
        dataDir,
        place: options,
        name: host.includes(":") ? `[${host}]` : host,
        trust,
        tls: tlsOf(identity.current()),
        limits,
        metrics,
        log,
        nowSeconds: () => clock.nowSeconds(),
        figures: {
          trust: () => ({ ageSeconds: clock.ageSeconds, isStale: isStale(), offsetSeconds: clock.offsetSeconds }),
        },
        pages: openPages(metrics, isStale),
        beforeServing: follow,
      },
      opened,
    );
    return {
      mqtts: mqtt.mqtts,
      wss: mqtt.wss,
      mqtt: mqtt.mqtt,
      caFile,
      renewTls: (credential) => mqtt.renewTls(tlsOf(credential)),
      close: () => opened.close(),
    };
  } catch (error) {
    // what went wrong first is what the caller is told
    await opened.close().catch((failure: unknown) => log.error({ err: failure }, "closing failed"));
    throw error;
  }
}
