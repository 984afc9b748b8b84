/**
 * How much of everything the engine room takes, holds and keeps; each has a default and can be set.
 */

/** Connections and what arrives on them. */
export interface WireLimits {
  /** Connections at one time, in all and of one address. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  /** New connections of one address in a minute. */
  readonly connectsPerMinute: number;
  /** TLS handshakes that are worked on at one time; others wait their turn. */
  readonly handshakes: number;
  /** From the accepted connection to CONNACK. */
  readonly connectMilliseconds: number;
  /** Whole packets, fixed header included; before CONNECT is accepted and after. */
  readonly connectBytes: number;
  readonly packetBytes: number;
  /** Filters of one SUBSCRIBE or UNSUBSCRIBE. */
  readonly filtersPerPacket: number;
  /** Packets of one session in a second; beyond, it is read no faster. */
  readonly packetsPerSecond: number;
  /** PUBLISH of QoS 2 of one session that wait for their PUBREL. */
  readonly receipts: number;
}

/** What leaves for a client. */
export interface DeliveryLimits {
  /** PUBLISH of QoS 1 and 2 sent to one client and not acknowledged; others wait. */
  readonly window: number;
  /** Bytes that may wait for one client to read them. Beyond, QoS 0 is dropped, and QoS 1 and 2 wait. */
  readonly sendBytes: number;
  /** How long a publisher waits for a reader that does not keep up, before that reader is left behind. */
  readonly holdMilliseconds: number;
  /** A client that reads nothing of what waits for so long is disconnected. */
  readonly stallMilliseconds: number;
  /** Messages, and their bytes, that wait in memory for a client without a stored session. */
  readonly waitingMessages: number;
  readonly waitingBytes: number;
}

/** What is kept on disk. */
export interface StoreLimits {
  /** Messages waiting for one stored session, and their bytes; a message that comes on top is not kept for it. */
  readonly queueMessages: number;
  readonly queueBytes: number;
  /** Seconds after which a waiting message is dropped. */
  readonly queueSeconds: number;
  /** Bytes of all waiting messages. */
  readonly storeBytes: number;
  /** Stored sessions, in all and of one client (its id and the ids with a suffix). */
  readonly sessions: number;
  readonly sessionsPerClient: number;
  /** Seconds after its client left when a stored session ends. */
  readonly sessionSeconds: number;
  /** Topics with a retained message, in all and of one client. */
  readonly retainedTopics: number;
  readonly retainedPerClient: number;
  /** Bytes of the payloads of retained messages, in all and of one client. */
  readonly retainedBytes: number;
  readonly retainedBytesPerClient: number;
}

/** Everything that the engine room limits. */
export interface EngineLimits extends WireLimits, DeliveryLimits, StoreLimits {}

/** What applies where nothing else is set. */
export const defaultLimits: EngineLimits = {
  connections: 20_000,
  connectionsPerAddress: 2000,
  connectsPerMinute: 6000,
  handshakes: 2,
  connectMilliseconds: 10_000,
  connectBytes: 16 * 1024,
  packetBytes: 256 * 1024,
  filtersPerPacket: 1000,
  packetsPerSecond: 5000,
  receipts: 1000,

  window: 100,
  sendBytes: 1024 * 1024,
  holdMilliseconds: 50,
  stallMilliseconds: 10_000,
  waitingMessages: 1000,
  waitingBytes: 1024 * 1024,

  queueMessages: 1000,
  queueBytes: 4 * 1024 * 1024,
  queueSeconds: 7 * 24 * 3600,
  storeBytes: 1024 * 1024 * 1024,
  sessions: 100_000,
  sessionsPerClient: 10,
  sessionSeconds: 7 * 24 * 3600,
  retainedTopics: 200_000,
  retainedPerClient: 10_000,
  retainedBytes: 1024 * 1024 * 1024,
  retainedBytesPerClient: 64 * 1024 * 1024,
};
