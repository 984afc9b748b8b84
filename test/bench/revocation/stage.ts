/**
 * What a case of this section is measured on: an authority with a fleet on record, the broker that the fleet is connected to,
 * which is the authority's own or one elsewhere, and a load generator that holds the sessions.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuMicrosecondsOf } from "../broker/cpu-time.ts";
import { startLoad, type LoadChild } from "../broker/load-child.ts";
import { startChild } from "../child.ts";
import { connectOnce } from "../connect-load.ts";
import { toRequest } from "../http-load.ts";
import { furnishFleet, type Fleet, type FleetSize, type Member } from "./fleet.ts";
import { Neighbour } from "./neighbour.ts";
import { present, type Revocation } from "./sessions.ts";

/** Where the sessions are. */
export type Place = "same process" | "broker elsewhere";
export const places: readonly Place[] = ["same process", "broker elsewhere"];
/** Milliseconds from the answer of the call to the end of the session, for all but one in a hundred. */
export const goals: Readonly<Record<Place, number>> = { "same process": 50, "broker elsewhere": 250 };

export interface Stage {
  readonly fleet: Fleet;
  /** Holds the sessions and calls. */
  readonly load: LoadChild;
  /** The calls that take back something. */
  readonly calls: Calls;
  /** Another session of a member, beside the one that the load generator has. */
  openNeighbour(member: Member): Promise<Neighbour>;
  /** Of each process, since it started; authority and broker are one where they are the same process. */
  cpuMicroseconds(): Promise<Readonly<Record<"authority" | "broker" | "load", number>>>;
  stop(): Promise<void>;
}

/** What takes the access of members back, in one call each. */
export interface Calls {
  token(member: Member): Revocation;
  certificate(member: Member): Revocation;
  client(member: Member): Revocation;
  clients(members: readonly Member[]): Revocation;
}

/** All of a fleet come from one address. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000 };
const atATime = 32;
const firstViewMs = 60_000;
const askAgainMs = 20;

/** Starts everything and connects the fleet; where a directory is named, CPU profiles of the servers are left in it. */
export async function setStage(place: Place, size: FleetSize, profileDir?: string): Promise<Stage> {
  const fleet = await furnishFleet(size);
  const { dataDir, brokerDir, httpPort, caPem, members } = fleet;
  const authority = await startChild("postern", dataDir, { httpPort, limits, profileDir });
  const broker = place === "same process" ? authority : await startChild("broker", brokerDir, { limits, profileDir });
  const { mqttPort, mqttsPort } = broker;
  const doors = { mqttPort, mqttsPort, caPem };
  if (broker !== authority) await untilAdmitted(doors, members.at(-1)!);
  const load = startLoad();
  await load.ask("openSessions", { ...doors, httpPort, members }, atATime);
  return {
    fleet,
    load,
    calls: openCalls(dataDir),
    openNeighbour(member) {
      const [door, presented] = present(doors, member);
      return Neighbour.open(door, { ...presented, clientId: `${presented.clientId}:neighbour` });
    },
    async cpuMicroseconds() {
      return {
        authority: cpuMicrosecondsOf(authority.pid),
        broker: cpuMicrosecondsOf(broker.pid),
        load: await load.ask("cpuMicroseconds"),
      };
    },
    async stop() {
      await load.ask("closeSessions");
      await load.stop();
      if (broker !== authority) await broker.stop();
      await authority.stop();
      fleet.remove();
    },
  };
}

/** Tries until the client is let in: a broker that has not yet heard of everybody lets nobody in. */
export async function untilAdmitted(doors: Parameters<typeof present>[0], member: Member): Promise<void> {
  const [door, presented] = present(doors, member);
  const deadline = performance.now() + firstViewMs;
  for (;;) {
    try {
      return await connectOnce(door, presented);
    } catch (error) {
      if (performance.now() > deadline) throw new Error("the broker elsewhere admits nobody", { cause: error });
      await sleep(askAgainMs);
    }
  }
}

/** The calls to an authority on this data directory, which must have been started. */
export function openCalls(dataDir: string): Calls {
  const adminKey = readFileSync(join(dataDir, "admin.key"), "utf8").trim();
  const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/json" };
  const revoke = (body: object, members: readonly Member[]): Revocation => {
    const request = toRequest("POST", "/v1/revocations", headers, JSON.stringify(body));
    return { request, clientIds: members.map(({ clientId }) => clientId) };
  };
  return {
    token: (member) => revoke({ tokens: [member.token!.hash] }, [member]),
    certificate: (member) => revoke({ certificates: [member.certificate!.serial] }, [member]),
    client: (member) => revoke({ clients: [member.clientId] }, [member]),
    clients: (members) => revoke({ clients: members.map(({ clientId }) => clientId) }, members),
  };
}
