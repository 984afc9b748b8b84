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
import { followAuthority, type Feed } from "./trust/feed.ts";
import type { FeedLimits } from "./trust/feed-limits.ts";
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

    let feed: Feed | undefined;
    const isStale = (): boolean => feed?.isStale ?? true;
    const issuer = identity.authority;
    const trust = createMemoryTrust({ issuer, isStale });
    const copy = openCopy({ file: join(dataDir, "trust.db"), issuer, trust, log });
    opened.push(() => copy.close());
    const clock = openFeedClock(log, copy.remembered);
    const { maxStalenessSeconds } = options;
    const following = followAuthority({
      authority: { url: issuer, caPem: identity.caPem, credential: () => identity.current() },
      copy,
      clock,
      log,
      limits: { ...options.feed, ...(maxStalenessSeconds !== undefined && { maxStalenessSeconds }) },
      contact: (outcome) => metrics.contacted(outcome),
    });
    opened.push(() => following.close());
    feed = following;
    if (isStale()) {
      const { firstViewMilliseconds = 10_000 } = options;
      await Promise.race([following.first, delay(firstViewMilliseconds, undefined, { ref: false })]);
    }

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
