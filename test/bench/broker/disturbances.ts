/**
 * What keeps a broker busy while a pair of its clients is watched: a crowd that comes back, a flood, a client that does not
 * read.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BENCH_TOPICS, DEVICE, type Installation } from "../installation.ts";
import type { CrowdSpec } from "./crowd.ts";
import type { LoadChild } from "./load-child.ts";
import type { Watched } from "./pair.ts";
import { connectFrame, type Rival } from "./rivals.ts";
import type { SwarmSpec } from "./swarm.ts";

/** How much of each. */
export interface DisturbancePlan {
  /** Of each but the reconnecting, which takes as long as it takes. */
  readonly milliseconds: number;
  /** Until what lies between a flood and a client that does not read is full. */
  readonly fillMilliseconds: number;
  readonly reconnecting: number;
}

/** Watches the pair while something goes on. */
export type Watch = (meanwhile: () => Promise<unknown>) => Promise<Watched>;

/** Something that keeps a broker busy. */
export interface Disturbance {
  readonly name: string;
  /** Of its own quiet p99. */
  readonly goal?: number;
  /** More has been sent than a broker soon gets through. */
  readonly leavesBacklog?: boolean;
  /** Keeps the broker busy; what `watch` is given is what is watched. */
  disturb(rival: Rival, load: LoadChild, watch: Watch): Promise<Watched>;
}

const flooders = 50;
const unreadFlooders = 20;
const unreadPerSecond = 5000;
const unreadPayloadBytes = 4096;
const floodMs = 200;
const warmUpClients = 200;
const warmUpMs = 500;
const reconnectAtATime = 250;

/** How it is done, in words. */
export function describeDisturbances({ fillMilliseconds }: DisturbancePlan): string {
  return (
    `Reconnecting: full TLS 1.3 handshakes, ${reconnectAtATime} at a time, to ours each with a token of its own and its ` +
    "proof, to the others with nothing. Flood: QoS 0, 64 bytes, as fast as the sockets take it, one subscriber that " +
    `reads. Not reading: ${unreadPerSecond} messages of ${unreadPayloadBytes} bytes in a second, of ${unreadFlooders} ` +
    `clients, for one that reads nothing; the watch begins ${fillMilliseconds / 1000} s later. The load runs at low ` +
    "priority beside the pair."
  );
}

/** Does nothing that is measured: so that what is measured first is not slower for being first. */
export function warmUp(installation: Installation): Disturbance {
  return {
    name: "warm-up",
    async disturb(rival, load, watch) {
      await load.ask("gather", specifyReturning(installation, rival, warmUpClients));
      const watched = await watch(async () => {
        await load.ask("grow", warmUpClients, 2);
        await sleep(warmUpMs);
      });
      await load.ask("leave");
      return watched;
    },
  };
}

/** All of them; the first is none. */
export function listDisturbances(installation: Installation, plan: DisturbancePlan): Disturbance[] {
  const { milliseconds, fillMilliseconds, reconnecting } = plan;
  const wait = (): Promise<void> => sleep(milliseconds);
  const flood = async (load: LoadChild, spec: SwarmSpec, watch: Watch, beforehandMs: number): Promise<Watched> => {
    await load.ask("openSwarm", spec);
    await load.ask("floodWithSwarm");
    await sleep(beforehandMs);
    const watched = await watch(wait);
    await load.ask("breakOff");
    return watched;
  };
  return [
    { name: "nothing else", disturb: (_rival, _load, watch) => watch(wait) },
    {
      name: `${reconnecting} clients reconnect over TLS`,
      goal: 3,
      async disturb(rival, load, watch) {
        await load.ask("gather", specifyReturning(installation, rival, reconnecting));
        const watched = await watch(async () => {
          const { failed } = await load.ask("grow", reconnecting, reconnectAtATime);
          if (failed > 0) console.error(`${rival.name}: ${failed} of ${reconnecting} clients did not get in`);
        });
        await load.ask("leave");
        return watched;
      },
    },
    {
      name: `${flooders} clients flood one`,
      leavesBacklog: true,
      disturb: (rival, load, watch) => flood(load, specifyFlood(rival), watch, floodMs),
    },
    ...([0, 1] as const).map((qos): Disturbance => {
      return {
        name: `one stops reading, its topic is flooded, QoS ${qos}`,
        goal: 2,
        async disturb(rival, load, watch) {
          const [connect, filter] = [connectFrame(rival, "deaf"), `${BENCH_TOPICS}/deaf`];
          await load.ask("stopReading", { port: rival.port, connect, filter, qos });
          const watched = await flood(load, specifyUnread(rival, filter, qos), watch, fillMilliseconds);
          await load.ask("leaveDeaf");
          return watched;
        },
      };
    }),
  ];
}

function specifyReturning(installation: Installation, rival: Rival, clients: number): CrowdSpec {
  const { issuer, tlsPort } = rival;
  const tokens = issuer && Array.from({ length: clients }, () => installation.token(issuer));
  return {
    port: tlsPort,
    clientIdPrefix: `${DEVICE}:again-`,
    tls: { caPem: installation.caPem },
    ...(tokens && { proof: { tokens, keyPem: installation.deviceKeyPem } }),
  };
}

function specifyFlood(rival: Rival): SwarmSpec {
  const flooded = `${BENCH_TOPICS}/flood`;
  const publishers = Array.from({ length: flooders }, (_, index) => ({
    connect: connectFrame(rival, `flooder-${index}`),
    topic: flooded,
  }));
  const subscribers = [{ connect: connectFrame(rival, "flooded"), filter: flooded }];
  const rest = { qos: 0, payloadBytes: 64, copies: 1, window: 100, lead: null } as const;
  return { port: rival.port, publishers, subscribers, ...rest };
}

function specifyUnread(rival: Rival, topic: string, qos: 0 | 1): SwarmSpec {
  const publishers = Array.from({ length: unreadFlooders }, (_, index) => ({
    connect: connectFrame(rival, `flooder-${index}`),
    topic,
  }));
  const perSecond = unreadPerSecond / unreadFlooders;
  const rest = { payloadBytes: unreadPayloadBytes, copies: 0, window: 100, lead: null, perSecond };
  return { port: rival.port, publishers, subscribers: [], qos, ...rest };
}
