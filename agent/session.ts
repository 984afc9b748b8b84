/**
 * One MQTT session over one TLS connection, opened with a token and a proof of possession of its key (RFC 9431, section
 * 6.1): user name `ace` and the token, password the signature over this connection's exporter.
 *
 * The proof is worth nothing in another connection, so there is no reconnecting here: a session that ended is over, and
 * whatever was not acknowledged is rejected. Refuses TLS below 1.3, where the exporter is not unambiguous.
 */
import type { TLSSocket } from "node:tls";
import type { MqttClient } from "mqtt";
import { toBase64url } from "../shared/base64url.ts";
import type { Signer } from "../shared/es256.ts";
import { exporterValue } from "../shared/proof.ts";
import { SESSION_NEWS } from "../shared/topic.ts";
import { AgentFailure, printable, toFailure } from "./failure.ts";
import { openSocket } from "./socket.ts";

/** A message that arrived. */
export interface Message {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
}

/** How a message is published. Default QoS 0, not retained. */
export interface PublishOptions {
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
}

/** Where to connect, as whom, with what. */
export interface SessionOptions {
  /** `mqtts://host:port`. */
  readonly broker: string;
  readonly caPem: string;
  readonly clientId: string;
  readonly token: Uint8Array;
  readonly signer: Signer;
  /** Default true: the broker keeps nothing. */
  readonly clean?: boolean;
  /** Default 60. */
  readonly keepaliveSeconds?: number;
  readonly onMessage: (message: Message) => void;
  /** Hears what the broker says of this session, once the session is subscribed to `$postern/session`. */
  readonly onNews: (news: SessionNews) => void;
}

/** JSON on `$postern/session`: `expiring` and `renewed` with `exp`, `refused` with `says` and `id`. */
export type SessionNews = Readonly<Record<string, unknown>>;

/** One open session. */
export interface Session {
  /** Resolves when written (QoS 0) or acknowledged (QoS 1, 2); rejects when the connection ends before. */
  publish(topic: string, payload: Uint8Array | string, options?: PublishOptions): Promise<void>;
  /** Resolves when granted; rejects `refused` on SUBACK 0x80. */
  subscribe(filter: string, qos: 0 | 1 | 2): Promise<void>;
  /** Resolves, with why, when the session is over. */
  readonly closed: Promise<AgentFailure>;
  /** Ends the session with DISCONNECT: no will is published. */
  close(): Promise<void>;
}

/** For the handshake, and again until CONNACK. */
const timeoutMs = 20_000;

/** Opens the session. Rejects `refused` on CONNACK 4 or 5 and `unreachable` when there is no answer. */
export async function openSession(options: SessionOptions): Promise<Session> {
  // loads while the handshake waits for the network
  const loading = import("mqtt/lib/client");
  loading.catch(() => undefined);
  const socket = await openSocket(options.broker, options.caPem, timeoutMs);
  let client: MqttClient;
  try {
    const { default: module } = await loading;
    // a CommonJS module with a default export: some loaders unwrap it, node does not
    const Client = "default" in module ? module.default : (module as unknown as typeof MqttClient);
    client = new Client(() => socket, {
      clientId: options.clientId,
      username: `ace${toBase64url(options.token)}`,
      password: Buffer.from(options.signer.sign(exporterValue(socket))),
      clean: options.clean ?? true,
      keepalive: options.keepaliveSeconds ?? 60,
      connectTimeout: timeoutMs,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      timerVariant: "native",
      // the cache of all 65,536 packet ids costs a device 10 MB and 30 ms
      writeCache: false,
    });
  } catch (error) {
    socket.destroy();
    throw toFailure(error, options.broker);
  }
  return attach(client, socket, options);
}

/** Waits for CONNACK and gives the session its face. */
function attach(client: MqttClient, socket: TLSSocket, options: SessionOptions): Promise<Session> {
  const unacknowledged = new Set<(failure: AgentFailure) => void>();
  let why: AgentFailure | undefined;
  let isOpen = false;
  const closed = new Promise<AgentFailure>((resolve) => {
    client.once("close", () => {
      const failure = why ?? new AgentFailure("unreachable", `${options.broker}: the broker closed the connection`);
      for (const reject of unacknowledged) reject(failure);
      unacknowledged.clear();
      resolve(failure);
    });
  });
  client.on("error", (error) => (why ??= explain(error, options.broker)));
  client.on("message", (topic, payload, packet) => {
    if (topic === SESSION_NEWS) {
      const news = readNews(payload);
      // the broker says why before it closes
      if (news["event"] === "refused") why ??= toRefusal(news, options.broker);
      return options.onNews(news);
    }
    options.onMessage({ topic, payload, qos: packet.qos, retain: packet.retain });
  });

  /** Runs one exchange with the broker; the end of the connection rejects it. */
  const exchange = (what: string, run: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      const fail = (failure: AgentFailure): void =>
        reject(new AgentFailure(failure.kind, `${what}: ${failure.message}`));
      if (!isOpen || !client.connected) return fail(new AgentFailure("not-connected", "not connected"));
      unacknowledged.add(fail);
      run((error) => {
        // on a lost connection the callback may come before the close event, which knows more
        if (error && !client.connected) return;
        unacknowledged.delete(fail);
        if (error) reject(toFailure(error, what));
        else resolve();
      });
    });

  const session: Session = {
    closed,
    publish: (topic, payload, { qos = 0, retain = false } = {}) =>
      exchange(`publish ${topic}`, (done) => {
        const bytes = typeof payload === "string" ? payload : Buffer.from(payload);
        client.publish(topic, bytes, { qos, retain }, done);
      }),
    subscribe: (filter, qos) =>
      exchange(`subscribe ${filter}`, (done) => {
        client.subscribe(filter, { qos }, (error, _granted, packet) => {
          const refused = packet?.granted.some((code) => typeof code === "number" && code >= 0x80) === true;
          done(
            refused
              ? new AgentFailure("refused", `subscribe ${filter}: the broker refused`, { code: "suback" })
              : error,
          );
        });
      }),
    async close() {
      if (!socket.destroyed) {
        const force = setTimeout(() => socket.destroy(), 2_000);
        client.end(unacknowledged.size > 0);
        await closed;
        clearTimeout(force);
      }
      await closed;
    },
  };

  return new Promise((resolve, reject) => {
    client.once("connect", () => {
      isOpen = true;
      resolve(session);
    });
    void closed.then(reject);
  });
}

function toRefusal({ says, id }: SessionNews, broker: string): AgentFailure {
  const text = typeof says === "string" ? printable(says) : "not authorized";
  const trace = typeof id === "string" ? ` (id ${printable(id)})` : "";
  return new AgentFailure("refused", `${broker}: ${text}${trace}`, { code: "session-news" });
}

/** The news, or nothing at all when it is not what it should be. */
function readNews(payload: Uint8Array): SessionNews {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString("utf8"));
    return typeof value === "object" && value !== null ? (value as SessionNews) : {};
  } catch {
    return {};
  }
}

/** CONNACK codes come as errors with a number; 4 and 5 are a no, 3 (server unavailable) is not. */
function explain(error: Error & { code?: unknown }, broker: string): AgentFailure {
  const { code } = error;
  if (code === 1 || code === 2 || code === 4 || code === 5) {
    const text = code === 4 ? "the broker does not accept the token" : "the broker does not authorize this client";
    return new AgentFailure("refused", `${broker}: ${text}`, { code: `connack-${code}` });
  }
  return toFailure(error, broker);
}
