/**
 * The agent as a library, `import { openAgent } from "postern/agent"`: an enrolled folder becomes a client that stays
 * connected, with its token fetched, proven and renewed.
 *
 * The private key is read from the folder and used to sign; it is not given to anybody.
 */
import { createPrivateKey } from "node:crypto";
import { createSigner } from "../shared/es256.ts";
import { mayPublish, type Grant } from "../shared/scope.ts";
import { openServerClock } from "./clock.ts";
import {
  createConnection,
  type Connection,
  type ConnectionEvents,
  type MessageListener,
  type Retry,
} from "./connection.ts";
import { AgentFailure } from "./failure.ts";
import { openSession, type Message, type PublishOptions } from "./session.ts";
import { readIdentity, readTokens, type AgentApi, type AgentIdentity, type Enrolment } from "./state.ts";
import { readGrants, toText } from "./token-text.ts";
import { openTokenSource } from "./tokens.ts";

export { AgentFailure, type FailureKind } from "./failure.ts";
export { readMachine, type MachineReading } from "./machine.ts";
export { defaultAgentDir } from "./state.ts";
export type { ConnectionEvents, Message, MessageListener, PublishOptions, Retry };

/** Which agent, for which api, and how patient. */
export interface AgentOptions {
  /** The folder that `postern agent enrol` filled. */
  readonly dir: string;
  /** Name or audience of the api to speak to. May be left out when the agent has one api of kind mqtt. */
  readonly api?: string;
  /** Added to the client id after a colon, so that a second connection does not end the first. `[A-Za-z0-9_-]{1,64}`. */
  readonly suffix?: string;
  /** Less than the roles allow; absent, all of it. */
  readonly scope?: readonly Grant[];
  /** How to prove the key to the authority. Default `certificate`; `assertion` where TLS ends before the authority. */
  readonly proof?: "certificate" | "assertion";
  /** Try again when a session ends or cannot be opened; or only once it was open. Default `always`. */
  readonly retry?: Retry;
  /** Default true: the broker keeps no session while the agent is away. */
  readonly clean?: boolean;
  /** Default 60. */
  readonly keepaliveSeconds?: number;
  /** Hears of every event, for a log. Never given a secret, a token or a payload. */
  readonly log?: (event: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** A token in the agent's hands. */
export interface AgentToken {
  readonly bytes: Uint8Array;
  /** base64url of a CWT, a JWT as it is. */
  readonly text: string;
  readonly expiresInSeconds: number;
}

/** An enrolled agent. Nothing is connected before {@link Connection.connect}. */
export interface Agent extends Connection {
  /** `<project>.<name>`: the token's subject. */
  readonly clientId: string;
  readonly api: AgentApi;
  /** A token with enough life left, from the cache or the authority. */
  token(): Promise<AgentToken>;
  /** What that token allows; empty for an api of kind http. */
  grants(): Promise<readonly Grant[]>;
}

/** Enrols `dir` with a ticket; see agent/enrol.ts. */
export async function enrol(ticket: string, dir: string): Promise<Enrolment> {
  return (await import("./enrol.ts")).enrol(ticket, dir);
}

/**
 * Opens an enrolled agent. When the folder knows no fitting api, the authority is asked whether there is one by now.
 * Rejects with {@link AgentFailure}: `not-enrolled`, or `refused` when there is none.
 */
export async function openRefreshedAgent(options: AgentOptions): Promise<Agent> {
  try {
    return openAgent(options);
  } catch (error) {
    if (!(error instanceof AgentFailure) || error.code !== "no-api") throw error;
    await relearn(options.dir);
    return openAgent(options);
  }
}

/** Opens an enrolled agent. Throws {@link AgentFailure} `not-enrolled` or, for an unknown api, `refused`. */
export function openAgent(options: AgentOptions): Agent {
  const identity = readIdentity(options.dir);
  const { clientId } = identity.enrolment;
  let broker = identity.enrolment.brokers.mqtts;
  const api = chooseApi(identity, options.api);
  const clock = openServerClock(readTokens(options.dir).time);
  const wish = {
    audience: api.audience,
    ...(options.scope !== undefined && { scope: options.scope }),
    ...(options.proof !== undefined && { proof: options.proof }),
  };
  // the old certificate still serves, but whoever runs this device must hear of it before it ends
  const tokens = openTokenSource(options.dir, identity, clock, wish, (failure) => {
    connection.events.emit(failure.kind === "refused" ? "refused" : "unreachable", failure);
  });
  const signer = createSigner("", createPrivateKey(identity.keyPem));
  const connection = createConnection({
    tokens,
    clock,
    ...(options.retry !== undefined && { retry: options.retry }),
    open: async (token, hearing) => {
      if (api.kind !== "mqtt") throw new AgentFailure("refused", `api ${api.name} is not of kind mqtt`);
      if (broker === null) throw new AgentFailure("refused", "the authority named no broker");
      return openSession({
        broker,
        caPem: identity.caPem,
        clientId: options.suffix === undefined ? clientId : `${clientId}:${options.suffix}`,
        token,
        signer,
        ...hearing,
        ...(options.clean !== undefined && { clean: options.clean }),
        ...(options.keepaliveSeconds !== undefined && { keepaliveSeconds: options.keepaliveSeconds }),
      });
    },
  });
  // a broker that is not where it was may have moved: ask again, before the next attempt but not in its way
  connection.events.on("unreachable", () => {
    if (options.retry === "never") return;
    relearn(options.dir).then(
      (enrolment) => (broker = enrolment.brokers.mqtts),
      () => undefined,
    );
  });
  if (options.log !== undefined) logEvents(connection, options.log);
  const grants = async (): Promise<readonly Grant[]> => readGrants((await tokens.current()).token);
  return {
    ...connection,
    clientId,
    api,
    grants,
    async publish(topic, payload, publishOptions) {
      try {
        await connection.publish(topic, payload, publishOptions);
      } catch (error) {
        throw await explainPublish(error, topic, clientId, grants);
      }
    },
    async token() {
      const { token, expiresAtSeconds } = await tokens.current();
      return { bytes: token, text: toText(token), expiresInSeconds: expiresAtSeconds - clock.nowSeconds() };
    },
  };
}

/** A broker closes on a publish that is not allowed and need not say why (MQTT 3.1.1); the token tells. */
async function explainPublish(
  failure: unknown,
  topic: string,
  clientId: string,
  grants: () => Promise<readonly Grant[]>,
): Promise<unknown> {
  if (!(failure instanceof AgentFailure) || failure.kind === "not-connected") return failure;
  const allowed = await grants().catch(() => undefined);
  if (allowed === undefined || mayPublish(allowed, topic)) return failure;
  return toRefusedPublish(topic, clientId, allowed, failure);
}

/** What somebody is told who publishes, or would, on a topic that the grants do not cover. */
export function toRefusedPublish(
  topic: string,
  clientId: string,
  allowed: readonly Grant[],
  cause?: unknown,
): AgentFailure {
  const filters = allowed.filter(({ pub }) => pub).map(({ filter }) => filter);
  const may = filters.length === 0 ? "nothing" : filters.join(" ");
  return new AgentFailure("refused", `${topic} is refused; ${clientId} may publish ${may}`, { cause });
}

/** Asks the authority again what it told at enrolment. */
async function relearn(dir: string): Promise<Enrolment> {
  return (await import("./enrolment.ts")).refreshEnrolment(dir);
}

function chooseApi(identity: AgentIdentity, wanted: string | undefined): AgentApi {
  const { apis, clientId } = identity.enrolment;
  const candidates =
    wanted === undefined
      ? apis.filter(({ kind }) => kind === "mqtt")
      : apis.filter(({ name, audience }) => name === wanted || audience === wanted);
  const [api, ...others] = candidates;
  if (api !== undefined && others.length === 0) return api;
  const names = apis.map(({ name }) => name).join(", ");
  if (api === undefined) {
    throw new AgentFailure("refused", `${clientId} has no api ${wanted ?? "of kind mqtt"}`, { code: "no-api" });
  }
  throw new AgentFailure("refused", `${clientId} has several apis, name one: ${names}`);
}

function logEvents({ events }: Connection, log: NonNullable<AgentOptions["log"]>): void {
  events.on("connected", () => log("connected", {}));
  events.on("disconnected", (failure) => log("disconnected", facts(failure)));
  events.on("refused", (failure) => log("refused", facts(failure)));
  events.on("unreachable", (failure) => log("unreachable", facts(failure)));
  events.on("waiting", (delayMs) => log("waiting", { delayMs }));
  events.on("renewed", (expiresAtSeconds) => log("renewed", { expiresAtSeconds }));
}

function facts({ kind, code, message }: AgentFailure): Readonly<Record<string, unknown>> {
  return { kind, code, why: message };
}
