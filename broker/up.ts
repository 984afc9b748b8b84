/**
 * `postern up`: authority and broker in one process on one data directory, wired together here and taken down in reverse.
 *
 * The first run makes what is missing: CA, server certificate, signing key, admin key. What a client must reach is
 * written to `authority.json`, so that commands with `--data` find it.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Logger } from "pino";
import { nameAuthority } from "../shared/device-certificate.ts";
import { refuse } from "../shared/refusal.ts";
import { openAccounts, type PosternAccounts } from "./accounts.ts";
import { writeFileAtomically } from "./authority/atomic-file.ts";
import { startAuthority } from "./authority/authority.ts";
import { openCertificateAuthority } from "./authority/certificates/certificates.ts";
import type { BrokerAddresses } from "./authority/context.ts";
import { watchLists } from "./authority/certificates/watch-lists.ts";
import { authorityLimitsOf, defaultLimits } from "./limits.ts";
import type { PosternLimits } from "./limits.ts";
import { openMetrics } from "./metrics.ts";
import { makeDirectory, Opened } from "./opened.ts";
import { recordAtGate } from "./record-at-gate.ts";
import { lockDirectory } from "./registry/database.ts";
import { openRegistry } from "./registry/open-registry.ts";
import { serveMqtt, type MqttPlace } from "./serve-mqtt.ts";
import { createMemoryTrust } from "./trust/memory-trust.ts";

/** Where an installation keeps its data, and where it listens. */
export interface PosternOptions extends MqttPlace {
  readonly dataDir: string;
  /** The name under which clients reach this machine. Default `localhost`. */
  readonly host?: string;
  /** The port of the authority, which listens where the broker does; 0 takes a free one. */
  readonly httpPort: number;
  /** Those that are to differ from {@link defaultLimits}. */
  readonly limits?: Partial<PosternLimits>;
  readonly accounts?: PosternAccounts;
  readonly log: Logger;
}

/** A running installation. Addresses are URLs. */
export interface Postern {
  readonly issuer: string;
  readonly mqtts: string;
  readonly wss: string;
  readonly mqtt: string | null;
  readonly caFile: string;
  readonly adminKeyFile: string;
  close(): Promise<void>;
}

/** Listening on one of these, it is reached as localhost. */
const localAddresses: ReadonlySet<string> = new Set(["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"]);
/** How often the server certificate is looked at, and renewed when little of its life is left. */
const renewalCheckMs = 24 * 3600 * 1000;

/** Starts everything, or nothing: what was opened is closed again when a later step fails. */
export async function startPostern(options: PosternOptions): Promise<Postern> {
  const { dataDir, log } = options;
  const limits: PosternLimits = { ...defaultLimits, ...options.limits };
  const host = options.host ?? "localhost";
  const name = host.includes(":") ? `[${host}]` : host;
  makeDirectory(resolve(dataDir));

  const opened = new Opened();
  try {
    const accounts = openAccounts(options.accounts ?? {}, log, opened);
    opened.push(lockDirectory(dataDir));
    const metrics = openMetrics();
    opened.push(() => metrics.close());
    const ca = await openCertificateAuthority(dataDir);
    const tls = await ca.issueServer([host]);
    const adminKeyFile = join(dataDir, "admin.key");

    const identity = {
      issuer: "",
      deviceAuthorities: [{ id: nameAuthority(ca.caCertificate), certificate: ca.caCertificate }],
    };
    const trust = createMemoryTrust(identity);
    const checkpointsFailed = (error: unknown): void => {
      log.warn({ err: error as Error }, "checkpoints of the registry hold the event loop: their thread has failed");
    };
    const registry = openRegistry({ file: join(dataDir, "postern.db"), sink: trust, checkpointsFailed });
    opened.push(() => registry.close());

    const brokers: BrokerAddresses = { mqtts: null, wss: null, mqtt: null };
    const authority = await startAuthority({
      registry,
      ca,
      tls,
      brokers,
      log,
      host: options.bind,
      port: options.httpPort,
      adminKey: openAdminKey(adminKeyFile),
      hostName: name,
      accounts,
      limits: authorityLimitsOf(limits),
      metrics: () => metrics.scrape(),
    });
    opened.push(() => authority.close());
    identity.issuer = authority.url;

    const lists = watchLists(registry, log);
    opened.push(() => lists.close());
    const mqttSide = await serveMqtt(
      {
        dataDir,
        place: options,
        name,
        trust,
        tls: { cert: tls.cert, key: tls.key, ca: ca.caPem },
        limits,
        metrics,
        log,
        figures: { lists: () => lists.read() },
        refused: (refused) => recordAtGate(registry, refused),
      },
      opened,
    );

    let current = tls.cert;
    const renewServerCertificate = async (): Promise<void> => {
      const renewed = await ca.issueServer([host]);
      if (renewed.cert === current) return;
      current = renewed.cert;
      authority.renewTls(renewed);
      mqttSide.renewTls({ ...renewed, ca: ca.caPem });
      log.info("server certificate renewed");
    };
    const renewal = setInterval(() => {
      renewServerCertificate().catch((error: unknown) => log.error({ err: error }, "server certificate not renewed"));
    }, renewalCheckMs);
    renewal.unref();
    opened.push(() => clearInterval(renewal));

    const { mqtts, wss, mqtt } = mqttSide;
    Object.assign(brokers, { mqtts, wss, mqtt });

    const isLocal = options.bind === undefined || localAddresses.has(options.bind);
    const addresses = { url: authority.url, ...(isLocal && { local: `https://localhost:${authority.port}` }) };
    writeFileAtomically(join(dataDir, "authority.json"), `${JSON.stringify(addresses)}\n`, 0o644);
    return {
      issuer: authority.url,
      mqtts,
      wss,
      mqtt,
      caFile: join(dataDir, "ca.pem"),
      adminKeyFile,
      close: () => opened.close(),
    };
  } catch (error) {
    // what went wrong first is what the caller is told
    await opened.close().catch((failure: unknown) => log.error({ err: failure }, "closing failed"));
    throw error;
  }
}

/** The administrator's key: made on the first run, readable by its owner alone. */
function openAdminKey(file: string): string {
  if (!existsSync(file)) writeFileAtomically(file, `${randomBytes(32).toString("base64url")}\n`, 0o600);
  chmodSync(file, 0o600);
  const key = readFileSync(file, "utf8").trim();
  if (key.length < 32) refuse("registry.invalid", `${file} holds no key of 32 characters or more`);
  return key;
}
